#!lua flags=allow-oom
-- LEAD: become or stay the leader of the pool, and see whether Redis lost what it had written.
--
-- Keys:  leader, leader_epoch, beat, rollback, signals, totals
-- Args:  holder (unique to one life of a scheduler), lease ms, and what the caller knows to have
--        been written: the newest beat or 0, the id of the newest signal or ''
-- Reply: {leader token, or false while another holds the lease; beat}; {false, beat, from ms,
--        to ms} if writes of this time were lost: then nobody leads, for all must load anew
-- Twice: the same holder renews and gets the same token; a loss is told once.
--
-- A beat is Redis TIME in ms, made to grow: each LEAD that succeeds writes a larger one.

local LONGEST_LEASE_MS = 60000
local seen, heard = tonumber(ARGV[3]), ARGV[4]
local now, beat = now_ms(), tonumber(redis.call('GET', k.beat()) or 0)
local told = tonumber(redis.call('HGET', k.rollback(), 'to_ms') or 0)

local function time_of(id) return tonumber(string.match(id, '^%d+')) end

-- A signal that is not there was trimmed, unless one as old is.
local function is_gone(id)
  if #redis.call('XRANGE', k.signals(), id, id) > 0 then return false end
  local oldest = redis.call('XRANGE', k.signals(), '-', '+', 'COUNT', 1)[1]
  return not oldest or time_of(oldest[1]) <= time_of(id)
end

if seen > beat or heard ~= '' and time_of(heard) > told and is_gone(heard) then
  local from = math.min(seen, beat)
  local lost_ms = math.max(0, now - (from > 0 and from or seen)) -- 0: all that it held
  beat = math.max(seen, beat, now)
  redis.call('SET', k.beat(), beat)
  redis.call('HSET', k.rollback(), 'from_ms', from, 'to_ms', now)
  redis.call('HINCRBY', k.totals(), 'rollbacks', 1)
  redis.call('HINCRBY', k.totals(), 'lost_write_ms', lost_ms)
  redis.call('DEL', k.leader())
  return {false, beat, from, now}
end

local token = redis.call('GET', k.leader())
if not token then
  token = redis.call('INCR', k.leader_epoch()) .. '-' .. ARGV[1]
elseif string.match(token, '^%d+%-(.*)$') ~= ARGV[1] then
  -- Where the clock was set back, a leader that died would hold it for that long.
  if redis.call('PTTL', k.leader()) > LONGEST_LEASE_MS then
    redis.call('PEXPIRE', k.leader(), ARGV[2])
  end
  return {false, beat}
end
beat = math.max(beat + 1, now)
redis.call('SET', k.leader(), token, 'PX', ARGV[2])
redis.call('SET', k.beat(), beat)
return {token, beat}

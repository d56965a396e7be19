#!lua flags=allow-oom
-- LIST: a page of jobs, by the order of their admission.
--
-- Keys:  jobs, jobs_in, job
-- Args:  scope (a tenant, or * for the pool), group or '' for all, state wanted or '' for any,
--        order after which to begin or '', most jobs, most to look at, 1 for the newest first
-- Reply: {order after which the next page begins, or false if there is none, {{job, state, spec,
--        attempt, submitted ms, deadline ms, started ms, ended ms, instance, failure}, …}},
--        false where absent
-- Twice: reads only, but for jobs whose hash is gone: those leave the list that was read.

local key = ARGV[2] == '' and k.jobs(ARGV[1]) or k.jobs_in(ARGV[1], ARGV[2])
local wanted, after, is_newest_first = ARGV[3], ARGV[4], ARGV[7] == '1'
local most, looks_left = tonumber(ARGV[5]), tonumber(ARGV[6])
local page = {}

local function following(number)
  if is_newest_first then
    local from = after == '' and '+inf' or '(' .. after
    return redis.call('ZREVRANGEBYSCORE', key, from, '-inf', 'WITHSCORES', 'LIMIT', 0, number)
  end
  local from = after == '' and '-inf' or '(' .. after
  return redis.call('ZRANGEBYSCORE', key, from, '+inf', 'WITHSCORES', 'LIMIT', 0, number)
end

local function look_at(job, order)
  local state = redis.call('HGET', k.job(job), 'preble_state')
  if not state then
    redis.call('ZREMRANGEBYSCORE', key, order, order)
  elseif wanted == '' or state == wanted then
    local fields = redis.call('HMGET', k.job(job), 'preble_spec', 'preble_attempt',
      'preble_submitted_ms', 'preble_deadline_ms', 'preble_started_ms', 'preble_ended_ms',
      'preble_instance', 'preble_failure')
    page[#page + 1] = {job, state, unpack(fields)}
  end
end

while #page < most and looks_left > 0 do
  local entries = following(math.min(most, looks_left))
  if #entries == 0 then return {false, page} end
  for i = 1, #entries, 2 do
    if #page == most then break end
    after = entries[i + 1]
    look_at(entries[i], after)
    looks_left = looks_left - 1
  end
end
return {#following(1) > 0 and after, page}

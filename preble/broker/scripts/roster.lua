#!lua flags=no-writes
-- ROSTER: each instance as an operator may see it: those that are registered or drained.
--
-- Keys:  instances, drained, instance, queue, started, worker, events, snapshot, job
-- Args:  bytes of a snapshot to reply
-- Reply: {now ms, {{instance, lease ms, drained ms, InstanceRecord, InstanceReport, jobs assigned,
--        jobs running, heartbeat, batches of events, the newest, head of the snapshot, attempt of
--        the job if one runs alone}, …}}, in no order, false where absent
-- Twice: reads only.

local found = {}

local function mark(key, column)
  local scores = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
  for i = 1, #scores, 2 do
    found[scores[i]] = found[scores[i]] or {false, false}
    found[scores[i]][column] = scores[i + 1]
  end
end

local function newest_batch(instance)
  local newest = redis.call('XREVRANGE', k.events(instance), '+', '-', 'COUNT', 1)[1]
  for i = 1, newest and #newest[2] or 0, 2 do
    if newest[2][i] == 'b' then return newest[2][i + 1] end
  end
  return false
end

-- A job of the quarantine runs alone, so no other needs to be looked at.
local function attempt_alone(queue)
  local leases = redis.call('ZRANGE', k.started(queue), 0, 1)
  if #leases ~= 1 then return false end
  return redis.call('HGET', k.job(string.match(leases[1], '^[^:]*')), 'preble_attempt')
end

mark(k.instances(), 1)
mark(k.drained(), 2)
local reply = {}
for instance, scores in pairs(found) do
  local queue = instance_queue(instance)
  local told = redis.call('HMGET', k.instance(instance), 'record', 'report')
  reply[#reply + 1] = {instance, scores[1], scores[2], told[1], told[2],
    redis.call('LLEN', k.queue(queue)), redis.call('ZCARD', k.started(queue)),
    redis.call('HGET', k.worker(queue), 'last_heartbeat'),
    redis.call('XLEN', k.events(instance)), newest_batch(instance),
    redis.call('GETRANGE', k.snapshot(instance), 0, ARGV[1] - 1), attempt_alone(queue)}
end
return {now_ms(), reply}

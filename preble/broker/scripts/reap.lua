#!lua flags=allow-oom
-- REAP: take back what the dead hold and what waits for the drained, end what comes too late, and
-- forget what has expired or passes the bound.
--
-- Keys:  leader, leases, instances, instance, drained, ingresses, queue, queues, job, prompt,
--        block_keys, decision, results, started, finished, failed, canceled, deadlines, execution,
--        executions, events, snapshot, doorbell, recalls, jobs, jobs_in, ended, dead, counts,
--        tenants, totals, inbox, log, webhooks, webhook, dead_webhooks, signals
-- Args:  leader token, most jobs, max_attempts, result_ttl_s, then JobFailure and RQ result text
--        of a job whose attempts are used up, and of one whose deadline has passed; max_dead_letter_bytes,
--        max_ended_bytes
-- Reply: false if the token is not the leader's; else {requeued jobs, failed jobs, expired jobs,
--        gone instances}
-- Twice: what was taken back no longer has a lease, or is in no queue of an instance; nothing is
--        left to do.

if redis.call('GET', k.leader()) ~= ARGV[1] then return false end
local left, max_attempts, result_ttl_s = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
max_dead_letter_bytes, max_ended_bytes = tonumber(ARGV[9]), tonumber(ARGV[10])
local now = now_ms()
local requeued, failed, late, gone = {}, {}, {}, {}

-- Where the clock was set back, what the dead hold would last until the old time comes again.
local function shorten(leases)
  local latest = now + LONGEST_LEASE_MS
  local longer = redis.call('ZRANGEBYSCORE', leases, '(' .. latest, '+inf', 'LIMIT', 0, left)
  for _, member in ipairs(longer) do redis.call('ZADD', leases, latest, member) end
end

shorten(k.leases())
shorten(k.instances())

local too_late = {state = 'expired', failure = ARGV[7], text = ARGV[8]}
for _, job in ipairs(redis.call('ZRANGEBYSCORE', k.deadlines(), '-inf', now, 'LIMIT', 0, left)) do
  if stop(job, too_late, result_ttl_s, now) then late[#late + 1] = job end
  redis.call('ZREM', k.deadlines(), job) -- also of a job that was deleted behind our back
end
left = left - #late

local expired = {}
for _, composite in ipairs(redis.call('ZRANGEBYSCORE', k.leases(), '-inf', now, 'LIMIT', 0, left)) do
  local job, execution = string.match(composite, '^(.*):(.*)$')
  local at = redis.call('HMGET', k.job(job), 'preble_instance', 'preble_attempt', 'preble_order')
  if at[1] then
    expired[#expired + 1] = {job = job, execution = execution, instance = at[1],
      attempt = tonumber(at[2]), order = tonumber(at[3])}
  elseif end_execution(job, execution) then
    bury(job)
  end
end

local function take_back(lease)
  end_execution(lease.job, lease.execution)
  if lease.attempt < max_attempts then
    make_waiting(lease.job)
    redis.call('HINCRBY', k.totals(), 'requeued', 1)
    if lease.attempt == QUARANTINE_AFTER then
      redis.call('HINCRBY', k.totals(), 'quarantined', 1)
    end
    requeued[#requeued + 1] = lease.job
    return
  end
  -- No execution ended this job, so none may later hear that it did.
  redis.call('HDEL', k.job(lease.job), 'preble_execution')
  local outcome = {state = 'failed', failure = ARGV[5], text = ARGV[6], completion_tokens = 0}
  conclude(lease.job, lease.instance, lease.execution, outcome, result_ttl_s, now)
  failed[#failed + 1] = lease.job
end

-- Each goes to the front, so the last submitted goes first: submission order remains.
table.sort(expired, function(one, other) return one.order > other.order end)
for _, lease in ipairs(expired) do take_back(lease) end
left = left - #expired

local function remove_instance(instance)
  local queue = instance_queue(instance)
  redis.call('ZREM', k.instances(), instance)
  redis.call('DEL', k.instance(instance), k.events(instance), k.snapshot(instance),
    k.doorbell(instance), k.recalls(instance))
  if redis.call('ZCARD', k.finished(queue)) + redis.call('ZCARD', k.failed(queue))
    + redis.call('ZCARD', k.canceled(queue)) == 0 then
    redis.call('SREM', k.queues(), k.queue(queue))
  end
  gone[#gone + 1] = instance
end

-- Hands jobs back that wait for an instance. True if none is left there.
local function empty_queue(instance)
  local queue = k.queue(instance_queue(instance))
  while left > 0 do
    local job = redis.call('RPOP', queue)
    if not job then break end
    if redis.call('EXISTS', k.job(job)) == 1 then
      make_waiting(job)
      requeued[#requeued + 1] = job
      left = left - 1
    else
      bury(job)
    end
  end
  return redis.call('LLEN', queue) == 0
end

for _, instance in ipairs(redis.call('ZRANGEBYSCORE', k.instances(), '-inf', now)) do
  if empty_queue(instance) then remove_instance(instance) end
end
for _, instance in ipairs(redis.call('ZRANGE', k.drained(), 0, -1)) do empty_queue(instance) end

local now_s = math.floor(now / 1000)
for _, queue in ipairs(redis.call('SMEMBERS', k.queues())) do
  if string.sub(queue, 1, #pool_queues) == pool_queues then -- RQ lists those of all pools
    local name = string.match(queue, '^rq:queue:(.*)$')
    redis.call('ZREMRANGEBYSCORE', k.finished(name), '-inf', now_s)
    redis.call('ZREMRANGEBYSCORE', k.failed(name), '-inf', now_s)
    redis.call('ZREMRANGEBYSCORE', k.canceled(name), '-inf', now_s)
  end
end

local expired_jobs = redis.call('ZRANGEBYSCORE', k.ended(), '-inf', now, 'LIMIT', 0, ARGV[2])
for _, entry in ipairs(expired_jobs) do forget_ended(entry) end
drop_oldest_ended(tonumber(redis.call('HGET', k.counts(), 'ended_bytes') or 0), tonumber(ARGV[2]))

-- The reply may be lost, and that of the call after it is empty.
if #requeued + #gone > 0 then signal(cmsgpack.pack({'reaped', requeued, gone})) end
return {requeued, failed, late, gone}

#!lua flags=allow-oom
-- CLAIM: lease jobs from the head of an instance's queue to its worker.
--
-- Keys:  instance, queue, job, prompt, leases, started, execution, executions, worker,
--        worker_executions; of jobs whose deadline has passed those of CANCEL, too, and failed
-- Args:  instance, epoch, claim id, most jobs, most tokens, lease ms, result_ttl_s, JobFailure of
--        a job whose deadline has passed
-- Reply: false if the epoch is not the instance's; else flat: job, execution, attempt, spec,
--        prompt, for each job
-- Twice: the instance remembers its last claim id; the same id returns the same jobs, as far
--        as they are still leased and were not released, and leases nothing more.

local instance, epoch, claim_id = ARGV[1], ARGV[2], ARGV[3]
local most_jobs, tokens_left, lease_ms = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local result_ttl_s, late = tonumber(ARGV[7]), {state = 'expired', failure = ARGV[8]}
local known = redis.call('HMGET', k.instance(instance), 'epoch', 'claim_id', 'claimed')
if known[1] ~= epoch then return false end

local queue = instance_queue(instance)
local reply = {}

local function hand_over(job, execution)
  local job_fields = redis.call('HMGET', k.job(job), 'preble_attempt', 'preble_spec')
  reply[#reply + 1] = job
  reply[#reply + 1] = execution
  reply[#reply + 1] = tonumber(job_fields[1])
  reply[#reply + 1] = job_fields[2]
  reply[#reply + 1] = redis.call('GET', k.prompt(job))
end

if known[2] == claim_id then
  for index, job in ipairs(cmsgpack.unpack(known[3])) do
    local execution = claim_id .. '-' .. index
    local expires = redis.call('ZSCORE', k.leases(), job .. ':' .. execution)
    if expires and tonumber(expires) > 0 then hand_over(job, execution) end
  end
  return reply
end

local now = now_ms()
local now_iso = iso(now)

local function lease(job, execution)
  local composite = job .. ':' .. execution
  redis.call('HINCRBY', k.job(job), 'preble_attempt', 1)
  redis.call('HSET', k.job(job), 'status', 'started', 'started_at', now_iso, 'worker_name', queue,
    'preble_state', 'running', 'preble_execution', execution, 'preble_started_ms', now)
  redis.call('ZADD', k.leases(), now + lease_ms, composite)
  -- RQ's own registry must never expire it: a mere look by `rq info` would fail the job.
  redis.call('ZADD', k.started(queue), '+inf', composite)
  redis.call('HSET', k.execution(composite), 'id', execution, 'job_id', job,
    'created_at', now / 1000, 'last_heartbeat', now / 1000, 'worker_name', queue)
  redis.call('ZADD', k.executions(job), '+inf', execution)
  redis.call('SADD', k.worker_executions(queue), composite)
end

local claimed = {}
while #claimed < most_jobs do
  local job = redis.call('LINDEX', k.queue(queue), 0)
  if not job then break end
  local tokens = redis.call('HGET', k.job(job), 'preble_tokens')
  if tokens and is_late(job, now) then
    stop(job, late, result_ttl_s, now)
  else
    if tokens then
      if tonumber(tokens) > tokens_left then break end
      tokens_left = tokens_left - tonumber(tokens)
      claimed[#claimed + 1] = job
      local execution = claim_id .. '-' .. #claimed
      lease(job, execution)
      hand_over(job, execution)
    else
      bury(job)
    end
    redis.call('LPOP', k.queue(queue))
  end
end
if #claimed > 0 then
  redis.call('HSET', k.instance(instance), 'claim_id', claim_id, 'claimed', cmsgpack.pack(claimed))
  redis.call('HSET', k.worker(queue), 'state', 'busy')
end
return reply

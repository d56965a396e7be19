#!lua flags=allow-oom
-- CLAIM: lease jobs from the head of an instance's queue to its worker.
--
-- Keys:  instance, queue, job, prompt, leases, started, execution, executions, worker,
--        worker_executions; of jobs whose deadline has passed those of DONE, too
-- Args:  instance, epoch, number of this claim, most jobs, most tokens, jobs that the worker
--        holds, lease ms, result_ttl_s, JobFailure of a job whose deadline has passed,
--        max_ended_bytes
-- Reply: false if the epoch is not the instance's; else flat: job, execution, attempt, spec,
--        prompt, ms from its submission, or retry, to the claim, for each job
-- Twice: claims of a life are numbered upwards. The last one again returns the same jobs, as far
--        as they are still leased and were not released; an earlier one, a copy that comes
--        late, returns nothing. Neither leases anything.
--
-- A job of the quarantine is leased to a worker that holds nothing, and nothing beside it.

local instance, epoch, number = ARGV[1], ARGV[2], tonumber(ARGV[3])
local most_jobs, tokens_left, num_held = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local lease_ms, result_ttl_s = tonumber(ARGV[7]), tonumber(ARGV[8])
local late = {state = 'expired', failure = ARGV[9]}
max_ended_bytes = tonumber(ARGV[10])
local known = redis.call('HMGET', k.instance(instance), 'epoch', 'claim', 'claimed')
if known[1] ~= epoch then return false end

local queue, now, reply = instance_queue(instance), now_ms(), {}

local FIELDS = {'preble_tokens', 'preble_attempt', 'preble_deadline_ms', 'preble_spec',
  'preble_submitted_ms', 'preble_retried_ms', 'preble_started_ms'}

-- One look at a job; nil if it was deleted behind our back.
local function read(job)
  local tokens, attempt, deadline, spec, submitted, retried, started = unpack(
    redis.call('HMGET', k.job(job), unpack(FIELDS)))
  return tokens and {id = job, tokens = tonumber(tokens), attempt = tonumber(attempt),
    is_late = deadline and tonumber(deadline) <= now, spec = spec,
    waits_since = tonumber(retried or submitted or now),
    started = tonumber(started or now)}
end

local function hand_over(job, execution)
  local at = #reply
  reply[at + 1], reply[at + 2], reply[at + 3] = job.id, execution, job.attempt
  reply[at + 4], reply[at + 5] = job.spec, redis.call('GET', k.prompt(job.id))
  reply[at + 6] = math.max(0, job.started - job.waits_since)
end

local function execution_of(index) return epoch .. '-' .. number .. '-' .. index end

local last = tonumber(known[2] or 0)
if number < last then return reply end
if number == last then
  for index, id in ipairs(cmsgpack.unpack(known[3])) do
    local execution = execution_of(index)
    local expires = redis.call('ZSCORE', k.leases(), id .. ':' .. execution)
    local job = read(id)
    if job and expires and tonumber(expires) > 0 then hand_over(job, execution) end
  end
  return reply
end

local now_iso = iso(now)

local function lease(job, execution)
  local composite = job.id .. ':' .. execution
  job.attempt, job.started = job.attempt + 1, now
  redis.call('HSET', k.job(job.id), 'status', 'started', 'started_at', now_iso,
    'worker_name', queue, 'preble_state', 'running', 'preble_execution', execution,
    'preble_started_ms', now, 'preble_attempt', job.attempt)
  redis.call('ZADD', k.leases(), now + lease_ms, composite)
  -- RQ's own registry must never expire it: a mere look by `rq info` would fail the job.
  redis.call('ZADD', k.started(queue), '+inf', composite)
  redis.call('HSET', k.execution(composite), 'id', execution, 'job_id', job.id,
    'created_at', now / 1000, 'last_heartbeat', now / 1000, 'worker_name', queue)
  redis.call('ZADD', k.executions(job.id), '+inf', execution)
  redis.call('SADD', k.worker_executions(queue), composite)
end

local claimed = {}
while #claimed < most_jobs do
  local id = redis.call('LINDEX', k.queue(queue), 0)
  if not id then break end
  local job = read(id)
  if not job then
    bury(id)
    redis.call('LPOP', k.queue(queue))
  elseif job.is_late then
    stop(id, late, result_ttl_s, now)
  else
    local is_alone = job.attempt >= QUARANTINE_AFTER
    if job.tokens > tokens_left or is_alone and #claimed + num_held > 0 then break end
    tokens_left = tokens_left - job.tokens
    claimed[#claimed + 1] = id
    lease(job, execution_of(#claimed))
    hand_over(job, execution_of(#claimed))
    redis.call('LPOP', k.queue(queue))
    if is_alone then break end
  end
end
redis.call('HSET', k.instance(instance), 'claim', number, 'claimed', cmsgpack.pack(claimed))
if #claimed > 0 then redis.call('HSET', k.worker(queue), 'state', 'busy') end
return reply

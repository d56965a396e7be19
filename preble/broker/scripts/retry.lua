#!lua
-- RETRY: let failed jobs run again, each for itself.
--
-- Keys:  counts, totals, tenants, ingresses, queues, queue, job, prompt, block_keys, decision,
--        deadlines, failed, jobs_in, ended, dead, log, webhooks, webhook, dead_webhooks, signals
-- Args:  max_jobs, max_prompt_bytes, max_ingresses, max_tenant_jobs, then jobs
-- Reply: for each: {its state now} | {'dropped', job} if its prompt is no longer kept | {'full', …},
--        as ADMIT says it; false if it is unknown
-- Twice: the second run finds the job waiting, or wherever it has come to, and says so.
-- Refused under OOM (no allow-oom), as ADMIT is.

local now = now_ms()
local now_iso, retried = iso(now), 0

-- No execution of before may ever end it: its id is forgotten, and ids never come twice.
local function forget_last_run(job)
  redis.call('HDEL', k.job(job), 'preble_execution', 'preble_instance', 'preble_available',
    'preble_started_ms', 'preble_ended_ms', 'preble_failure', 'started_at', 'ended_at',
    'worker_name', 'preble_log_bytes', 'preble_ended_bytes')
  redis.call('DEL', k.decision(job), k.log(job), k.webhook(job))
  redis.call('ZREM', k.webhooks(), job)
  redis.call('ZREM', k.dead_webhooks(), job)
end

local function keep_for_good(job)
  for _, key in ipairs({k.job(job), k.prompt(job), k.block_keys(job)}) do
    redis.call('PERSIST', key)
  end
end

local function begin_deadline_anew(job, deadline_ms, since_ms)
  if not deadline_ms then return end
  local deadline = now + deadline_ms - since_ms
  redis.call('HSET', k.job(job), 'preble_deadline_ms', deadline)
  redis.call('ZADD', k.deadlines(), deadline, job)
end

local function list_again(job, tenant, order, ended_bytes)
  for _, scope in ipairs({'*', tenant}) do
    redis.call('ZREM', k.jobs_in(scope, 'failed'), job)
  end
  redis.call('ZREM', k.ended(), ended_entry(job, tenant, order, 'failed', ended_bytes))
  redis.call('HINCRBY', k.counts(), 'ended_bytes', -(ended_bytes or 0))
  list_as_unfinished(job, tenant, order)
end

local function count_again(tenant, bytes)
  redis.call('HINCRBY', k.counts(), 'jobs', 1)
  redis.call('HINCRBY', k.counts(), 'prompt_bytes', bytes)
  redis.call('HINCRBY', k.tenants(), tenant, 1)
  redis.call('HINCRBY', k.totals(), 'retried', 1)
end

local function wait_again(job, ingress)
  redis.call('HSET', k.job(job), 'status', 'queued', 'enqueued_at', now_iso, 'origin', ingress,
    'preble_state', 'waiting', 'preble_attempt', 0, 'preble_retried_ms', now)
  open_ingress(ingress)
  redis.call('RPUSH', k.queue(ingress), job)
end

local function retry(job)
  local state, ingress, bytes, order, instance, deadline_ms, submitted_ms, retried_ms,
    ended_bytes = unpack(redis.call('HMGET', k.job(job), 'preble_state', 'preble_ingress',
      'preble_bytes', 'preble_order', 'preble_instance', 'preble_deadline_ms',
      'preble_submitted_ms', 'preble_retried_ms', 'preble_ended_bytes'))
  if state ~= 'failed' then return state and {state} end
  local is_kept = redis.call('ZCOUNT', k.dead(), order, order) == 1
  if not is_kept or redis.call('EXISTS', k.prompt(job), k.block_keys(job)) < 2 then
    return {'dropped', job}
  end
  local tenant = tenant_of(ingress)
  local opened = 1 - redis.call('SISMEMBER', k.ingresses(), ingress)
  local refusal = passed_bound(1, bytes, {[tenant] = 1}, opened, now)
  if refusal then return refusal end
  redis.call('ZREM', k.failed(instance_queue(instance)), job)
  forget_dead_letter(order)
  forget_last_run(job)
  keep_for_good(job)
  begin_deadline_anew(job, deadline_ms, retried_ms or submitted_ms)
  list_again(job, tenant, order, ended_bytes)
  count_again(tenant, bytes)
  wait_again(job, ingress)
  retried = retried + 1
  return {'waiting'}
end

local reply = {}
for i = 5, #ARGV do reply[#reply + 1] = retry(ARGV[i]) end
if retried > 0 then signal(cmsgpack.pack({'admitted', retried})) end
return reply

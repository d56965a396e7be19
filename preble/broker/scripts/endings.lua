-- How jobs end, and what is kept of them then: prefixed to all scripts after lib.lua.

local RQ_STATUS = {completed = 'finished', failed = 'failed', expired = 'failed',
  cancelled = 'canceled'}

local function rq_registry(instance, state)
  local name = state == 'completed' and 'finished' or state == 'cancelled' and 'canceled' or 'failed'
  return k[name](instance_queue(instance))
end

-- RQ lists what ended on an instance with its queue, and keeps the result of its last execution,
-- unless that was cancelled. So CANCEL writes no results, and the account of an api needs no right
-- to (ADR 0039).
local function tell_rq(job, instance, execution, outcome, result_ttl_s, now)
  local queue, completed = instance_queue(instance), outcome.state == 'completed'
  local registry = rq_registry(instance, outcome.state)
  redis.call('ZADD', registry, math.floor(now / 1000) + result_ttl_s, job)
  if not execution or outcome.state == 'cancelled' then return end
  redis.call('XADD', k.results(job), 'MAXLEN', RESULTS_KEPT, '*', 'type', completed and 1 or 2,
    'worker_name', queue, 'execution_id', execution, 'execution_ended_at', now / 1000,
    completed and 'return_value' or 'exc_string', outcome.text)
  redis.call('EXPIRE', k.results(job), result_ttl_s)
end

-- The lists of jobs: those of the pool (`*`) and those of the job's tenant.
local function list_as_unfinished(job, tenant, order)
  for _, scope in ipairs({'*', tenant}) do
    redis.call('ZADD', k.jobs_in(scope, 'unfinished'), order, job)
  end
end

-- Dead letters: failed jobs that keep prompt and block keys, to be run again, while their results
-- are kept. The scripts that fail jobs set how many bytes of prompts.
local max_dead_letter_bytes = 0

-- A dead letter is none any more. False if there is none of that order.
local function forget_dead_letter(order)
  local letter = redis.call('ZRANGEBYSCORE', k.dead(), order, order)[1]
  if not letter then return false end
  redis.call('ZREM', k.dead(), letter)
  redis.call('HINCRBY', k.counts(), 'dead_letter_bytes', -string.match(letter, '^%d+'))
  return true
end

local function drop_oldest_dead_letter()
  local letter, order = unpack(redis.call('ZRANGE', k.dead(), 0, 0, 'WITHSCORES'))
  if not letter then return end
  forget_dead_letter(order)
  local job = string.match(letter, ':(.*)$')
  -- The job may have expired, and another been admitted under its id.
  if redis.call('HGET', k.job(job), 'preble_order') == order then
    redis.call('DEL', k.prompt(job), k.block_keys(job))
  end
end

local function keep_dead_letter(job, order, result_ttl_s)
  local bytes = redis.call('STRLEN', k.prompt(job))
  redis.call('EXPIRE', k.prompt(job), result_ttl_s)
  redis.call('EXPIRE', k.block_keys(job), result_ttl_s)
  redis.call('ZADD', k.dead(), order, bytes .. ':' .. job)
  redis.call('HINCRBY', k.counts(), 'dead_letter_bytes', bytes)
  -- Where the bound was lowered, not all at once: Redis serves nobody else meanwhile.
  for _ = 1, 1000 do
    local held = tonumber(redis.call('HGET', k.counts(), 'dead_letter_bytes'))
    if held <= max_dead_letter_bytes then return end
    drop_oldest_dead_letter()
  end
end

-- What has ended. An entry of `ended` says all that is needed once the job's hash is gone: also how
-- many bytes are kept of it, but for jobs that ended under a version that did not count them. They
-- stand in the order in which they ended, also where the clock was set back.
local ENDED_STEP_MS = 1 / 1024
-- Those that end jobs set it, but for CANCEL: an api may not drop results. REAP does it soon.
local max_ended_bytes = math.huge
local newest_ended_ms

local function ended_entry(job, tenant, order, state, bytes)
  return order .. ':' .. (bytes and bytes .. ':' or '') .. job .. ':' .. tenant .. ':' .. state
end

local function read_ended(entry)
  local order, rest, tenant, state = string.match(entry, '^(.-):(.*):(.-):(.-)$')
  local bytes, job = string.match(rest, '^(.-):(.*)$')
  return order, job or rest, tenant, state, tonumber(bytes or 0)
end

local function list_as_ended(job, tenant, order, state, bytes, expires_ms)
  for _, scope in ipairs({'*', tenant}) do
    redis.call('ZREM', k.jobs_in(scope, 'unfinished'), job)
    if state ~= 'completed' then redis.call('ZADD', k.jobs_in(scope, state), order, job) end
  end
  newest_ended_ms = newest_ended_ms
    or redis.call('ZREVRANGE', k.ended(), 0, 0, 'WITHSCORES')[2] or 0
  newest_ended_ms = math.max(expires_ms, newest_ended_ms + ENDED_STEP_MS)
  redis.call('ZADD', k.ended(), newest_ended_ms, ended_entry(job, tenant, order, state, bytes))
end

-- What is listed of a job whose record is gone. By order, never by name: another job may have been
-- admitted under the name since. Returns how many bytes count no more.
local function forget_ended(entry)
  local order, _, tenant, state, bytes = read_ended(entry)
  redis.call('ZREM', k.ended(), entry)
  for _, scope in ipairs({'*', tenant}) do
    redis.call('ZREMRANGEBYSCORE', k.jobs(scope), order, order)
    if state ~= 'completed' then
      redis.call('ZREMRANGEBYSCORE', k.jobs_in(scope, state), order, order)
    end
  end
  if state == 'failed' then forget_dead_letter(order) end
  redis.call('HINCRBY', k.counts(), 'ended_bytes', -bytes)
  return bytes
end

-- All that would have expired with a job. A webhook that is still to be told, or was given up, stays:
-- it has all that it needs.
local function drop_record(job, instance, state)
  redis.call('UNLINK', k.job(job), k.results(job), k.decision(job), k.log(job), k.prompt(job),
    k.block_keys(job))
  if instance then redis.call('ZREM', rq_registry(instance, state), job) end
  if not redis.call('ZSCORE', k.webhooks(), job)
    and not redis.call('ZSCORE', k.dead_webhooks(), job) then
    redis.call('DEL', k.webhook(job))
  end
end

-- Drops of what has ended the first ones, at most so many, while there are too many bytes; never
-- the last one, for which somebody waits. `dropped_ms` tells up to when jobs may have ended that
-- are not known any more.
local function drop_oldest_ended(held, most)
  if held <= max_ended_bytes then return end
  local oldest, dropped_ms = redis.call('ZRANGE', k.ended(), 0, most), false
  for i = 1, #oldest - 1 do
    if held <= max_ended_bytes then break end
    local order, job, _, state = read_ended(oldest[i])
    local own = redis.call('HMGET', k.job(job), 'preble_order', 'preble_instance', 'preble_ended_ms')
    if own[1] == order then
      drop_record(job, own[2], state)
      dropped_ms = own[3]
    end
    held = held - forget_ended(oldest[i])
  end
  if dropped_ms then redis.call('HSET', k.counts(), 'dropped_ms', dropped_ms) end
end

-- More is kept of a job; nothing is done if it has not ended, for its end will count it.
local function count_more_ended(job, bytes)
  local ingress, order, state, held = unpack(redis.call('HMGET', k.job(job), 'preble_ingress',
    'preble_order', 'preble_state', 'preble_ended_bytes'))
  local entry = held and ended_entry(job, tenant_of(ingress), order, state, held)
  local expires_ms = entry and redis.call('ZSCORE', k.ended(), entry)
  if not expires_ms then return end
  local total = redis.call('HINCRBY', k.job(job), 'preble_ended_bytes', bytes)
  redis.call('ZREM', k.ended(), entry)
  entry = ended_entry(job, tenant_of(ingress), order, state, total)
  redis.call('ZADD', k.ended(), expires_ms, entry)
  redis.call('HINCRBY', k.counts(), 'ended_bytes', bytes)
end

local function stream_bytes(bytes)
  return STREAM_BYTES + math.max(STREAM_PAGE_BYTES, tonumber(bytes))
end

-- What is kept of a job, as `ended.py` counts it.
local function ended_bytes(spec, note, webhook, failure, decision_bytes, log_bytes, text)
  return ENDED_JOB_BYTES + #spec + #(note or '') + 2 * #(webhook or '') + #(failure or '')
    + decision_bytes + (log_bytes and stream_bytes(log_bytes) or 0)
    + (text and stream_bytes(#text) or 0)
end

-- A webhook is to be told that its job has ended; what was told under this id before is forgotten.
local function owe_webhook(job, tenant, webhook, state, now)
  redis.call('DEL', k.webhook(job))
  redis.call('HSET', k.webhook(job), 'webhook', webhook, 'tenant', tenant, 'state', state,
    'ended_ms', now, 'since_ms', now, 'status', 'pending', 'attempts', 0, 'error', '')
  redis.call('ZREM', k.dead_webhooks(), job)
  redis.call('ZADD', k.webhooks(), now, job)
end

-- Gives a job its end. `instance` and `execution`: false if it was on none, or did not run.
-- `outcome`: state, failure (JobFailure for `preble_failure`), text of RQ's result entry,
-- completion_tokens, decode_s if there was a result.
local function conclude(job, instance, execution, outcome, result_ttl_s, now)
  local own = redis.call('HMGET', k.job(job), 'preble_bytes', 'preble_ingress', 'preble_order',
    'preble_inbox', 'preble_log_bytes', 'preble_webhook', 'preble_spec', 'preble_note')
  local tenant, order, webhook = tenant_of(own[2]), own[3], own[6]
  local bytes = ended_bytes(own[7], own[8], webhook, outcome.failure,
    instance and redis.call('STRLEN', k.decision(job)) or 0, own[5],
    execution and outcome.state ~= 'cancelled' and outcome.text)
  redis.call('HSET', k.job(job), 'preble_state', outcome.state, 'preble_ended_ms', now,
    'status', RQ_STATUS[outcome.state], 'ended_at', iso(now), 'preble_ended_bytes', bytes)
  if outcome.failure then redis.call('HSET', k.job(job), 'preble_failure', outcome.failure) end
  if instance then tell_rq(job, instance, execution, outcome, result_ttl_s, now) end
  redis.call('EXPIRE', k.job(job), result_ttl_s)
  if instance then redis.call('EXPIRE', k.decision(job), result_ttl_s) end
  redis.call('ZREM', k.deadlines(), job)
  if own[4] then tell(own[4], 'e', job) end
  if own[5] then redis.call('EXPIRE', k.log(job), result_ttl_s) end
  if webhook then owe_webhook(job, tenant, webhook, outcome.state, now) end
  if outcome.state == 'failed' then
    keep_dead_letter(job, order, result_ttl_s)
  else
    redis.call('DEL', k.prompt(job), k.block_keys(job))
  end
  list_as_ended(job, tenant, order, outcome.state, bytes, now + result_ttl_s * 1000)
  count_no_more(own[1])
  if redis.call('HINCRBY', k.tenants(), tenant, -1) <= 0 then
    redis.call('HDEL', k.tenants(), tenant)
  end
  redis.call('HINCRBY', k.totals(), outcome.state, 1)
  drop_oldest_ended(redis.call('HINCRBY', k.counts(), 'ended_bytes', bytes), DROPS_AT_AN_END)
  if not instance then return end
  signal(cmsgpack.pack({'ended', job, instance, outcome.completion_tokens or 0,
    outcome.decode_s or 0}))
end

-- Ends a job wherever it stands, unless it has ended. Returns the state it stood in, or false if
-- it is unknown. A worker that runs it is called to renew, and finds its lease lost.
local function stop(job, outcome, result_ttl_s, now)
  local at = redis.call('HMGET', k.job(job), 'preble_state', 'origin', 'preble_instance',
    'preble_execution')
  local state, origin, instance, execution = at[1], at[2], at[3], at[4]
  if state == 'waiting' then
    leave_ingress(origin, job)
    conclude(job, false, false, outcome, result_ttl_s, now)
  elseif state == 'assigned' then
    redis.call('LREM', k.queue(instance_queue(instance)), 1, job)
    conclude(job, instance, false, outcome, result_ttl_s, now)
  elseif state == 'running' then
    end_execution(job, execution)
    -- No execution ended this job, so none may later hear that it did.
    redis.call('HDEL', k.job(job), 'preble_execution')
    conclude(job, instance, execution, outcome, result_ttl_s, now)
    redis.call('XADD', k.recalls(instance), 'MAXLEN', 1, '*', 'm', '')
  end
  return state
end

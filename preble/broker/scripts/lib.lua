-- Shared by all scripts: prefixed to each after the key functions `k` of keys.py.
-- Nothing here reads a client's clock: times are Redis TIME, in milliseconds.

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- RQ's time format. Days to civil date: the usual era arithmetic on a year that starts in March.
local function iso(ms)
  local days = math.floor(ms / 86400000)
  local rest = ms - days * 86400000
  local z = days + 719468
  local era = math.floor(z / 146097)
  local day_of_era = z - era * 146097
  local year_of_era = math.floor((day_of_era - math.floor(day_of_era / 1460)
    + math.floor(day_of_era / 36524) - math.floor(day_of_era / 146096)) / 365)
  local day_of_year = day_of_era
    - (365 * year_of_era + math.floor(year_of_era / 4) - math.floor(year_of_era / 100))
  local shifted_month = math.floor((5 * day_of_year + 2) / 153)
  local day = day_of_year - math.floor((153 * shifted_month + 2) / 5) + 1
  local month = shifted_month < 10 and shifted_month + 3 or shifted_month - 9
  local year = year_of_era + era * 400 + (month <= 2 and 1 or 0)
  local seconds = math.floor(rest / 1000)
  return string.format('%04d-%02d-%02dT%02d:%02d:%02d.%06dZ', year, month, day,
    math.floor(seconds / 3600), math.floor(seconds / 60) % 60, seconds % 60, rest % 1000 * 1000)
end

local function signal(message)
  redis.call('XADD', k.signals(), 'MAXLEN', '~', 100000, '*', 'm', message)
end

-- Puts an entry into the inbox of an api process, if that is there.
local function tell(inbox, field, value)
  redis.call('XADD', k.inbox(inbox), 'NOMKSTREAM', 'MAXLEN', '~', INBOX_ENTRIES, '*', field, value)
end

-- Whose jobs enter an ingress queue: its name ends with the tenant's.
local function tenant_of(ingress) return string.match(ingress, '[^.]*$') end

-- An ingress queue is known, to us and to RQ, while jobs wait in it.
local function open_ingress(ingress)
  redis.call('SADD', k.ingresses(), ingress)
  redis.call('SADD', k.queues(), k.queue(ingress))
end

local function close_if_empty(ingress)
  if redis.call('EXISTS', k.queue(ingress)) == 1 then return end
  redis.call('SREM', k.ingresses(), ingress)
  redis.call('SREM', k.queues(), k.queue(ingress))
end

-- Takes a job out of its ingress queue. False if it was not in it.
local function leave_ingress(ingress, job)
  if redis.call('LREM', k.queue(ingress), 1, job) == 0 then return false end
  close_if_empty(ingress)
  return true
end

-- Ends one execution wherever it is known. False if its lease is gone: the fence.
local function end_execution(job, execution)
  local composite = job .. ':' .. execution
  if redis.call('ZREM', k.leases(), composite) == 0 then return false end
  local queue = redis.call('HGET', k.execution(composite), 'worker_name')
  redis.call('DEL', k.execution(composite), k.executions(job))
  if not queue then return true end -- deleted behind our back
  redis.call('ZREM', k.started(queue), composite)
  redis.call('SREM', k.worker_executions(queue), composite)
  if redis.call('EXISTS', k.worker(queue)) == 1
    and redis.call('SCARD', k.worker_executions(queue)) == 0 then
    redis.call('HSET', k.worker(queue), 'state', 'idle')
  end
  return true
end

-- What is left of a job whose hash was deleted behind our back. Call it once for each. Whose it was
-- is not known any more: the lists of its tenant LIST mends.
local function bury(job)
  redis.call('HINCRBY', k.counts(), 'jobs', -1)
  redis.call('HINCRBY', k.counts(), 'prompt_bytes', -redis.call('STRLEN', k.prompt(job)))
  redis.call('DEL', k.prompt(job), k.block_keys(job), k.decision(job))
  redis.call('ZREM', k.deadlines(), job)
  redis.call('ZREM', k.jobs('*'), job)
  redis.call('ZREM', k.jobs_in('*', 'unfinished'), job)
end

-- Adds to a flat reply what a scheduler needs to know of a waiting job. One that was deleted behind
-- our back leaves its queue.
local function describe(ingress, job, reply)
  local known = redis.call('HMGET', k.job(job), 'preble_spec', 'preble_submitted_ms',
    'preble_retried_ms')
  local block_keys = redis.call('GET', k.block_keys(job))
  if known[1] and block_keys then
    reply[#reply + 1] = job
    reply[#reply + 1] = known[1]
    reply[#reply + 1] = block_keys
    reply[#reply + 1] = tonumber(known[3] or known[2])
  elseif leave_ingress(ingress, job) then
    bury(job)
  end
end

-- Whether a job, which does not run, may only run alone: it was in too many deaths.
local function is_quarantined(job)
  return tonumber(redis.call('HGET', k.job(job), 'preble_attempt')) >= QUARANTINE_AFTER
end

-- Puts a job back at the front of the ingress queue it came from, or of the quarantine.
local function make_waiting(job)
  local ingress = is_quarantined(job) and quarantine_queue
    or redis.call('HGET', k.job(job), 'preble_ingress')
  redis.call('HSET', k.job(job), 'status', 'queued', 'origin', ingress, 'preble_state', 'waiting')
  redis.call('HDEL', k.job(job), 'preble_instance', 'preble_execution', 'preble_started_ms',
    'worker_name', 'started_at')
  redis.call('DEL', k.decision(job))
  open_ingress(ingress)
  redis.call('LPUSH', k.queue(ingress), job)
end

local RQ_STATUS = {completed = 'finished', failed = 'failed', expired = 'failed',
  cancelled = 'canceled'}

-- RQ lists what ended on an instance with its queue, and keeps a result of each execution that was
-- not cancelled. So CANCEL writes no results, and the account of an api needs no right to (ADR 0039).
local function tell_rq(job, instance, execution, outcome, result_ttl_s, now)
  local queue, completed = instance_queue(instance), outcome.state == 'completed'
  local registry = completed and k.finished or outcome.state == 'cancelled' and k.canceled or k.failed
  redis.call('ZADD', registry(queue), math.floor(now / 1000) + result_ttl_s, job)
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

-- An entry of `ended` says all that REAP needs once the job's hash is gone.
local function ended_entry(job, tenant, order, state)
  return order .. ':' .. job .. ':' .. tenant .. ':' .. state
end

local function list_as_ended(job, tenant, order, state, expires_ms)
  for _, scope in ipairs({'*', tenant}) do
    redis.call('ZREM', k.jobs_in(scope, 'unfinished'), job)
    if state ~= 'completed' then redis.call('ZADD', k.jobs_in(scope, state), order, job) end
  end
  redis.call('ZADD', k.ended(), expires_ms, ended_entry(job, tenant, order, state))
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

local function keep_dead_letter(job, order, bytes, result_ttl_s)
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
  redis.call('HSET', k.job(job), 'preble_state', outcome.state, 'preble_ended_ms', now,
    'status', RQ_STATUS[outcome.state], 'ended_at', iso(now))
  if outcome.failure then redis.call('HSET', k.job(job), 'preble_failure', outcome.failure) end
  if instance then tell_rq(job, instance, execution, outcome, result_ttl_s, now) end
  redis.call('EXPIRE', k.job(job), result_ttl_s)
  redis.call('EXPIRE', k.decision(job), result_ttl_s)
  redis.call('ZREM', k.deadlines(), job)
  local own = redis.call('HMGET', k.job(job), 'preble_bytes', 'preble_ingress', 'preble_order',
    'preble_inbox', 'preble_log_bytes', 'preble_webhook')
  local tenant, order = tenant_of(own[2]), own[3]
  if own[4] then tell(own[4], 'e', job) end
  if own[5] then redis.call('EXPIRE', k.log(job), result_ttl_s) end
  if own[6] then owe_webhook(job, tenant, own[6], outcome.state, now) end
  if outcome.state == 'failed' then
    keep_dead_letter(job, order, own[1], result_ttl_s)
  else
    redis.call('DEL', k.prompt(job), k.block_keys(job))
  end
  list_as_ended(job, tenant, order, outcome.state, now + result_ttl_s * 1000)
  redis.call('HINCRBY', k.counts(), 'jobs', -1)
  redis.call('HINCRBY', k.counts(), 'prompt_bytes', -tonumber(own[1]))
  if redis.call('HINCRBY', k.tenants(), tenant, -1) <= 0 then
    redis.call('HDEL', k.tenants(), tenant)
  end
  redis.call('HINCRBY', k.totals(), outcome.state, 1)
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

-- What ADMIT and RETRY, whose first arguments are max_jobs, max_prompt_bytes, max_ingresses and
-- max_tenant_jobs, refuse of so many jobs more; false if nothing. `tenants`: how many of each;
-- `opened`: ingress queues that are not there yet.
local function passed_bound(jobs, bytes, tenants, opened, now)
  local counts = redis.call('HMGET', k.counts(), 'jobs', 'prompt_bytes')
  local bound = false
  if tonumber(counts[1] or 0) + jobs > tonumber(ARGV[1]) then
    bound = 'jobs'
  elseif tonumber(counts[2] or 0) + bytes > tonumber(ARGV[2]) then
    bound = 'prompt bytes'
  elseif opened > 0 and redis.call('SCARD', k.ingresses()) + opened > tonumber(ARGV[3]) then
    bound = 'ingress queues'
  end
  local most = tonumber(ARGV[4])
  for tenant, number in pairs(most > 0 and tenants or {}) do
    local held = tonumber(redis.call('HGET', k.tenants(), tenant) or 0)
    bound = bound or held + number > most and 'jobs of one tenant'
  end
  if not bound then return false end
  local ended = 0
  local totals = redis.call('HMGET', k.totals(), 'completed', 'failed', 'cancelled', 'expired')
  for i = 1, 4 do ended = ended + tonumber(totals[i] or 0) end
  return {'full', bound, tostring(ended), tostring(now)}
end

-- Whether an operator said that an instance gets no more jobs.
local function is_drained(instance)
  return redis.call('ZSCORE', k.drained(), instance) ~= false
end

-- Whether the current life of an instance has left; a copy of its calls must not bring it back.
local function has_retired(instance)
  return redis.call('ZSCORE', k.instances(), instance) == '0'
end

-- Shared by all scripts: prefixed to each after the key functions `k` of keys.py, before endings.lua.
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

-- One job less has not ended, and so many bytes less were sent with those that have not. Of one that
-- was deleted behind our back only the prompt is known: the rest goes when the pool is empty.
local function count_no_more(bytes)
  redis.call('HINCRBY', k.counts(), 'prompt_bytes', -bytes)
  if redis.call('HINCRBY', k.counts(), 'jobs', -1) == 0 then
    redis.call('HSET', k.counts(), 'prompt_bytes', 0)
  end
end

-- What is left of a job whose hash was deleted behind our back. Call it once for each. Whose it was
-- is not known any more: the lists of its tenant LIST mends.
local function bury(job)
  count_no_more(redis.call('STRLEN', k.prompt(job)))
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

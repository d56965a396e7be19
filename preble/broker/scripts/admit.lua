#!lua
-- ADMIT: take a list of new jobs, all or none.
--
-- Keys:  counts, totals, tenants, rate, ingresses, queues, queue, job, staged, prompt, block_keys,
--        deadlines, jobs, jobs_in, signals
-- Args:  max_jobs, max_prompt_bytes, max_ingresses, max_tenant_jobs, tenant_jobs_per_s, most of
--        these at once, result_ttl_s, name of the stage on which the prompts are or '', then for
--        each job: id, ingress queue, spec, total tokens, deadline in ms from now or '', block keys,
--        bytes of prompt, spec and webhook, fingerprint of a request that has a key or '', inbox of
--        who is to hear of its end or '', webhook or '', prompt ('' if staged)
-- Reply: {'ok'} | {'ok', jobs that the tenant with least left may still submit, ms until none is
--        held back by its rate} where tenants are bound and a job is new | {'full', 'jobs' | 'prompt bytes' | 'ingress queues' | 'jobs of one tenant', how
--        many jobs the pool has ended, now ms} | {'fast', ms to wait} | {'unstaged', job}
--        | {'reused', job} if a job exists that another request made
-- Twice: a job that exists already is skipped, so the second run changes nothing.
-- Refused under OOM (no allow-oom): a full Redis takes no new work.

local tenant_jobs_per_s, tenant_burst, result_ttl_s = tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7]
local stage = ARGV[8]
local now = now_ms()

-- A reply that takes nothing: what was staged goes.
local function without_stage(reply)
  for i = 9, stage == '' and 0 or #ARGV, 11 do redis.call('UNLINK', k.staged(stage, ARGV[i])) end
  return reply
end

local new, bytes, tenants = {}, 0, {}
local ingresses, opened = {}, 0
for i = 9, #ARGV, 11 do
  local job, ingress = ARGV[i], ARGV[i + 1]
  if redis.call('EXISTS', k.job(job)) == 0 then
    if stage ~= '' and redis.call('EXISTS', k.staged(stage, job)) == 0 then
      return without_stage({'unstaged', job})
    end
    new[#new + 1] = i
    bytes = bytes + tonumber(ARGV[i + 6])
    tenants[tenant_of(ingress)] = (tenants[tenant_of(ingress)] or 0) + 1
    if not ingresses[ingress] then
      ingresses[ingress] = true
      opened = opened + 1 - redis.call('SISMEMBER', k.ingresses(), ingress)
    end
  elseif (redis.call('HGET', k.job(job), 'preble_fingerprint') or '') ~= ARGV[i + 7] then
    return without_stage({'reused', job})
  end
end
if #new == 0 then return without_stage({'ok'}) end

local refusal = passed_bound(#new, bytes, tenants, opened, now)
if refusal then return without_stage(refusal) end

-- A token bucket for each tenant: jobs left, and when that was so.
local function left_of(tenant)
  local bucket = redis.call('GET', k.rate(tenant))
  if not bucket then return tenant_burst end
  local left, at = string.match(bucket, '^(.*) (.*)$')
  return math.min(tenant_burst, tonumber(left) + (now - tonumber(at)) / 1000 * tenant_jobs_per_s)
end

if tenant_jobs_per_s > 0 then
  local lacking = 0
  for tenant, number in pairs(tenants) do
    lacking = math.max(lacking, math.min(number, tenant_burst) - left_of(tenant))
  end
  if lacking > 0 then
    return without_stage({'fast', tostring(math.ceil(lacking / tenant_jobs_per_s * 1000))})
  end
  for tenant, number in pairs(tenants) do
    local left = left_of(tenant) - number
    local full_ms = math.ceil((tenant_burst - left) / tenant_jobs_per_s * 1000)
    redis.call('SET', k.rate(tenant), string.format('%.6f %.0f', left, now), 'PX', full_ms)
  end
end

for tenant, number in pairs(tenants) do redis.call('HINCRBY', k.tenants(), tenant, number) end
local now_iso = iso(now)
redis.call('HINCRBY', k.counts(), 'jobs', #new)
local order = redis.call('HINCRBY', k.counts(), 'admitted', #new) - #new
redis.call('HINCRBY', k.counts(), 'prompt_bytes', bytes)
for ingress in pairs(ingresses) do open_ingress(ingress) end
for index, i in ipairs(new) do
  local job, ingress = ARGV[i], ARGV[i + 1]
  redis.call('HSET', k.job(job),
    'created_at', now_iso, 'enqueued_at', now_iso, 'status', 'queued', 'origin', ingress,
    'data', '["preble.broker.rq_worker.run_by_preble_worker_only", null, [], {}]',
    'description', 'preble job', 'timeout', -1, 'result_ttl', result_ttl_s,
    'failure_ttl', result_ttl_s, 'preble_state', 'waiting', 'preble_ingress', ingress,
    'preble_spec', ARGV[i + 2], 'preble_tokens', ARGV[i + 3], 'preble_bytes', ARGV[i + 6],
    'preble_attempt', 0, 'preble_submitted_ms', now, 'preble_order', order + index,
    'preble_fingerprint', ARGV[i + 7])
  if ARGV[i + 4] ~= '' then
    redis.call('HSET', k.job(job), 'preble_deadline_ms', now + ARGV[i + 4])
    redis.call('ZADD', k.deadlines(), now + ARGV[i + 4], job)
  end
  if ARGV[i + 8] ~= '' then redis.call('HSET', k.job(job), 'preble_inbox', ARGV[i + 8]) end
  if ARGV[i + 9] ~= '' then redis.call('HSET', k.job(job), 'preble_webhook', ARGV[i + 9]) end
  redis.call('SET', k.block_keys(job), ARGV[i + 5])
  if stage == '' then
    redis.call('SET', k.prompt(job), ARGV[i + 10])
  else
    redis.call('RENAME', k.staged(stage, job), k.prompt(job))
    redis.call('PERSIST', k.prompt(job))
  end
  redis.call('RPUSH', k.queue(ingress), job)
  local tenant = tenant_of(ingress)
  redis.call('ZADD', k.jobs('*'), order + index, job)
  redis.call('ZADD', k.jobs(tenant), order + index, job)
  list_as_unfinished(job, tenant, order + index)
end
signal(cmsgpack.pack({'admitted', #new}))

local max_tenant_jobs = tonumber(ARGV[4])
if tenant_jobs_per_s == 0 and max_tenant_jobs == 0 then return {'ok'} end
local left, full_ms = math.huge, 0
for tenant in pairs(tenants) do
  if tenant_jobs_per_s > 0 then
    local of_rate = left_of(tenant)
    left = math.min(left, of_rate)
    full_ms = math.max(full_ms, (tenant_burst - of_rate) / tenant_jobs_per_s * 1000)
  end
  if max_tenant_jobs > 0 then
    left = math.min(left, max_tenant_jobs - redis.call('HGET', k.tenants(), tenant))
  end
end
return {'ok', string.format('%.6f', left), string.format('%.0f', full_ms)}

#!lua
-- ADMIT: take a list of new jobs, all or none.
--
-- Keys:  counts, totals, ingresses, queues, queue, job, prompt, block_keys, deadlines, signals
-- Args:  max_jobs, max_prompt_bytes, max_ingresses, result_ttl_s, then for each job: id,
--        ingress queue, spec, total tokens, deadline in ms from now or '', block keys, prompt
--        bytes, fingerprint of a request that has a key or '', prompt ('' if staged before)
-- Reply: {'ok'} | {'full', 'jobs' | 'prompt bytes' | 'ingress queues', how many jobs the pool has
--        ended, now ms} | {'unstaged', job}
--        | {'reused', job} if a job exists that another request made
-- Twice: a job that exists already is skipped, so the second run changes nothing.
-- Refused under OOM (no allow-oom): a full Redis takes no new work.

local max_jobs, max_bytes, max_ingresses = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local result_ttl_s = ARGV[4]
local new, bytes = {}, 0
local ingresses, opened = {}, 0
for i = 5, #ARGV, 9 do
  local job, ingress = ARGV[i], ARGV[i + 1]
  if redis.call('EXISTS', k.job(job)) == 0 then
    if ARGV[i + 8] == '' and redis.call('EXISTS', k.prompt(job)) == 0 then
      return {'unstaged', job}
    end
    new[#new + 1] = i
    bytes = bytes + tonumber(ARGV[i + 6])
    if not ingresses[ingress] then
      ingresses[ingress] = true
      opened = opened + 1 - redis.call('SISMEMBER', k.ingresses(), ingress)
    end
  elseif (redis.call('HGET', k.job(job), 'preble_fingerprint') or '') ~= ARGV[i + 7] then
    return {'reused', job}
  end
end
if #new == 0 then return {'ok'} end

local function refuse(bound)
  for _, i in ipairs(new) do
    if ARGV[i + 8] == '' then redis.call('UNLINK', k.prompt(ARGV[i])) end
  end
  local ended = 0
  local totals = redis.call('HMGET', k.totals(), 'completed', 'failed', 'cancelled', 'expired')
  for i = 1, 4 do ended = ended + tonumber(totals[i] or 0) end
  return {'full', bound, tostring(ended), tostring(now_ms())}
end

local counts = redis.call('HMGET', k.counts(), 'jobs', 'prompt_bytes')
if tonumber(counts[1] or 0) + #new > max_jobs then return refuse('jobs') end
if tonumber(counts[2] or 0) + bytes > max_bytes then return refuse('prompt bytes') end
if opened > 0 and redis.call('SCARD', k.ingresses()) + opened > max_ingresses then
  return refuse('ingress queues')
end

local now = now_ms()
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
  redis.call('SET', k.block_keys(job), ARGV[i + 5])
  if ARGV[i + 8] == '' then
    redis.call('PERSIST', k.prompt(job))
  else
    redis.call('SET', k.prompt(job), ARGV[i + 8])
  end
  redis.call('RPUSH', k.queue(ingress), job)
end
signal(cmsgpack.pack({'admitted', #new}))
return {'ok'}

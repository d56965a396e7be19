#!lua
-- ADMIT: take a list of new jobs, all or none.
--
-- Keys:  counts, ingresses, queues, queue, job, prompt, block_keys, signals
-- Args:  ingress queue, max_jobs, max_prompt_bytes, result_ttl_s, then for each job:
--        id, spec, total tokens, block keys, prompt bytes, prompt ('' if staged before)
-- Reply: {'ok'} | {'full', 'jobs' | 'prompt bytes'} | {'unstaged', job}
-- Twice: a job that exists already is skipped, so the second run changes nothing.
-- Refused under OOM (no allow-oom): a full Redis takes no new work.

local ingress, max_jobs, max_bytes, result_ttl_s = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local new, bytes = {}, 0
for i = 5, #ARGV, 6 do
  if redis.call('EXISTS', k.job(ARGV[i])) == 0 then
    if ARGV[i + 5] == '' and redis.call('EXISTS', k.prompt(ARGV[i])) == 0 then
      return {'unstaged', ARGV[i]}
    end
    new[#new + 1] = i
    bytes = bytes + tonumber(ARGV[i + 4])
  end
end
if #new == 0 then return {'ok'} end

local function refuse(bound)
  for _, i in ipairs(new) do
    if ARGV[i + 5] == '' then redis.call('UNLINK', k.prompt(ARGV[i])) end
  end
  return {'full', bound}
end

local counts = redis.call('HMGET', k.counts(), 'jobs', 'prompt_bytes')
if tonumber(counts[1] or 0) + #new > max_jobs then return refuse('jobs') end
if tonumber(counts[2] or 0) + bytes > max_bytes then return refuse('prompt bytes') end

local now = now_ms()
local now_iso = iso(now)
redis.call('HINCRBY', k.counts(), 'jobs', #new)
local order = redis.call('HINCRBY', k.counts(), 'admitted', #new) - #new
redis.call('HINCRBY', k.counts(), 'prompt_bytes', bytes)
redis.call('SADD', k.ingresses(), ingress)
redis.call('SADD', k.queues(), k.queue(ingress))
for index, i in ipairs(new) do
  local job = ARGV[i]
  redis.call('HSET', k.job(job),
    'created_at', now_iso, 'enqueued_at', now_iso, 'status', 'queued', 'origin', ingress,
    'data', '["preble.broker.rq_worker.run_by_preble_worker_only", null, [], {}]',
    'description', 'preble job', 'timeout', -1, 'result_ttl', result_ttl_s,
    'failure_ttl', result_ttl_s, 'preble_state', 'waiting', 'preble_ingress', ingress,
    'preble_spec', ARGV[i + 1], 'preble_tokens', ARGV[i + 2], 'preble_bytes', ARGV[i + 4],
    'preble_attempt', 0, 'preble_submitted_ms', now, 'preble_order', order + index)
  redis.call('SET', k.block_keys(job), ARGV[i + 3])
  if ARGV[i + 5] == '' then
    redis.call('PERSIST', k.prompt(job))
  else
    redis.call('SET', k.prompt(job), ARGV[i + 5])
  end
  redis.call('RPUSH', k.queue(ingress), job)
end
signal(cmsgpack.pack({'admitted', #new}))
return {'ok'}

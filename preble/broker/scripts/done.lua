#!lua flags=allow-oom
-- DONE: record how executions ended; the fence that makes each result single.
--
-- Keys:  leases, started, execution, executions, worker, worker_executions, job, results,
--        finished, failed, canceled, prompt, block_keys, decision, deadlines, jobs, jobs_in,
--        ended, dead, counts, tenants, totals, inbox, log, webhooks, webhook, dead_webhooks,
--        signals
-- Args:  instance, result_ttl_s, max_dead_letter_bytes, max_ended_bytes, then for each
--        outcome: job, execution, state, RQ result text, JobFailure or '', prompt tokens, completion
--        tokens, hit tokens predicted at the start, hit tokens delivered, seconds of decode
-- Reply: 1 or 0 for each: accepted or refused
-- Of a job that was deleted behind our back nothing is recorded.
-- Twice: only the holder of the lease is accepted; the execution that already ended the job
--        hears 1 again and nothing changes.

local instance, result_ttl_s = ARGV[1], tonumber(ARGV[2])
max_dead_letter_bytes, max_ended_bytes = tonumber(ARGV[3]), tonumber(ARGV[4])
local queue = instance_queue(instance)
local now, reply = now_ms(), {}

local function is_mine(job, execution)
  local ended = redis.call('HMGET', k.job(job), 'preble_execution', 'preble_ended_ms')
  return ended[1] == execution and ended[2]
end

local function count(job, prompt_tokens, completion_tokens, predicted, delivered)
  local available = redis.call('HGET', k.job(job), 'preble_available')
  local added = {prompt_tokens = prompt_tokens, completion_tokens = completion_tokens,
    hit_tokens_available = available or 0, hit_tokens_predicted = predicted,
    hit_tokens_delivered = delivered}
  for name, value in pairs(added) do redis.call('HINCRBY', k.totals(), name, value) end
end

local function finish(job, execution, state, text, failure, prompt_tokens, completion_tokens,
  predicted, delivered, decode_s)
  -- Changes nothing: an account that may not write results is refused here, before any write.
  redis.call('XTRIM', k.results(job), 'MAXLEN', RESULTS_KEPT)
  if not end_execution(job, execution) then return is_mine(job, execution) and 1 or 0 end
  if redis.call('EXISTS', k.job(job)) == 0 then
    bury(job)
    return 0
  end
  local outcome = {state = state, text = text, failure = failure ~= '' and failure or nil,
    completion_tokens = tonumber(completion_tokens), decode_s = tonumber(decode_s)}
  conclude(job, instance, execution, outcome, result_ttl_s, now)
  if state == 'completed' then count(job, prompt_tokens, completion_tokens, predicted, delivered) end
  if redis.call('EXISTS', k.worker(queue)) == 1 then
    local counter = state == 'completed' and 'successful_job_count' or 'failed_job_count'
    redis.call('HINCRBY', k.worker(queue), counter, 1)
    local started = tonumber(redis.call('HGET', k.job(job), 'preble_started_ms')) or now
    redis.call('HINCRBYFLOAT', k.worker(queue), 'total_working_time', (now - started) / 1000)
  end
  return 1
end

for i = 5, #ARGV, 10 do reply[#reply + 1] = finish(unpack(ARGV, i, i + 9)) end
return reply

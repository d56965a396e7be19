#!lua flags=allow-oom
-- CANCEL: end jobs wherever they stand.
--
-- Keys:  ingresses, queues, queue, job, leases, started, execution, executions, worker,
--        worker_executions, prompt, block_keys, decision, deadlines, canceled, jobs_in, ended,
--        counts, tenants, totals, recalls, inbox, log, webhooks, webhook, dead_webhooks, signals
-- Args:  result_ttl_s, JobFailure, then jobs
-- Reply: for each its state now; false if it is unknown
-- Twice: a job that has ended stays as it is.

local result_ttl_s, now, reply = tonumber(ARGV[1]), now_ms(), {}
local outcome = {state = 'cancelled', failure = ARGV[2]}
for i = 3, #ARGV do
  stop(ARGV[i], outcome, result_ttl_s, now)
  reply[#reply + 1] = redis.call('HGET', k.job(ARGV[i]), 'preble_state')
end
return reply

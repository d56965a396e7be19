#!lua
-- TELL: what executions have made, to the inboxes that are there and to the logs of jobs.
--
-- Keys:  inbox, job, log
-- Args:  number of inboxes, then for each: inbox, entry; then for each entry of a log: job,
--        execution, entry
-- Reply: 1
-- Twice: entries come twice; each says where it belongs.
-- Refused under OOM (no allow-oom): the jobs go on, and their results tell the same.

local logs_at = 2 + 2 * tonumber(ARGV[1])
for i = 2, logs_at - 1, 2 do tell(ARGV[i], 't', ARGV[i + 1]) end

-- A job that does not run under this execution has a log without it, or none that would expire.
local function log(job, execution, entry)
  local state, runs, bytes = unpack(redis.call('HMGET', k.job(job), 'preble_state',
    'preble_execution', 'preble_log_bytes'))
  if state ~= 'running' or runs ~= execution then return end
  if tonumber(bytes or 0) + #entry > MOST_LOG_BYTES then return end
  redis.call('HINCRBY', k.job(job), 'preble_log_bytes', #entry)
  redis.call('XADD', k.log(job), '*', 'd', entry)
end

for i = logs_at, #ARGV, 3 do log(ARGV[i], ARGV[i + 1], ARGV[i + 2]) end
return 1

#!lua flags=allow-oom
-- DESCRIBE: what PEEK does not tell of waiting jobs, and what never changes.
--
-- Keys:  ingresses, queues, queue, job, block_keys
-- Args:  for each job: ingress queue, job
-- Reply: flat: job, spec, block keys, ms since when it waits, for each job that is still known
-- Twice: reads only, but for ids whose job was deleted behind our back: those leave the queue.

local reply = {}
for i = 1, #ARGV, 2 do
  local ingress, job = ARGV[i], ARGV[i + 1]
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
return reply

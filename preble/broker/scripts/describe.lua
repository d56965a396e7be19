#!lua flags=allow-oom
-- DESCRIBE: what PEEK does not tell of waiting jobs, and what never changes.
--
-- Keys:  ingresses, queues, queue, job, block_keys
-- Args:  for each job: ingress queue, job
-- Reply: flat: job, spec, block keys, ms since when it waits, for each job that is still known
-- Twice: reads only, but for ids whose job was deleted behind our back: those leave the queue.

local reply = {}
for i = 1, #ARGV, 2 do describe(ARGV[i], ARGV[i + 1], reply) end
return reply

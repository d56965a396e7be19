#!lua flags=allow-oom
-- PEEK: the first jobs of each ingress queue, in order.
--
-- Keys:  ingresses, queue, job, block_keys
-- Args:  window: most jobs of each queue
-- Reply: flat: job, ingress, spec, block keys, for each job
-- Twice: reads only, but for ids whose job was deleted behind our back: those leave the queue.

local reply = {}
local ingresses = redis.call('SMEMBERS', k.ingresses())
table.sort(ingresses)
for _, ingress in ipairs(ingresses) do
  for _, job in ipairs(redis.call('LRANGE', k.queue(ingress), 0, ARGV[1] - 1)) do
    local spec = redis.call('HGET', k.job(job), 'preble_spec')
    local block_keys = redis.call('GET', k.block_keys(job))
    if spec and block_keys then
      reply[#reply + 1] = job
      reply[#reply + 1] = ingress
      reply[#reply + 1] = spec
      reply[#reply + 1] = block_keys
    else
      redis.call('LREM', k.queue(ingress), 1, job)
    end
  end
end
return reply

#!lua flags=allow-oom
-- PEEK: the ids of the first jobs of each ingress queue, in order.
--
-- Keys:  ingresses, queues, queue
-- Args:  most jobs of each queue, how the names of batch queues begin, most jobs of each of
--        those, most jobs of all queues together, which long windows share evenly
-- Reply: now ms, then for each queue: its name, {jobs}
-- Twice: reads only, but for queues that were emptied behind our back: those are forgotten.

local window, batch_window = tonumber(ARGV[1]), tonumber(ARGV[3])
local ingresses = redis.call('SMEMBERS', k.ingresses())
local share = math.max(1, math.floor(tonumber(ARGV[4]) / math.max(1, #ingresses)))
local reply = {now_ms()}
for _, ingress in ipairs(ingresses) do
  local is_batch = string.sub(ingress, 1, #ARGV[2]) == ARGV[2]
  local most = math.min(is_batch and batch_window or window, share)
  local jobs = redis.call('LRANGE', k.queue(ingress), 0, most - 1)
  if #jobs == 0 then
    close_if_empty(ingress)
  else
    reply[#reply + 1] = ingress
    reply[#reply + 1] = jobs
  end
end
return reply

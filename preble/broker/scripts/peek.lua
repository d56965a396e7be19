#!lua flags=allow-oom
-- PEEK: the ids of the first jobs of each ingress queue, in order.
--
-- Keys:  ingresses, queues, queue, job, block_keys
-- Args:  most jobs of each queue, how the names of batch queues begin, most jobs of each of
--        those, most jobs of all queues together, which long windows share evenly, most jobs that
--        are described in the same reply
-- Reply: now ms, then what DESCRIBE says of these jobs, or nothing if they are too many for that,
--        then for each queue: its name, {jobs}
-- Twice: reads only, but for what was emptied or deleted behind our back: that is forgotten.

local window, batch_window = tonumber(ARGV[1]), tonumber(ARGV[3])
local ingresses = redis.call('SMEMBERS', k.ingresses())
local share = math.max(1, math.floor(tonumber(ARGV[4]) / math.max(1, #ingresses)))
local most_described = tonumber(ARGV[5])
local described, num_jobs = {}, 0
local reply = {now_ms(), described}
for _, ingress in ipairs(ingresses) do
  local is_batch = string.sub(ingress, 1, #ARGV[2]) == ARGV[2]
  local most = math.min(is_batch and batch_window or window, share)
  local jobs = redis.call('LRANGE', k.queue(ingress), 0, most - 1)
  num_jobs = num_jobs + #jobs
  if #jobs == 0 then
    close_if_empty(ingress)
  else
    reply[#reply + 1] = ingress
    reply[#reply + 1] = jobs
  end
end
if num_jobs > most_described then return reply end
for i = 3, #reply, 2 do
  for _, job in ipairs(reply[i + 1]) do describe(reply[i], job, described) end
end
return reply

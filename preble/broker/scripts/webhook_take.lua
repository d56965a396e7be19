#!lua flags=allow-oom
-- WEBHOOK_TAKE: lease webhooks that are due.
--
-- Keys:  webhooks, webhook
-- Args:  most, lease ms
-- Reply: flat: job, when its lease ends, webhook, state and end (ms) of the job, number of this
--        attempt, for each
-- Twice: the second run takes others; those of the first are due again when their leases end.

local now, reply = now_ms(), {}
local lease_end = now + tonumber(ARGV[2])
for _, job in ipairs(redis.call('ZRANGEBYSCORE', k.webhooks(), '-inf', now, 'LIMIT', 0, ARGV[1])) do
  local owed = redis.call('HMGET', k.webhook(job), 'webhook', 'state', 'ended_ms')
  if owed[1] then
    redis.call('ZADD', k.webhooks(), lease_end, job)
    reply[#reply + 1] = job
    reply[#reply + 1] = lease_end
    for _, value in ipairs(owed) do reply[#reply + 1] = value end
    reply[#reply + 1] = redis.call('HINCRBY', k.webhook(job), 'attempts', 1)
  else
    redis.call('ZREM', k.webhooks(), job) -- deleted behind our back
  end
end
return reply

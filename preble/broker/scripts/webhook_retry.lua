#!lua flags=allow-oom
-- WEBHOOK_RETRY: let webhooks that were given up be due at once.
--
-- Keys:  webhooks, webhook, dead_webhooks
-- Args:  jobs
-- Reply: 1 or 0 for each: it was given up, or not
-- Twice: the second run finds none that was given up.

local now, reply = now_ms(), {}
for i, job in ipairs(ARGV) do
  reply[i] = redis.call('ZREM', k.dead_webhooks(), job)
  if reply[i] == 1 then
    redis.call('HSET', k.webhook(job), 'status', 'pending', 'attempts', 0, 'since_ms', now)
    redis.call('ZADD', k.webhooks(), now, job)
  end
end
return reply

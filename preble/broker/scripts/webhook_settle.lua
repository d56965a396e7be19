#!lua flags=allow-oom
-- WEBHOOK_SETTLE: how an attempt to deliver a webhook ended.
--
-- Keys:  webhooks, webhook, dead_webhooks, job
-- Args:  job, when the lease ends, status, error, ms until a pending one is due, 1 if it was tried
-- Reply: 1, or 0 if the lease is another's, or over
-- Twice: the first run ended the lease, so the second changes nothing and replies 0.

local job, status, now = ARGV[1], ARGV[3], now_ms()
local lease_end = redis.call('ZSCORE', k.webhooks(), job)
if not lease_end or tonumber(lease_end) ~= tonumber(ARGV[2]) then return 0 end

local function keep_with_its_job()
  local left_ms = redis.call('PTTL', k.job(job))
  if left_ms > 0 then
    redis.call('PEXPIRE', k.webhook(job), left_ms)
  else
    redis.call('DEL', k.webhook(job))
  end
end

local function keep_dead()
  redis.call('ZADD', k.dead_webhooks(), now, job)
  local beyond = redis.call('ZCARD', k.dead_webhooks()) - MOST_DEAD_WEBHOOKS
  for i = 1, beyond do
    redis.call('DEL', k.webhook(redis.call('ZPOPMIN', k.dead_webhooks())[1]))
  end
end

local was_tried = ARGV[6] == '1'
if not was_tried then redis.call('HINCRBY', k.webhook(job), 'attempts', -1) end
if was_tried or status ~= 'pending' then
  redis.call('HSET', k.webhook(job), 'status', status, 'error', ARGV[4])
end
if status == 'pending' then
  redis.call('ZADD', k.webhooks(), now + tonumber(ARGV[5]), job)
  return 1
end
redis.call('ZREM', k.webhooks(), job)
if status == 'delivered' then keep_with_its_job() else keep_dead() end
return 1

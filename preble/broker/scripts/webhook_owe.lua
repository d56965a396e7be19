#!lua flags=allow-oom
-- WEBHOOK_OWE: let a webhook be due of what is no job: of a batch, which no script ends.
--
-- Keys:  webhooks, webhook, dead_webhooks
-- Args:  what has ended, tenant, webhook, its state
-- Reply: 1, or 0 if it is owed already, or given up
-- Twice: the second run finds the first one's record; once that is delivered, it is told again.

if redis.call('EXISTS', k.webhook(ARGV[1])) == 1 then return 0 end
owe_webhook(ARGV[1], ARGV[2], ARGV[3], ARGV[4], now_ms())
return 1

#!lua flags=allow-oom
-- RENEW: renew an instance's own lease and those of its running jobs.
--
-- Keys:  instances, instance, leases, worker, worker_executions
-- Args:  instance, epoch, lease ms, RQ worker ttl s, InstanceReport, then job:execution for each
--        lease
-- Reply: false if the epoch is not the instance's, or has retired; else the leases that are lost
-- Twice: renews again.

local instance, now = ARGV[1], now_ms()
if redis.call('HGET', k.instance(instance), 'epoch') ~= ARGV[2] or has_retired(instance) then
  return false
end
local queue = instance_queue(instance)
redis.call('ZADD', k.instances(), now + ARGV[3], instance)
if redis.call('EXISTS', k.worker(queue)) == 1 then
  redis.call('HSET', k.worker(queue), 'last_heartbeat', iso(now))
  redis.call('EXPIRE', k.worker(queue), ARGV[4])
  redis.call('EXPIRE', k.worker_executions(queue), ARGV[4])
end
redis.call('HSET', k.instance(instance), 'report', ARGV[5])
local lost = {}
for i = 6, #ARGV do
  local expires = redis.call('ZSCORE', k.leases(), ARGV[i])
  if expires and tonumber(expires) > 0 then
    redis.call('ZADD', k.leases(), now + ARGV[3], ARGV[i])
  else
    lost[#lost + 1] = ARGV[i]
  end
end
return lost

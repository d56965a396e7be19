#!lua flags=allow-oom
-- REGISTER: begin a new life of an instance.
--
-- Keys:  instances, instance, drained, queues, started, leases, events, snapshot, doorbell, signals
-- Args:  instance, epoch, record, lease ms, signal
-- Reply: 1
-- Twice: the same epoch only renews, unless it has retired.

local instance, epoch = ARGV[1], ARGV[2]
local is_again = redis.call('HGET', k.instance(instance), 'epoch') == epoch
if is_again and has_retired(instance) then return 1 end
redis.call('ZADD', k.instances(), now_ms() + ARGV[4], instance)
if is_again then return 1 end

-- What the earlier life still runs will be refused: let REAP take it back at once.
for _, composite in ipairs(redis.call('ZRANGE', k.started(instance_queue(instance)), 0, -1)) do
  redis.call('ZADD', k.leases(), 'XX', 0, composite)
end
redis.call('DEL', k.instance(instance), k.events(instance), k.snapshot(instance))
redis.call('HSET', k.instance(instance), 'epoch', epoch, 'record', ARGV[3])
redis.call('SADD', k.queues(), k.queue(instance_queue(instance)))
redis.call('XADD', k.doorbell(instance), 'MAXLEN', 1, '*', 'm', '')
if not is_drained(instance) then signal(ARGV[5]) end -- else RESUME tells of it
return 1

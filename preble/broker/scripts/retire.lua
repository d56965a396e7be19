#!lua flags=allow-oom
-- RETIRE: an instance leaves the pool; REAP hands its queue back.
--
-- Keys:  instances, instance
-- Args:  instance, epoch
-- Reply: 1 if this life was the current one
-- Twice: expires it again.

if redis.call('HGET', k.instance(ARGV[1]), 'epoch') ~= ARGV[2] then return 0 end
redis.call('ZADD', k.instances(), 'XX', 0, ARGV[1])
return 1

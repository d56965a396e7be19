#!lua flags=allow-oom
-- DRAIN: give an instance no more jobs. What it runs goes on; REAP hands back what waits for it.
--
-- Keys:  drained, instances, signals
-- Args:  instance
-- Reply: 1 if it is drained now, 0 if no such instance is registered
-- Twice: says the same, and changes nothing.

local instance = ARGV[1]
if redis.call('ZSCORE', k.drained(), instance) then return 1 end
if not redis.call('ZSCORE', k.instances(), instance) then return 0 end
redis.call('ZADD', k.drained(), now_ms(), instance)
signal(cmsgpack.pack({'drained', instance}))
return 1

#!lua flags=allow-oom
-- CUSTODY: take, renew or give up the custody of a name.
--
-- Keys:  custody
-- Args:  name, holder (unique to one life of a process), ms until it expires, 0 to give it up
-- Reply: 1 if the holder has it now, else 0
-- Twice: the same holder renews, or gives up what it no longer has.

local name, holder, ttl_ms = ARGV[1], ARGV[2], tonumber(ARGV[3])
local held = redis.call('GET', k.custody(name))
if held and held ~= holder then return 0 end
if ttl_ms == 0 then
  redis.call('DEL', k.custody(name))
  return 0
end
redis.call('SET', k.custody(name), holder, 'PX', ttl_ms)
return 1

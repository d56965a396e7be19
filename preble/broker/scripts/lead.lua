#!lua flags=allow-oom
-- LEAD: become or stay the leader of the pool.
--
-- Keys:  leader, leader_epoch
-- Args:  holder (unique to one life of a scheduler), lease ms
-- Reply: the leader token, or false while another holds the lease
-- Twice: the same holder renews and gets the same token.

local token = redis.call('GET', k.leader())
if not token then
  token = redis.call('INCR', k.leader_epoch()) .. '-' .. ARGV[1]
elseif string.match(token, '^%d+%-(.*)$') ~= ARGV[1] then
  return false
end
redis.call('SET', k.leader(), token, 'PX', ARGV[2])
return token

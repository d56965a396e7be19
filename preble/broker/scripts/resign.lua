#!lua flags=allow-oom
-- RESIGN: give leadership up.
--
-- Keys:  leader
-- Args:  leader token
-- Reply: 1 if it was held
-- Twice: the second time nothing is held.

if redis.call('GET', k.leader()) == ARGV[1] then return redis.call('DEL', k.leader()) end
return 0

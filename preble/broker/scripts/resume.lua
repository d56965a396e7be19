#!lua flags=allow-oom
-- RESUME: give a drained instance jobs again, if it is there, and when it comes.
--
-- Keys:  drained, signals
-- Args:  instance
-- Reply: 1
-- Twice: changes nothing. It does not tell whether there is such an instance: of a drained one that
--        is gone, the second reply could not know.

if redis.call('ZREM', k.drained(), ARGV[1]) == 1 then
  signal(cmsgpack.pack({'resumed', ARGV[1]}))
end
return 1

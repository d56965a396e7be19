#!lua flags=allow-oom
-- REVOKE: let an API key open nothing any more, also while Redis is too full for anything new.
--
-- Keys:  api_keys
-- Args:  digest of the key, its record that says so
-- Reply: nothing
-- Twice: writes the same once more.

redis.call('HSET', k.api_keys(), ARGV[1], ARGV[2])

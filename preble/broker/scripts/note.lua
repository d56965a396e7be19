#!lua flags=allow-oom
-- NOTE: keep a note with a job, in the job's own record, so that both expire together.
--
-- Keys:  job
-- Args:  job, note
-- Reply: the note that the job has now, or false if there is no such job
-- Twice: a note that is there already stays.

if redis.call('EXISTS', k.job(ARGV[1])) == 0 then return false end
redis.call('HSETNX', k.job(ARGV[1]), 'preble_note', ARGV[2])
return redis.call('HGET', k.job(ARGV[1]), 'preble_note')

#!lua flags=allow-oom
-- NOTE: keep a note with a job, in the job's own record, so that both expire together.
--
-- Keys:  job, ended, counts
-- Args:  job, note
-- Reply: the note that the job has now, or false if there is no such job
-- Twice: a note that is there already stays.

if redis.call('EXISTS', k.job(ARGV[1])) == 0 then return false end
local is_new = redis.call('HSETNX', k.job(ARGV[1]), 'preble_note', ARGV[2]) == 1
if is_new then count_more_ended(ARGV[1], #ARGV[2]) end
return redis.call('HGET', k.job(ARGV[1]), 'preble_note')

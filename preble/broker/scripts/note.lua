#!lua flags=allow-oom
-- NOTE: keep a note with a job, in the job's own record, so that both expire together.
--
-- Keys:  job, ended, counts
-- Args:  job, note
-- Reply: the note that the job has now, or false if there is no such job
-- Twice: a note that is there already stays.

if redis.call('EXISTS', k.job(ARGV[1])) == 0 then return false end

-- As a part of what was sent with the job, or of what is kept of one that has ended.
local function count(job, bytes)
  redis.call('HINCRBY', k.job(job), 'preble_bytes', bytes)
  if RQ_STATUS[redis.call('HGET', k.job(job), 'preble_state')] then
    count_more_ended(job, bytes)
  else
    redis.call('HINCRBY', k.counts(), 'prompt_bytes', bytes)
  end
end

local is_new = redis.call('HSETNX', k.job(ARGV[1]), 'preble_note', ARGV[2]) == 1
if is_new then count(ARGV[1], #ARGV[2]) end
return redis.call('HGET', k.job(ARGV[1]), 'preble_note')

#!lua flags=allow-oom
-- RELEASE: a worker hands leased jobs back, to run elsewhere.
--
-- Keys:  leases, started, execution, executions, worker, worker_executions, job, queue, totals
-- Args:  instance, 1 if the attempt counts, then job and execution for each lease
-- Reply: number of jobs handed back
-- Twice: a lease that is gone is skipped.
-- The lease is not ended here but made to expire: REAP, which knows the bound on attempts,
-- does the rest, and there is one way back.

local now, released = now_ms(), 0
for i = 3, #ARGV, 2 do
  local composite = ARGV[i] .. ':' .. ARGV[i + 1]
  local expires = redis.call('ZSCORE', k.leases(), composite)
  if expires and tonumber(expires) > 0 then
    redis.call('ZADD', k.leases(), 0, composite)
    if ARGV[2] == '0' and redis.call('EXISTS', k.job(ARGV[i])) == 1 then
      redis.call('HINCRBY', k.job(ARGV[i]), 'preble_attempt', -1)
    end
    released = released + 1
  end
end
return released

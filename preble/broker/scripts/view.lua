#!lua flags=no-writes
-- VIEW: one job as a client may see it.
--
-- Keys:  job, queue, decision, results, webhook
-- Args:  job, depth to which positions are counted
-- Reply: false if unknown, or completed without a result; else {state, spec, attempt, submitted ms,
--        deadline ms, started ms, ended ms, instance, failure, position, decision, RQ return value,
--        webhook, assigned ms}, false where absent; webhook: {} before the job's end, then {status,
--        attempts, error}
-- Twice: reads only.

local job = ARGV[1]
local f = redis.call('HMGET', k.job(job), 'preble_state', 'preble_spec', 'preble_attempt',
  'preble_submitted_ms', 'preble_deadline_ms', 'preble_started_ms', 'preble_ended_ms',
  'preble_instance', 'preble_failure', 'origin', 'preble_webhook', 'preble_assigned_ms')
if not f[1] then return false end
local position, return_value, webhook = false, false, false
if f[1] == 'waiting' or f[1] == 'assigned' then
  position = redis.call('LPOS', k.queue(f[10]), job, 'MAXLEN', ARGV[2])
elseif f[1] == 'completed' then
  local newest = redis.call('XREVRANGE', k.results(job), '+', '-', 'COUNT', 1)[1]
  for i = 1, newest and #newest[2] or 0, 2 do
    if newest[2][i] == 'return_value' then return_value = newest[2][i + 1] end
  end
  -- Only those who may write results complete a job, whatever its hash says (ADR 0039).
  if not return_value then return false end
end
if f[11] then
  webhook = f[7] and redis.call('HMGET', k.webhook(job), 'status', 'attempts', 'error') or {}
end
return {f[1], f[2], f[3], f[4], f[5], f[6], f[7], f[8], f[9], position,
  redis.call('GET', k.decision(job)), return_value, webhook, f[12]}

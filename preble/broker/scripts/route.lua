#!lua flags=allow-oom
-- ROUTE: move waiting jobs to the queues of their instances, with the decisions.
--
-- Keys:  leader, instances, drained, ingresses, queues, queue, job, decision, doorbell
-- Args:  leader token, then for each job: ingress queue, job, instance, decision, hit tokens
--        available on the best instance
-- Reply: false if the token is not the leader's; else 1 or 0 for each job: moved or not
-- Twice: a job that was moved to its instance says 1 again, whatever became of it there.

if redis.call('GET', k.leader()) ~= ARGV[1] then return false end
local now, reply = now_ms(), {}
local live, left, rung = {}, {}, {}

local function takes_jobs(instance)
  if live[instance] == nil then
    live[instance] = tonumber(redis.call('ZSCORE', k.instances(), instance) or 0) > now
      and not is_drained(instance)
  end
  return live[instance]
end

local function leave(ingress, job)
  left[ingress] = true
  return redis.call('LREM', k.queue(ingress), 1, job) == 1
end

local function move(ingress, job, instance, decision, available)
  if not takes_jobs(instance) then return 0 end
  local at = redis.call('HMGET', k.job(job), 'preble_state', 'preble_instance',
    'preble_deadline_ms')
  if not at[1] and leave(ingress, job) then bury(job) end
  if at[1] ~= 'waiting' then return at[2] == instance and 1 or 0 end
  if at[3] and tonumber(at[3]) <= now or not leave(ingress, job) then return 0 end
  local queue = instance_queue(instance)
  redis.call('HSET', k.job(job), 'origin', queue, 'preble_state', 'assigned',
    'preble_instance', instance, 'preble_available', available, 'preble_assigned_ms', now)
  redis.call('SET', k.decision(job), decision)
  redis.call('RPUSH', k.queue(queue), job)
  rung[instance] = true
  return 1
end

for i = 2, #ARGV, 5 do
  reply[#reply + 1] = move(unpack(ARGV, i, i + 4))
end
for ingress in pairs(left) do close_if_empty(ingress) end
for instance in pairs(rung) do
  redis.call('XADD', k.doorbell(instance), 'MAXLEN', 1, '*', 'm', '')
end
return reply

#!lua flags=allow-oom
-- WEBHOOK_TAKE: lease webhooks that are due, and put off those whose tenants have no room.
--
-- Keys:  webhooks, webhook
-- Args:  most, lease ms, most under way of one tenant, then flat: tenant, how many are under way
-- Reply: flat: job, when its lease ends, webhook, tenant, state and end (ms) of the job, for how
--        many ms it is owed, number of this attempt, for each
-- Twice: the second run takes others; those of the first are due again when their leases end.

local now, reply = now_ms(), {}
local most, lease_end, most_of_tenant = tonumber(ARGV[1]), now + tonumber(ARGV[2]), tonumber(ARGV[3])
local under_way, taken = {}, 0
for i = 4, #ARGV, 2 do under_way[ARGV[i]] = tonumber(ARGV[i + 1]) end

-- Older ones, so that many come ever more rarely; `webhooks.py` has the same.
local function crowded_ms(owed_ms)
  return math.min(math.max(math.floor(owed_ms / 2), SHORTEST_CROWDED_MS), LONGEST_CROWDED_MS)
end

local function lease(job, owed, tenant, owed_ms)
  redis.call('ZADD', k.webhooks(), lease_end, job)
  local attempt = redis.call('HINCRBY', k.webhook(job), 'attempts', 1)
  for _, value in ipairs({job, lease_end, owed[1], tenant, owed[3], owed[4], owed_ms, attempt}) do
    reply[#reply + 1] = value
  end
  under_way[tenant] = (under_way[tenant] or 0) + 1
  taken = taken + 1
end

local due = redis.call('ZRANGEBYSCORE', k.webhooks(), '-inf', now, 'LIMIT', 0, MOST_SEEN_WEBHOOKS)
for _, job in ipairs(due) do
  if taken >= most then break end
  local owed = redis.call('HMGET', k.webhook(job), 'webhook', 'tenant', 'state', 'ended_ms',
    'since_ms')
  if owed[1] then
    local tenant, owed_ms = owed[2] or '', now - tonumber(owed[5] or owed[4])
    if (under_way[tenant] or 0) < most_of_tenant or owed_ms > LONGEST_OWED_MS then
      lease(job, owed, tenant, owed_ms)
    else
      redis.call('ZADD', k.webhooks(), now + crowded_ms(owed_ms), job)
    end
  else
    redis.call('ZREM', k.webhooks(), job) -- deleted behind our back
  end
end
return reply

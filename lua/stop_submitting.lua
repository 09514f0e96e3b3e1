-- Give up the right to submit, and keep the claim to look the order up: its request may have left unanswered.
--
-- Promise: from this step on nothing is submitted for the plan, whatever is still on its way to a check of the claim.
-- Only the holder of the claim can do it. It has a lease's time for its first lookup.
--
-- KEYS[1] record of the plan      HASH
-- KEYS[2] open plans by due time  ZSET
-- KEYS[3] timeline of the plan    STREAM
--
-- ARGV[1] token of the claim; a call re-sent with it gets the same verdict
-- ARGV[2] plan id
-- ARGV[3] lease of a claim, ms
-- ARGV[4] grace after the lease until the plan is overdue, ms
-- ARGV[5] "seen" where the venue said that it has the order, else ""
-- ARGV[6] detail for the timeline: what came back
-- ARGV[7] life of the timeline, s
--
-- Returns { "looking" } · { "moved" }: the claim is another's, or the plan has ended

local record, open, timeline = KEYS[1], KEYS[2], KEYS[3]
local token, plan_id, lease_ms, grace_ms = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local seen, detail, timeline_ttl_s = ARGV[5], ARGV[6], ARGV[7]

local known = redis.call('HMGET', record, 'state', 'token', 'recovering')
if known[1] ~= 'consumed' or known[2] ~= token then return { 'moved' } end
if known[3] then return { 'looking' } end

-- Met here, before the first write: a key of another type would stop the script half way, and nothing is undone.
redis.call('ZCARD', open)
redis.call('XLEN', timeline)

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local function whole(number) return string.format('%.0f', number) end

redis.call('HSET', record, 'recovering', '1', 'looking_ms', whole(now), 'lease_until_ms', whole(now + lease_ms))
if seen ~= '' then redis.call('HSET', record, 'seen', '1') end
redis.call('ZADD', open, whole(now + lease_ms + grace_ms), plan_id)
redis.call('XADD', timeline, 'MAXLEN', '~', 200, '*', 'event', 'unanswered', 'detail', detail)
redis.call('EXPIRE', timeline, timeline_ttl_s)
return { 'looking' }

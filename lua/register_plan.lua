-- Register a plan before its message is sent, so that it ends in an outcome even if the message is lost.
--
-- Promise: a plan is registered, and published where it was not, once; a known plan is never changed.
--
-- KEYS[1] record of the plan      HASH
-- KEYS[2] open plans by due time  ZSET
-- KEYS[3] timeline of the plan    STREAM
-- KEYS[4] published plans         STREAM
--
-- ARGV[1] plan id
-- ARGV[2] content of the plan: symbol|action|decision
-- ARGV[3] intent as JSON
-- ARGV[4] ms from now until a plan that no worker took up is overdue
-- ARGV[5] life of the timeline, s
-- ARGV[6] length of the plan stream, entries (about)
-- ARGV[7…] the plan stream's entry as field, value, …; none where the plan came from that stream
--
-- Returns { "new" } · { "known" } · { "conflict", the stored content }

local record, open, timeline, plans = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local plan_id, content, intent, due_in_ms = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local timeline_ttl_s, maxlen = ARGV[5], ARGV[6]
local FIRST_FACT = 7

local stored = redis.call('HGET', record, 'content')
if stored and stored ~= content then return { 'conflict', stored } end
if stored then return { 'known' } end

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local facts = {}
for i = FIRST_FACT, #ARGV do facts[#facts + 1] = ARGV[i] end

redis.call('HSET', record, 'v', '1', 'state', 'registered', 'plan_id', plan_id, 'content', content, 'intent', intent,
  'registered_ms', string.format('%.0f', now))
redis.call('ZADD', open, string.format('%.0f', now + due_in_ms), plan_id)
if #facts > 0 then redis.call('XADD', plans, 'MAXLEN', '~', maxlen, '*', unpack(facts)) end
local via = 'submit'
if #facts == 0 then via = 'feed' end
redis.call('XADD', timeline, 'MAXLEN', '~', 200, '*', 'event', 'submitted', 'via', via)
redis.call('EXPIRE', timeline, timeline_ttl_s)
return { 'new' }

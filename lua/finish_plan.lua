-- End a plan: one terminal outcome, recorded once.
--
-- Promise: the record, the result stream, the open index and the timeline change together, only from the state
-- the caller believes in, and only for the holder of the claim where there is one. A plan that already ended
-- keeps its outcome, and the caller gets that one.
--
-- KEYS[1] record of the plan      HASH
-- KEYS[2] open plans by due time  ZSET
-- KEYS[3] timeline of the plan    STREAM
-- KEYS[4] results                 STREAM, one entry per plan
--
-- ARGV[1] state to leave: "waiting" or "consumed"
-- ARGV[2] state to enter: "blocked", "done", "rejected" or "unknown"
-- ARGV[3] token of this attempt; leaving "consumed" it must be the claim's. A call re-sent with the same token
--         gets the same verdict
-- ARGV[4] plan id
-- ARGV[5] life of the finished record and timeline, s
-- ARGV[6] length of the result stream, entries (about)
-- ARGV[7] detail for the timeline: what was found
-- ARGV[8…] outcome as field, value, …; attempts, wait_ms and timestamp are added here, on the Redis clock
--
-- Returns, first element of the list:
--   "finished" the plan has its outcome, from this call: the record follows as field, value, …
--   "repeat"   the plan had its outcome before: the record follows
--   "moved"    the plan is not in the state to leave, or the claim is another's: the state found follows

local record, open, timeline, results = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local from, to, token, plan_id = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local ttl_s, maxlen, detail = ARGV[5], ARGV[6], ARGV[7]
local FIRST_FACT = 8

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local known = redis.call('HMGET', record, 'state', 'token', 'taken_up_ms', 'consumed_ms', 'attempts', 'ended_by')
local state, taken_up = known[1], tonumber(known[3]) or now

local function whole_record(word)
  local answer = redis.call('HGETALL', record)
  table.insert(answer, 1, word)
  return answer
end

if not state then return { 'moved', 'none' } end
if state ~= 'registered' and state ~= 'waiting' and state ~= 'consumed' then
  return whole_record(known[6] == token and 'finished' or 'repeat')
end
if state ~= from then return { 'moved', state } end
if from == 'consumed' and known[2] ~= token then return { 'moved', state } end

-- Met here, before the first write: a key of another type would stop the script half way, and nothing is undone.
redis.call('ZCARD', open)
redis.call('XLEN', timeline)
redis.call('XLEN', results)

local facts = {}
for i = FIRST_FACT, #ARGV do facts[#facts + 1] = ARGV[i] end
local waited = (tonumber(known[4]) or now) - taken_up
for _, part in ipairs({ 'attempts', known[5] or '0', 'wait_ms', string.format('%.0f', waited),
  'timestamp', string.format('%.3f', now / 1000) }) do facts[#facts + 1] = part end

redis.call('HSET', record, 'state', to, 'ended_ms', string.format('%.0f', now), 'ended_by', token,
  'detail', detail, unpack(facts))
redis.call('EXPIRE', record, ttl_s)
redis.call('XADD', results, 'MAXLEN', '~', maxlen, '*', unpack(facts))
redis.call('ZREM', open, plan_id)
redis.call('XADD', timeline, 'MAXLEN', '~', 200, '*', 'event', 'ended', 'state', to, 'detail', detail)
redis.call('EXPIRE', timeline, ttl_s)
return whole_record('finished')

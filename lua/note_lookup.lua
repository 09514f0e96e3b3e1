-- Note a lookup that did not settle what became of an order, and say what follows: look again, or conclude.
--
-- Promise: absence is concluded only from a lookup that began after the venue could accept the order no more and had
-- to show it, after enough misses, each of them a pause apart, and never for an order that was seen. While nothing
-- is concluded, the next lookup is due before the bound, and whoever comes first then makes it: this claimant's next
-- attempt, or the sweep. Only the holder of a claim that may submit no more is listened to.
--
-- KEYS[1] record of the plan      HASH
-- KEYS[2] open plans by due time  ZSET
-- KEYS[3] timeline of the plan    STREAM
--
-- ARGV[1]  token of the claim; a call re-sent with it gets the same verdict and counts once
-- ARGV[2]  plan id
-- ARGV[3]  what the lookup gave: "missed" (not shown now), "unanswered", "working" (there, and not final)
-- ARGV[4]  detail for the timeline
-- ARGV[5]  name of the venue that was asked
-- ARGV[6]  how long after it could accept an order the venue may not show it yet, ms
-- ARGV[7]  misses wanted
-- ARGV[8]  pause after the first lookup, ms; it doubles with each
-- ARGV[9]  longest pause, ms
-- ARGV[10] bound: nothing is looked up any longer than this after the consumption, ms,
-- ARGV[11] or this after the first lookup, ms, where that is later
-- ARGV[12] grace after the pause until the plan is overdue, ms
-- ARGV[13] life of the timeline, s
--
-- Returns, first element of the list, then the number of lookups made:
--   "again"   nothing is sure yet: ms until the next lookup follow
--   "absent"  the venue surely has no such order
--   "unsent"  no request ever left: there is no such order
--   "unknown" the bound has passed without a definite answer
--   "moved"   the claim is another's, or the plan has ended

local record, open, timeline = KEYS[1], KEYS[2], KEYS[3]
local token, plan_id, found, detail, venue = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local shows_within_ms, misses_wanted = tonumber(ARGV[6]), tonumber(ARGV[7])
local pause_ms, longest_ms, bound_ms = tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])
local least_ms, grace_ms, timeline_ttl_s = tonumber(ARGV[11]), tonumber(ARGV[12]), ARGV[13]

local known = redis.call('HMGET', record, 'state', 'token', 'recovering', 'noted', 'lookups', 'misses', 'lease_until_ms',
  'consumed_ms', 'submitted_ms', 'accept_until_ms', 'looking_ms', 'seen', 'give_up_ms', 'venue')
local lookups, misses = tonumber(known[5]) or 0, tonumber(known[6]) or 0
if known[1] ~= 'consumed' or known[2] ~= token or not known[3] then return { 'moved', lookups } end

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
if known[4] == token then return { 'again', lookups, math.max(1, tonumber(known[7]) - now) } end

-- Met here, before the first write: a key of another type would stop the script half way, and nothing is undone.
redis.call('ZCARD', open)
redis.call('XLEN', timeline)

local sent, seen = known[9], known[12] or found == 'working'
local may_exist = sent or seen
-- A worker with another venue than the one that was sent the order knows nothing of it.
if sent and known[14] and known[14] ~= venue then found = 'unanswered' end
lookups = lookups + 1
if found == 'missed' then misses = misses + 1 end

redis.call('XADD', timeline, 'MAXLEN', '~', 200, '*', 'event', 'looked_up', 'found', found, 'misses', misses,
  'detail', detail)
redis.call('EXPIRE', timeline, timeline_ttl_s)

if found == 'missed' and not seen then
  -- From the first lookup on nothing more is sent: without the mark of a sending nothing ever was.
  if not sent then return { 'unsent', lookups } end
  local shown_by = tonumber(known[10]) + shows_within_ms
  if misses >= misses_wanted and tonumber(known[11]) >= shown_by then return { 'absent', lookups } end
end
local give_up = tonumber(known[13]) or math.max(tonumber(known[8]) + bound_ms, now + least_ms)
if now >= give_up then return { may_exist and 'unknown' or 'unsent', lookups } end

pause_ms = math.min(pause_ms * 2 ^ (lookups - 1), longest_ms, give_up - now)
local function whole(number) return string.format('%.0f', number) end
redis.call('HSET', record, 'noted', token, 'lookups', lookups, 'misses', misses, 'give_up_ms', whole(give_up),
  'lease_until_ms', whole(now + pause_ms))
if seen then redis.call('HSET', record, 'seen', '1') end
redis.call('ZADD', open, whole(now + pause_ms + grace_ms), plan_id)
return { 'again', lookups, math.floor(pause_ms) }

-- The last check before an order is sent to a venue outside this Redis: may this claim still submit, and until when?
--
-- Promise: confirmed at most once per plan: the mark written here, before the request leaves, refuses every later
-- call, so that whoever finds the mark may only look the order up, and whoever takes a claim over without it knows
-- that nothing was sent. Confirmed only while the claim stands (state, token, lease) and the kill switch is off; the
-- time granted never outlasts the lease. Nothing else is changed.
--
-- KEYS[1] record of the plan    HASH
-- KEYS[2] kill switch           STRING
-- KEYS[3] timeline of the plan  STREAM
--
-- ARGV[1] token of the claim
-- ARGV[2] id of this sending; a call re-sent with the same id gets the same verdict
-- ARGV[3] name of the venue
-- ARGV[4] how long the venue may accept the request, ms, at most
-- ARGV[5] life of the timeline, s
--
-- Returns, first element of the list:
--   "confirmed"   the request may leave: the latest epoch ms at which the venue may accept it, and the ms left, follow
--   "kill_switch" the switch was set after the permits were consumed: nothing may be sent
--   "claim_lost"  the claim is another's, over or used: nothing may be sent, and the caller must not conclude anything

--@include include/kill_switch

local record, switch, timeline = KEYS[1], KEYS[2], KEYS[3]
local token, sending, venue, window_ms, timeline_ttl_s = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local claim = redis.call('HMGET', record, 'state', 'token', 'lease_until_ms', 'recovering', 'sending', 'accept_until_ms')
if claim[1] ~= 'consumed' or claim[2] ~= token or claim[4] or now >= tonumber(claim[3]) then
  return { 'claim_lost' }
end
if claim[5] and claim[5] ~= sending then return { 'claim_lost' } end
if not SWITCH_OFF[switch_found(switch)] then return { 'kill_switch' } end
if claim[6] then return { 'confirmed', tonumber(claim[6]), tonumber(claim[6]) - now } end

-- Met here, before the first write: a key of another type would stop the script half way, and nothing is undone.
redis.call('XLEN', timeline)
local until_ms = math.min(now + window_ms, tonumber(claim[3]))
redis.call('HSET', record, 'submitted_ms', string.format('%.0f', now), 'accept_until_ms',
  string.format('%.0f', until_ms), 'sending', sending, 'venue', venue)
redis.call('XADD', timeline, 'MAXLEN', '~', 200, '*', 'event', 'sending', 'venue', venue, 'window_ms', until_ms - now)
redis.call('EXPIRE', timeline, timeline_ttl_s)
return { 'confirmed', until_ms, until_ms - now }

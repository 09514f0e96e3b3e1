-- The Governor's decision on one plan: a grant is a reservation, a refusal is written where the plan looks.
--
-- Promise: every limit is judged and reserved in this one step, on the Redis clock, once per plan. A plan that
-- has ended, or was decided before, changes nothing; the timeline of one that was blocked says that this came late.
-- A breach of the 5-minute limit, or too many failed evaluations, may set the kill switch, at most once a UTC day; only
-- an operator clears it.
--
-- KEYS[1]  record of the plan          HASH, only read
-- KEYS[2]  governor permit             STRING, JSON
-- KEYS[3]  governor block record       STRING, JSON
-- KEYS[4]  reservation of the plan     HASH
-- KEYS[5]  granted plans of the symbol ZSET by epoch ms
-- KEYS[6]  prefix of the day's limits  HASH per UTC date
-- KEYS[7]  prefix of the disarm mark   STRING per UTC date
-- KEYS[8]  prefix of the day's errors  INTEGER per UTC date
-- KEYS[9]  kill switch                 STRING
-- KEYS[10] who set the switch and why  HASH
-- KEYS[11] governor events             STREAM
-- KEYS[12] timeline of the plan        STREAM
--
-- ARGV[1]  plan id
-- ARGV[2]  symbol
-- ARGV[3]  reason found before any limit was judged, "" = none (the position could not be fetched, …)
-- ARGV[4]  "error" where that reason is a failed evaluation, else ""
-- ARGV[5]  kill score of the plan, "" = none
-- ARGV[6]  "closes" where the plan closes the whole position, else ""
-- ARGV[7]  notional, millionths of a USD, rounded up; "" where no price is known
-- ARGV[8]  quantity, 10^-8, rounded up
-- ARGV[9]  kill score at or above which only closes pass
-- ARGV[10] grants in any 60 minutes
-- ARGV[11] grants in any 5 minutes
-- ARGV[12] notional a day, millionths of a USD
-- ARGV[13] quantity a day, 10^-8
-- ARGV[14] "disarm" where a breach of ARGV[11] sets the kill switch, else ""
-- ARGV[15] failed evaluations a day that set the kill switch, "" = never
-- ARGV[16] life of the permit, s
-- ARGV[17] life of the block record, s
-- ARGV[18] life of the reservation, s
-- ARGV[19] the granting permit's JSON object without its closing times and brace
-- ARGV[20] context of a refusal, a JSON object as text
-- ARGV[21] life of the timeline, s
--
-- Returns { "granted" | "refused" | "repeat" | "ended", reason }, and after a refusal "disarmed" where it also set the
-- kill switch, else "armed": "repeat" where this plan was decided before,
-- "ended" where it needs no decision any more.

--@include include/civil_date
--@include include/kill_switch

local record, permit, block, reservation, granted = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local daily_prefix, disarm_prefix, errors_prefix = KEYS[6], KEYS[7], KEYS[8]
local switch, switch_info, events, timeline = KEYS[9], KEYS[10], KEYS[11], KEYS[12]
local plan_id, symbol, found, failed, kill_score, closes = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local notional, qty = ARGV[7], ARGV[8]
local critical, per_hour, per_5min = tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11])
local notional_per_day, qty_per_day = tonumber(ARGV[12]), tonumber(ARGV[13])
local disarm_on_burst, disarm_on_errors = ARGV[14], ARGV[15]
local permit_ttl_s, block_ttl_s, reservation_ttl_s = ARGV[16], ARGV[17], ARGV[18]
local permit_json, context, timeline_ttl_s = ARGV[19], ARGV[20], ARGV[21]
local HOUR_MS, FIVE_MIN_MS, DAY_S = 3600000, 300000, 86400
-- A timeline of this many entries is left to what ends its plan.
local MOST_TOLD = 150

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local date = civil_date(tonumber(time[1]))
local daily = daily_prefix .. date

local state = redis.call('HGET', record, 'state')
if state and state ~= 'registered' and state ~= 'waiting' then
  local noted = redis.call('XLEN', timeline)
  if state == 'blocked' and noted > 0 and noted < MOST_TOLD then
    redis.call('XADD', timeline, 'MAXLEN', '~', 200, '*', 'event', 'governor', 'verdict', 'late')
  end
  return { 'ended', state }
end
if redis.call('EXISTS', reservation, block) > 0 then return { 'repeat', '' } end

local function grants_since(ago_ms)
  return redis.call('ZCOUNT', granted, '(' .. string.format('%.0f', now - ago_ms), '+inf')
end

-- The limit that a refusal is about, what was counted against it, and when there is room again (epoch ms, '' = unknown).
local limit, counted, room_at = '', '', ''
local function count_against(window_ms, most)
  local grants = grants_since(window_ms)
  if grants < most then return false end
  limit, counted = string.format('%.0f', most), string.format('%.0f', grants)
  if most > 0 then
    local oldest = redis.call('ZRANGEBYSCORE', granted, '(' .. string.format('%.0f', now - window_ms), '+inf',
      'WITHSCORES', 'LIMIT', grants - most, 1)
    room_at = string.format('%.0f', tonumber(oldest[2]) + window_ms)
  end
  return true
end

local reason = found
if reason == '' and kill_score ~= '' and tonumber(kill_score) >= critical and closes ~= 'closes' then
  reason, limit, counted = 'kill_score_critical_non_close', ARGV[9], kill_score
end
if reason == '' and count_against(HOUR_MS, per_hour) then reason = 'hourly_limit_exceeded' end
if reason == '' and count_against(FIVE_MIN_MS, per_5min) then reason = 'burst_limit_exceeded' end
if reason == '' then
  local used = redis.call('HMGET', daily, 'notional_micro', 'qty_e8')
  local used_already, asked, most = tonumber(used[1]) or 0, tonumber(notional), notional_per_day
  if notional == '' then used_already, asked, most = tonumber(used[2]) or 0, tonumber(qty), qty_per_day end
  if used_already + asked > most then
    reason, limit, counted = 'daily_limit_exceeded', string.format('%.0f', most), string.format('%.0f', used_already)
    room_at = string.format('%.0f', (math.floor(now / 1000 / DAY_S) + 1) * DAY_S * 1000)
  end
end

local seconds = string.format('%.3f', now / 1000)

if reason == '' then
  local expires = string.format('%.3f', now / 1000 + tonumber(permit_ttl_s))
  redis.call('HSET', reservation, 'symbol', symbol, 'daily_key', daily, 'notional_micro', notional == '' and '0'
    or notional, 'qty_e8', qty, 'at', seconds)
  redis.call('EXPIRE', reservation, reservation_ttl_s)
  redis.call('ZADD', granted, string.format('%.0f', now), plan_id)
  redis.call('ZREMRANGEBYSCORE', granted, '-inf', string.format('%.0f', now - HOUR_MS))
  redis.call('EXPIRE', granted, HOUR_MS / 1000)
  redis.call('HINCRBY', daily, 'notional_micro', notional == '' and '0' or notional)
  redis.call('HINCRBY', daily, 'qty_e8', qty)
  redis.call('EXPIRE', daily, 2 * DAY_S)
  redis.call('SET', permit, permit_json .. ',"created_at":' .. seconds .. ',"expires_at":' .. expires .. '}', 'EX',
    permit_ttl_s)
  redis.call('XADD', timeline, 'MAXLEN', '~', 200, '*', 'event', 'governor', 'verdict', 'granted', 'permit', permit_json
    .. '}')
  redis.call('EXPIRE', timeline, timeline_ttl_s)
  return { 'granted', '' }
end

-- The reasons are a closed list of plain words: they need no escaping.
local said = '"reason":"' .. reason .. '","symbol":"' .. symbol .. '","plan_id":"' .. plan_id
  .. '","issuer":"governor","context":' .. context
redis.call('SET', block, '{' .. said .. ',"timestamp":' .. seconds .. '}', 'EX', block_ttl_s)
redis.call('SET', permit, '{"granted":false,' .. said .. ',"created_at":' .. seconds .. ',"expires_at":'
  .. string.format('%.3f', now / 1000 + tonumber(permit_ttl_s)) .. '}', 'EX', permit_ttl_s)
redis.call('XADD', timeline, 'MAXLEN', '~', 200, '*', 'event', 'governor', 'verdict', 'refused', 'reason', reason,
  'context', context, 'limit', limit, 'counted', counted, 'room_at_ms', room_at, 'priced', notional)
redis.call('EXPIRE', timeline, timeline_ttl_s)

local disarm = reason == 'burst_limit_exceeded' and disarm_on_burst == 'disarm'
if failed == 'error' then
  local errors = redis.call('INCR', errors_prefix .. date)
  redis.call('EXPIRE', errors_prefix .. date, 2 * DAY_S)
  disarm = disarm or (disarm_on_errors ~= '' and errors >= tonumber(disarm_on_errors))
end
disarm = disarm and redis.call('SET', disarm_prefix .. date, reason, 'NX', 'EX', DAY_S)
if disarm then
  -- An operator's halt keeps its who, why and when.
  if SWITCH_OFF[switch_found(switch)] then
    redis.call('SET', switch, 'true')
    redis.call('HSET', switch_info, 'who', 'governor', 'why', 'auto-disarm: ' .. reason .. ' on ' .. symbol
      .. ', plan ' .. plan_id, 'when', seconds)
  end
  redis.call('XADD', events, 'MAXLEN', '~', 10000, '*', 'event', 'AUTO_DISARM', 'reason', reason, 'context', context,
    'timestamp', seconds, 'action_taken', 'kill_switch_set', 'symbol', symbol, 'plan_id', plan_id)
end
return { 'refused', reason, (disarm and 'disarmed' or 'armed') }

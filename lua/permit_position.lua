-- The Position State Brain's answer to one plan, written only if what was judged still stands.
--
-- Promise: at most one live allowing permit per symbol; an answer is given once per plan, never to a plan that
-- has ended, and only on the very snapshot and ledger that were judged. The first sight of a symbol takes the
-- ledger from the exchange, and says so. The timeline of a plan that was blocked says that this came late.
--
-- KEYS[1] record of the plan      HASH, only read
-- KEYS[2] position permit         STRING, JSON
-- KEYS[3] live permit's plan      STRING of the symbol
-- KEYS[4] shadow ledger           HASH of the symbol
-- KEYS[5] snapshot                HASH of the symbol, only read
-- KEYS[6] timeline of the plan    STREAM
--
-- ARGV[1] plan id
-- ARGV[2] "allow" or "deny"
-- ARGV[3] judged `ts_epoch` of the snapshot, "" = there was none
-- ARGV[4] judged `last_known_amt` of the ledger, "" = there was none
-- ARGV[5] amount to start the ledger with, "" = do not
-- ARGV[6] the permit's JSON object without its closing times and brace
-- ARGV[7] the JSON of the refusal for a symbol whose permit is another plan's, likewise open
-- ARGV[8] life of the permit, s
-- ARGV[9] life of the live mark, s: longer than permit and claim together
-- ARGV[10] life of the ledger, s
-- ARGV[11] life of the timeline, s
--
-- Returns { "written" | "in_flight" | "changed" | "repeat" | "ended" }: "in_flight" where another plan holds the
-- symbol's permit and the refusal ARGV[7] was written; "changed": judge again.

local record, permit, live, ledger, snapshot, timeline = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local plan_id, verdict, judged_ts, judged_amt, first_amt = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local permit_json, in_flight_json = ARGV[6], ARGV[7]
local permit_ttl_s, live_ttl_s, ledger_ttl_s, timeline_ttl_s = ARGV[8], ARGV[9], ARGV[10], ARGV[11]
-- A timeline of this many entries is left to what ends its plan.
local MOST_TOLD = 150

local time = redis.call('TIME')
local now_s = tonumber(time[1]) + math.floor(tonumber(time[2]) / 1000) / 1000
local seconds = string.format('%.3f', now_s)

local state = redis.call('HGET', record, 'state')
if state and state ~= 'registered' and state ~= 'waiting' then
  local noted = redis.call('XLEN', timeline)
  if state == 'blocked' and noted > 0 and noted < MOST_TOLD then
    redis.call('XADD', timeline, 'MAXLEN', '~', 200, '*', 'event', 'position', 'verdict', 'late')
  end
  return { 'ended' }
end
if redis.call('EXISTS', permit) == 1 then return { 'repeat' } end
if (redis.call('HGET', snapshot, 'ts_epoch') or '') ~= judged_ts then return { 'changed' } end
if (redis.call('HGET', ledger, 'last_known_amt') or '') ~= judged_amt then return { 'changed' } end

local json, in_flight, told = permit_json, false, { 'event', 'position' }
if verdict == 'allow' then
  local holder = redis.call('GET', live)
  if holder and holder ~= plan_id then
    json, in_flight, told = in_flight_json, true, { 'event', 'position', 'holder', holder }
  else
    redis.call('SET', live, plan_id, 'EX', live_ttl_s)
    -- It must not expire under an order: what begins anew meanwhile would be moved by that order once more.
    redis.call('EXPIRE', ledger, ledger_ttl_s)
  end
end
if first_amt ~= '' then
  redis.call('HSET', ledger, 'last_known_amt', first_amt, 'updated_at', seconds, 'origin', 'exchange_first_sight',
    'taken_at', seconds)
  redis.call('EXPIRE', ledger, ledger_ttl_s)
  redis.call('XADD', timeline, 'MAXLEN', '~', 200, '*', 'event', 'ledger_started', 'amt', first_amt)
end
redis.call('SET', permit, json .. ',"created_at":' .. seconds .. ',"expires_at":'
  .. string.format('%.3f', now_s + tonumber(permit_ttl_s)) .. '}', 'EX', permit_ttl_s)
told[#told + 1] = 'permit'
told[#told + 1] = json .. '}'
redis.call('XADD', timeline, 'MAXLEN', '~', 200, '*', unpack(told))
redis.call('EXPIRE', timeline, timeline_ttl_s)
if in_flight then return { 'in_flight' } end
return { 'written' }

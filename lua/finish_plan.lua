-- End a plan: one terminal outcome, recorded once.
--
-- Promise: the record, the result stream, the open index, the timeline and what the judges hold for the plan
-- change together, only from the state the caller believes in, and only for the holder of the claim where there
-- is one. A plan that already ended keeps its outcome, and the caller gets that one. A plan that ends without
-- an order gives its reservation back to the Governor; an order moves the shadow ledger once. An operator may end
-- a plan too, without its claim, but never while somebody may still submit; who and why stand in the audit stream.
--
-- KEYS[1] record of the plan      HASH
-- KEYS[2] open plans by due time  ZSET
-- KEYS[3] timeline of the plan    STREAM
-- KEYS[4] results                 STREAM, one entry per plan
-- KEYS[5] reservation             HASH: what the plan holds of the Governor's limits
-- KEYS[6] granted plans           ZSET of the plan's symbol
-- KEYS[7] shadow ledger           HASH of the plan's symbol
-- KEYS[8] snapshot                HASH of the plan's symbol
-- KEYS[9] live position permit    STRING of the plan's symbol
-- KEYS[10] counters               HASH, may be of another type: then nothing is counted
-- KEYS[11] audit                  STREAM, capped: what operators did
-- The day's limits are a HASH whose name stands in the reservation.
--
-- ARGV[1] state to leave: "registered", "waiting" or "consumed"
-- ARGV[2] state to enter: "blocked", "done", "rejected" or "unknown"
-- ARGV[3] token of this attempt; leaving "consumed" it must be the claim's. A call re-sent with the same token
--         gets the same verdict
-- ARGV[4] plan id
-- ARGV[5] life of the finished record and timeline, s
-- ARGV[6] length of the result stream, entries (about)
-- ARGV[7] detail for the timeline: what was found
-- ARGV[8] "give_back" the reservation, or "" where an order exists or may exist
-- ARGV[9] change of the ledger, signed decimal text; "" where the ledger is not ours or nothing was ordered
-- ARGV[10] order id at the venue, "" without an order
-- ARGV[11] side of the order, likewise
-- ARGV[12] quantity of the order, likewise
-- ARGV[13] life of the ledger, s
-- ARGV[14] what is counted: symbol, how it ended, reason, joined by ":"
-- ARGV[15] what an operator does, "cancel" or "resolve"; "" where a worker ends the plan
-- ARGV[16] who, "" likewise
-- ARGV[17] why, "" likewise
-- ARGV[18…] outcome as field, value, …; attempts, wait_ms and timestamp are added here, on the Redis clock
--
-- Returns, first element of the list:
--   "finished" the plan has its outcome, from this call: the facts that were added follow as field, value, …
--   "repeat"   the plan had its outcome before: the record follows, likewise
--   "moved"    the plan is not in the state to leave, or the claim is another's: the state found follows

--@include include/count
--@include include/decimal
--@include include/settle

local record, open, timeline, results = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local reservation, granted, ledger, snapshot, live, stats = KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10]
local audit = KEYS[11]
local from, to, token, plan_id = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local ttl_s, maxlen, detail = ARGV[5], ARGV[6], ARGV[7]
local giving_back, change, order_id, side, qty = ARGV[8], ARGV[9], ARGV[10], ARGV[11], ARGV[12]
local ledger_ttl_s, counted, act, who, why = ARGV[13], ARGV[14], ARGV[15], ARGV[16], ARGV[17]
local FIRST_FACT = 18

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local known = redis.call('HMGET', record, 'state', 'token', 'taken_up_ms', 'consumed_ms', 'attempts', 'ended_by',
  'recovering', 'lease_until_ms', 'accept_until_ms')
local state, taken_up = known[1], tonumber(known[3]) or now

local function finished(ran, waited, ended_s)
  return { 'finished', 'attempts', ran, 'wait_ms', waited, 'timestamp', ended_s }
end

if not state then return { 'moved', 'none' } end
if state ~= 'registered' and state ~= 'waiting' and state ~= 'consumed' then
  if known[6] == token then return finished(unpack(redis.call('HMGET', record, 'attempts', 'wait_ms', 'timestamp'))) end
  local answer = redis.call('HGETALL', record)
  table.insert(answer, 1, 'repeat')
  return answer
end
if state ~= from then return { 'moved', state } end
-- While a lease runs its holder may submit, unless it may only look the order up; and what left may still arrive.
local nobody_submits = (known[7] or now >= (tonumber(known[8]) or 0)) and now >= (tonumber(known[9]) or 0)
if from == 'consumed' and known[2] ~= token and not (act ~= '' and nobody_submits) then return { 'moved', state } end

-- Met here, before the first write: a key of another type would stop the script half way, and nothing is undone.
redis.call('ZCARD', open)
redis.call('XLEN', timeline)
redis.call('XLEN', results)
local held = redis.call('HMGET', reservation, 'daily_key', 'notional_micro', 'qty_e8')
redis.call('ZCARD', granted)
local taken_at = change ~= '' and redis.call('HGET', ledger, 'taken_at')
local live_plan = redis.call('GET', live)
if act ~= '' then redis.call('XLEN', audit) end

local facts = {}
for i = FIRST_FACT, #ARGV do facts[#facts + 1] = ARGV[i] end
local waited = (tonumber(known[4]) or now) - taken_up
local added = finished(known[5] or '0', string.format('%.0f', waited), string.format('%.3f', now / 1000))
for i = 2, #added do facts[#facts + 1] = added[i] end

redis.call('HSET', record, 'state', to, 'ended_ms', string.format('%.0f', now), 'ended_by', token,
  'detail', detail, unpack(facts))
redis.call('EXPIRE', record, ttl_s)
redis.call('XADD', results, 'MAXLEN', '~', maxlen, '*', unpack(facts))
redis.call('ZREM', open, plan_id)

local told = { 'event', 'ended', 'state', to, 'detail', detail, 'by', token }
local function tell(name, value)
  told[#told + 1] = name
  told[#told + 1] = value
end
if giving_back == 'give_back' and held[1] then
  give_back(held, reservation, granted, plan_id)
  tell('given_back', 'governor')
end
-- An order that may exist keeps the symbol to itself until the mark expires.
if to ~= 'unknown' and live_plan == plan_id then redis.call('DEL', live) end
if order_id ~= '' or to == 'rejected' or to == 'unknown' then
  -- What the venue said about the position before this order is history now, or was wrong, or may be.
  redis.call('DEL', snapshot)
end
if order_id ~= '' then
  for _, part in ipairs({ 'order_id', order_id, 'side', side, 'qty', qty }) do told[#told + 1] = part end
end
-- Where an operator settles it late, a ledger taken from the exchange since the consumption contains the order already.
local contained = act ~= '' and taken_at and tonumber(taken_at) * 1000 > (tonumber(known[4]) or now)
if change ~= '' and not contained then
  local order = { change = change, id = order_id, plan_id = plan_id, qty = qty, side = side }
  tell('ledger_amt', move_ledger(ledger, order, time, ledger_ttl_s))
end
if act ~= '' then
  redis.call('HSET', record, 'ended_who', who, 'ended_why', why)
  redis.call('XADD', audit, 'MAXLEN', '~', maxlen, '*', 'action', act, 'plan_id', plan_id, 'who', who, 'why', why,
    'state', to, 'detail', detail, 'when', string.format('%.3f', now / 1000))
end
redis.call('XADD', timeline, 'MAXLEN', '~', 200, '*', unpack(told))
redis.call('EXPIRE', timeline, ttl_s)

count(stats, 'ended:' .. counted)
if known[5] then count(stats, 'attempts', known[5]) end
if from == 'waiting' then count(stats, wait_field('wait_blocked', waited)) end
return added

-- Record what an operator found out about an order that was sent and never known again.
--
-- Promise: only a plan that ended as unknown is resolved, and only once. Its outcome stays what it is, in the record
-- and in the result stream: what was found stands beside it. What the judges hold for the plan is settled with it: an
-- order moves the shadow ledger once, unless that was taken from the exchange since; no order gives the reservation
-- back. Who and why stand in the record, the timeline and the audit stream.
--
-- KEYS[1] record of the plan      HASH
-- KEYS[2] timeline of the plan    STREAM
-- KEYS[3] reservation             HASH: what the plan holds of the Governor's limits
-- KEYS[4] granted plans           ZSET of the plan's symbol
-- KEYS[5] shadow ledger           HASH of the plan's symbol
-- KEYS[6] snapshot                HASH of the plan's symbol
-- KEYS[7] live position permit    STRING of the plan's symbol
-- KEYS[8] audit                   STREAM, capped: what operators did
-- KEYS[9] counters                HASH, may be of another type: then nothing is counted
-- The day's limits are a HASH whose name stands in the reservation.
--
-- ARGV[1] plan id
-- ARGV[2] what was found: "executed" or "not_executed"
-- ARGV[3] who
-- ARGV[4] why
-- ARGV[5] order id at the venue, "" without an order
-- ARGV[6] side of the order, likewise
-- ARGV[7] quantity of the order, likewise
-- ARGV[8] change of the ledger, signed decimal text; "" where the ledger is not ours or nothing was ordered
-- ARGV[9] life of the ledger, s
-- ARGV[10] life of the record and the timeline from now on, s
-- ARGV[11] length of the audit stream, entries (about)
--
-- Returns, first element of the list:
--   "resolved" this call recorded it: what became of the ledger follows, its new amount, or "" where it was not moved
--   "repeat"   it was resolved before: as what, by whom and why follow
--   "moved"    the plan did not end as unknown: its state follows, "" where there is no record

--@include include/count
--@include include/decimal
--@include include/settle

local record, timeline, reservation, granted = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local ledger, snapshot, live, audit, stats = KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9]
local plan_id, found, who, why = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local order_id, side, qty, change = ARGV[5], ARGV[6], ARGV[7], ARGV[8]
local ledger_ttl_s, ttl_s, maxlen = ARGV[9], ARGV[10], ARGV[11]

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local known = redis.call('HMGET', record, 'state', 'ended_ms', 'resolved_as', 'resolved_by', 'resolved_why')
if not known[1] then return { 'moved', '' } end
if known[1] ~= 'unknown' then return { 'moved', known[1] } end
if known[3] then return { 'repeat', known[3], known[4], known[5] } end

-- Met here, before the first write: a key of another type would stop the script half way, and nothing is undone.
redis.call('XLEN', timeline)
local held = redis.call('HMGET', reservation, 'daily_key', 'notional_micro', 'qty_e8')
redis.call('ZCARD', granted)
redis.call('HLEN', snapshot)
redis.call('STRLEN', live)
redis.call('XLEN', audit)
local taken_at = tonumber(redis.call('HGET', ledger, 'taken_at') or '') or 0

redis.call('HSET', record, 'resolved_as', found, 'resolved_by', who, 'resolved_why', why, 'resolved_ms',
  string.format('%.0f', now), 'resolved_order_id', order_id, 'resolved_side', side, 'resolved_qty', qty)
redis.call('EXPIRE', record, ttl_s)

local amount = ''
if found == 'executed' then
  redis.call('DEL', snapshot)
  -- A ledger that was taken from the exchange after the plan's end contains the order already.
  if change ~= '' and taken_at * 1000 < tonumber(known[2]) then
    local order = { change = change, id = order_id, plan_id = plan_id, qty = qty, side = side }
    amount = move_ledger(ledger, order, time, ledger_ttl_s)
  end
elseif held[1] then
  give_back(held, reservation, granted, plan_id)
end
if redis.call('GET', live) == plan_id then redis.call('DEL', live) end
redis.call('XADD', audit, 'MAXLEN', '~', maxlen, '*', 'action', 'resolve', 'plan_id', plan_id, 'who', who, 'why', why,
  'state', 'unknown', 'detail', found, 'order_id', order_id, 'side', side, 'qty', qty, 'when',
  string.format('%.3f', now / 1000))
redis.call('XADD', timeline, 'MAXLEN', '~', 200, '*', 'event', 'resolved', 'as', found, 'who', who, 'why', why, 'order_id',
  order_id, 'side', side, 'qty', qty, 'ledger_amt', amount)
redis.call('EXPIRE', timeline, ttl_s)
count(stats, 'resolved:' .. found)
return { 'resolved', amount }

-- The paper venue: accept or reject one reduce-only market order, in one step with the check of its claim.
--
-- Promise: an order is accepted only while the caller's claim stands (state, token, lease) and the kill switch
-- is off, so that an attempt that was frozen cannot wake up and submit. The position never grows and never
-- changes sign. Orders are not deduplicated: a doubled submission shows as two entries in the journal.
-- Amounts are exact; more than 15 digits are refused.
--
-- KEYS[1] record of the plan        HASH: the claim, and the mark that an order was accepted
-- KEYS[2] kill switch               STRING
-- KEYS[3] position of the symbol    HASH: position_amt (signed decimal text), mark_price
-- KEYS[4] journal                   STREAM, append only
-- KEYS[5] order by client order id  HASH, for lookup
-- KEYS[6] order number              INTEGER
-- KEYS[7] counters                  HASH, may be of another type: then nothing is counted
--
-- ARGV[1] token of the claim
-- ARGV[2] plan id
-- ARGV[3] symbol
-- ARGV[4] client order id
-- ARGV[5] quantity, positive decimal text
-- ARGV[6] length of the journal, entries (about)
-- ARGV[7] life of the lookup entry, s
--
-- Returns, first element of the list:
--   "accepted"    order id, side, quantity, price ("" = none known) follow
--   "rejected"    the venue's code and a sentence follow
--   "kill_switch" the switch was set after the permits were consumed; nothing was ordered
--   "claim_lost"  the claim is another's or over: nothing was ordered, and the caller must not conclude anything

--@include include/count
--@include include/decimal
--@include include/kill_switch

local record, switch, position, journal, order, counter = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local stats = KEYS[7]
local token, plan_id, symbol, client_order_id, qty = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local journal_length, order_ttl_s = ARGV[6], ARGV[7]

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local claim = redis.call('HMGET', record, 'state', 'token', 'lease_until_ms', 'recovering')
if claim[1] ~= 'consumed' or claim[2] ~= token or claim[4] or now >= tonumber(claim[3]) then
  return { 'claim_lost' }
end
if not SWITCH_OFF[switch_found(switch)] then return { 'kill_switch' } end

local held = redis.call('HMGET', position, 'position_amt', 'mark_price')
local held_text = held[1] or '0'
if not decimal_parts(held_text) then
  return { 'rejected', 'BAD_POSITION', 'position_amt is not plain decimal text' }
end
if not decimal_parts(qty) then return { 'rejected', 'BAD_QTY', 'the quantity is not plain decimal text' } end
local amount, reduce, places = decimal_pair(held_text, qty)
if not amount then return { 'rejected', 'PRECISION', 'more than 15 digits' } end
if reduce <= 0 then return { 'rejected', 'BAD_QTY', 'the quantity is not positive' } end
-- -2022 is the code Binance USDT-M futures answers with when a reduce-only order would not reduce.
if reduce > math.abs(amount) then
  return { 'rejected', '-2022', 'reduce-only order of ' .. qty .. ' is above the position ' .. held_text }
end

local side = amount > 0 and 'SELL' or 'BUY'
local text = decimal_text(amount > 0 and amount - reduce or amount + reduce, places)

-- Met here, before the first write: a key of another type would stop the script half way, and nothing is undone.
redis.call('XLEN', journal)
local had = redis.call('HLEN', order)
local order_id = 'paper-' .. redis.call('INCR', counter)
local price = held[2] or ''
local moment = string.format('%.0f', now)
redis.call('HSET', record, 'submitted_ms', moment, 'accept_until_ms', moment, 'venue', 'paper', 'seen', '1')
redis.call('XADD', journal, 'MAXLEN', '~', journal_length, '*', 'client_order_id', client_order_id, 'plan_id', plan_id,
  'symbol', symbol, 'side', side, 'qty', qty, 'reduce_only', 'True', 'order_id', order_id, 'price', price)
redis.call('HSET', position, 'position_amt', text)
redis.call('HSET', order, 'order_id', order_id, 'plan_id', plan_id, 'symbol', symbol, 'side', side, 'qty', qty,
  'price', price)
redis.call('EXPIRE', order, order_ttl_s)
-- It must never happen, and is not prevented here: a doubled submission must show.
if had > 0 then count(stats, 'orders_doubled') end
return { 'accepted', order_id, side, qty, price }

-- Set a symbol's shadow ledger to what an operator has seen and confirmed.
--
-- Promise: nothing is written where the ledger is no longer the one that was shown, nor while a plan may have an
-- order that the exchange knows and the ledger does not. The snapshot is dropped, so that the next judgement
-- asks the venue.
--
-- KEYS[1] shadow ledger  HASH of the symbol
-- KEYS[2] snapshot       HASH of the symbol
-- KEYS[3] live permit's plan  STRING of the symbol, only read
--
-- ARGV[1] amount the operator saw in the ledger, "" = there was none
-- ARGV[2] amount to set, signed decimal text
-- ARGV[3] who
-- ARGV[4] life of the ledger, s
--
-- Returns { "set" } · { "changed" } · { "in_flight" }: a plan holds the symbol

local ledger, snapshot, live = KEYS[1], KEYS[2], KEYS[3]
local seen, amount, who, ttl_s = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

if (redis.call('HGET', ledger, 'last_known_amt') or '') ~= seen then return { 'changed' } end
if redis.call('EXISTS', live) == 1 then return { 'in_flight' } end

local time = redis.call('TIME')
local seconds = string.format('%.3f', tonumber(time[1]) + tonumber(time[2]) / 1000000)
redis.call('HSET', ledger, 'last_known_amt', amount, 'updated_at', seconds, 'origin', 'set by ' .. who, 'taken_at',
  seconds)
redis.call('EXPIRE', ledger, ttl_s)
redis.call('DEL', snapshot)
return { 'set' }

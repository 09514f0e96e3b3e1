-- Keep what the venue said about a symbol's position.
--
-- Promise: an answer that was asked for before our last order was recorded is not kept: it may describe the
-- position before that order. An answer asked for earlier does not replace one asked for later.
--
-- KEYS[1] snapshot       HASH of the symbol
-- KEYS[2] shadow ledger  HASH of the symbol, only read
--
-- ARGV[1] epoch seconds at which the venue was asked, on the Redis clock, six decimals: never rounded
-- ARGV[2] life of the snapshot, s
-- ARGV[3…] the snapshot as field, value, …; ts_epoch is added here
--
-- Returns { "kept" } · { "outdated" } · { "overtaken" }

local snapshot, ledger = KEYS[1], KEYS[2]
local asked_at, ttl_s = ARGV[1], ARGV[2]
local FIRST_FACT = 3

local last_order_at = tonumber(redis.call('HGET', ledger, 'last_order_at') or '')
if last_order_at and last_order_at >= tonumber(asked_at) then return { 'outdated' } end

local now_s = tonumber(redis.call('TIME')[1]) + 1
local stored_at = tonumber(redis.call('HGET', snapshot, 'ts_epoch') or '')
if stored_at and stored_at > tonumber(asked_at) and stored_at <= now_s then return { 'overtaken' } end

local facts = {}
for i = FIRST_FACT, #ARGV do facts[#facts + 1] = ARGV[i] end
redis.call('DEL', snapshot)
redis.call('HSET', snapshot, 'ts_epoch', asked_at, unpack(facts))
redis.call('EXPIRE', snapshot, ttl_s)
return { 'kept' }

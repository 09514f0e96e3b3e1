-- Note that a worker is alive, and what it runs.
--
-- Promise: the worker's HASH exists only while signs keep coming; the index remembers for a while, and up to a number,
-- which workers there were. The clock is Redis TIME, and the worker's own is compared with it.
--
-- KEYS[1] the worker           HASH, short-lived
-- KEYS[2] workers by last sign ZSET, bounded
--
-- ARGV[1] hostname of the worker
-- ARGV[2] the worker's own clock, epoch ms
-- ARGV[3] life of the HASH, ms
-- ARGV[4] how long the index remembers a worker, ms
-- ARGV[5] workers the index remembers
-- ARGV[6…] what it runs, as field, value, …; at_ms and clock_offset_ms are added here
--
-- Returns { "noted", epoch ms }

local worker, index = KEYS[1], KEYS[2]
local hostname, own_ms, life_ms, memory_ms, most = ARGV[1], tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4]), ARGV[5]
local FIRST_FACT = 6

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local function whole(number) return string.format('%.0f', number) end

local facts = {}
for i = FIRST_FACT, #ARGV do facts[#facts + 1] = ARGV[i] end
redis.call('HSET', worker, 'at_ms', whole(now), 'clock_offset_ms', whole(now - own_ms), unpack(facts))
redis.call('PEXPIRE', worker, life_ms)
redis.call('ZADD', index, whole(now), hostname)
redis.call('ZREMRANGEBYSCORE', index, '-inf', whole(now - memory_ms))
redis.call('ZREMRANGEBYRANK', index, 0, -1 - most)
redis.call('PEXPIRE', index, whole(memory_ms))
return { 'noted', now }

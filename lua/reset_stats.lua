-- Begin counting anew, and keep for a while what was counted.
--
-- Promise: no count is lost or counted twice: what was counted before stands in the old key, what is counted later in
-- the new one. Whatever else stands under that name is moved away in the same manner.
--
-- KEYS[1] counters     HASH
-- KEYS[2] where they go
--
-- ARGV[1] who
-- ARGV[2] how long they are kept, s
--
-- Returns { "reset" } · { "nothing" } where nothing was counted

local stats, kept = KEYS[1], KEYS[2]
local who, life_s = ARGV[1], ARGV[2]

local kind = redis.call('TYPE', stats)['ok']
if kind == 'none' then return { 'nothing' } end
if kind == 'hash' then redis.call('HSET', stats, 'ended_by', who) end
redis.call('RENAME', stats, kept)
redis.call('EXPIRE', kept, life_s)
return { 'reset' }

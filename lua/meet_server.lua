-- Find out whether this is still the server that was met before, and remember what stood when it was not.
--
-- Promise: after a restart or a failover the server may have forgotten what it had acknowledged: a consumed plan
-- may wait again, its deleted permits may stand again. From the first call on another server, everything that
-- was there before is known as such: plans by the moment of the change, permits by their bytes. What is written
-- last is the server's identity, so that a call that fails half way has met nobody.
--
-- KEYS[1] the server          HASH: run_id, since_ms, and "permit:<key>" -> SHA-1 of a permit that stood already
--
-- ARGV[1] pattern of all permit keys
-- ARGV[2] life of the HASH, s; longer than any plan or permit
--
-- Returns, first element of the list:
--   "known"   nothing has changed: epoch ms of the last change (0 = none was ever seen) follows
--   "first"   no server was met before: 0 follows
--   "changed" epoch ms of the change, and how many permits stood from before, follow

local server = KEYS[1]
local pattern, life_s = ARGV[1], ARGV[2]

local info = redis.call('INFO', 'server')
local run_id = string.match(info, 'run_id:(%w+)')
local known = redis.call('HMGET', server, 'run_id', 'since_ms')
if known[1] == run_id then
  redis.call('EXPIRE', server, life_s)
  return { 'known', tonumber(known[2]) }
end
if not known[1] then
  redis.call('HSET', server, 'run_id', run_id, 'since_ms', '0')
  redis.call('EXPIRE', server, life_s)
  return { 'first', 0 }
end

local time = redis.call('TIME')
local since = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
-- A server that was never another's replica changed when it started. When a replica was promoted it does not say.
local never_replica = string.match(redis.call('INFO', 'replication'), 'master_replid2:0+%s')
local uptime_s = tonumber(string.match(info, 'uptime_in_seconds:(%d+)'))
-- It counts whole seconds from the second in which it started: the end of that second, for nothing from before may be
-- taken for newer, and not later than now, for nothing from now on may be taken for older.
if never_replica and uptime_s then since = math.min(since, (tonumber(time[1]) - uptime_s + 1) * 1000) end

local standing, cursor = {}, '0'
repeat
  local page = redis.call('SCAN', cursor, 'MATCH', pattern, 'COUNT', 1000)
  cursor = page[1]
  for _, key in ipairs(page[2]) do
    -- A key of another type is refused for its type.
    if redis.call('TYPE', key)['ok'] == 'string' then
      standing['permit:' .. key] = redis.sha1hex(redis.call('GET', key))
    end
  end
until cursor == '0'

for _, field in ipairs(redis.call('HKEYS', server)) do
  if field ~= 'run_id' and field ~= 'since_ms' then redis.call('HDEL', server, field) end
end
local count = 0
for field, digest in pairs(standing) do
  redis.call('HSET', server, field, digest)
  count = count + 1
end
redis.call('HSET', server, 'since_ms', string.format('%.0f', since), 'run_id', run_id)
redis.call('EXPIRE', server, life_s)
return { 'changed', since, count }

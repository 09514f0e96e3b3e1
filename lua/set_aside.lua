-- Set a message aside that must not touch a plan: an invalid intent, or one that contradicts a known plan.
--
-- Promise: a known plan's record and result are never changed. An invalid message that names no known plan gets
-- one result entry under its task id, however often it is delivered.
--
-- KEYS[1] record of the plan the message names (or of its task id)   HASH, only read
-- KEYS[2] timeline beside that record                                STREAM
-- KEYS[3] messages set aside                                         STREAM, capped
-- KEYS[4] results                                                    STREAM
-- KEYS[5] marker: this task id has its result entry                  STRING
-- KEYS[6] counters                     HASH, may be of another type: then nothing is counted
--
-- ARGV[1] task id
-- ARGV[2] plan id the message names, "" = none
-- ARGV[3] reason where the plan is known
-- ARGV[4] reason where it is not
-- ARGV[5] detail: what was found
-- ARGV[6] the message's first bytes, printable
-- ARGV[7] life of marker and timeline, s
-- ARGV[8] length of both streams, entries (about)
-- ARGV[9…] outcome for the result stream as field, value, …; timestamp is added here, on the Redis clock
--
-- Returns { "known" | "new" | "repeat", timestamp as text }: whether the plan was known, or else whether this
-- call wrote the result entry.

--@include include/count

local record, timeline, rejected, results, marker, stats = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local task_id, plan_id, if_known, if_new = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local detail, excerpt, ttl_s, maxlen = ARGV[5], ARGV[6], ARGV[7], ARGV[8]
local FIRST_FACT = 9
-- A timeline of this many entries is left to what happens to its plan.
local MOST_TOLD = 150

local time = redis.call('TIME')
local timestamp = string.format('%.3f', tonumber(time[1]) + tonumber(time[2]) / 1000000)

local known = plan_id ~= '' and redis.call('EXISTS', record) == 1
local reason = known and if_known or if_new
redis.call('XADD', rejected, 'MAXLEN', '~', maxlen, '*', 'task_id', task_id, 'plan_id', plan_id, 'reason', reason,
  'detail', detail, 'message', excerpt, 'timestamp', timestamp)
-- However many there are, they must not push a plan's own history out: all of them stand in the stream above.
if redis.call('XLEN', timeline) < MOST_TOLD then
  redis.call('XADD', timeline, 'MAXLEN', '~', 200, '*', 'event', 'set_aside', 'task_id', task_id, 'reason', reason,
    'detail', detail)
  redis.call('EXPIRE', timeline, ttl_s)
end
count(stats, 'set_aside:' .. reason)
if known then return { 'known', timestamp } end

if not redis.call('SET', marker, timestamp, 'NX', 'EX', ttl_s) then return { 'repeat', redis.call('GET', marker) } end
local facts = {}
for i = FIRST_FACT, #ARGV do facts[#facts + 1] = ARGV[i] end
redis.call('XADD', results, 'MAXLEN', '~', maxlen, '*', 'timestamp', timestamp, unpack(facts))
count(stats, 'ended:other:blocked:' .. if_new)
return { 'new', timestamp }

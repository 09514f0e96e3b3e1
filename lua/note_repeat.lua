-- Count a message that was answered with the stored outcome, and tell the plan's timeline.
--
-- Promise: the record is not touched, and however many repeats there are, the timeline keeps the first few and the
-- last one of those in a row, with their number. Where there is no timeline any more, none is made.
--
-- KEYS[1] timeline of the plan  STREAM
-- KEYS[2] counters              HASH, may be of another type: then nothing is counted
--
-- ARGV[1] token of the attempt that met the repeat
-- ARGV[2] repeats that are told one by one
--
-- Returns { number of this repeat, 0 where there is no timeline }

--@include include/count

local timeline, stats = KEYS[1], KEYS[2]
local token, most_told = ARGV[1], tonumber(ARGV[2])

count(stats, 'repeats')
local last = redis.call('XREVRANGE', timeline, '+', '-', 'COUNT', 1)[1]
if not last then return { 0 } end
local facts = {}
for i = 1, #last[2], 2 do facts[last[2][i]] = last[2][i + 1] end

local number = 1
if facts.event == 'repeat' then number = tonumber(facts.number) + 1 end
if number > most_told then redis.call('XDEL', timeline, last[1]) end
redis.call('XADD', timeline, 'MAXLEN', '~', 200, '*', 'event', 'repeat', 'number', number, 'by', token)
return { number }

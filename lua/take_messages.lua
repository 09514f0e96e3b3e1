-- Take messages from queues and mark them unacknowledged, in one step.
--
-- Promise: an entry is in its queue or in `unacked`, never in neither, whatever is killed and when; the mark is
-- written before the entry leaves its queue, so that a full server takes nothing. A call whose reply was lost is
-- sent again with the same token and gets the same entries. Queues are read in turns, the more urgent first. The
-- length of every queue is read last: a client that tracks its reads is told of the next entry. A key that is no list
-- is no queue, and keeps nobody from the others.
--
-- KEYS[1]  unacknowledged messages    HASH: tag -> [entry, exchange, routing key], as kombu keeps it
-- KEYS[2]  their index                ZSET: tag by epoch seconds of its taking
-- KEYS[3…] queues                     LIST, oldest entry on the right; equally urgent ones stand together
--
-- ARGV[1]  token of this call; the tags are <token>.1, <token>.2, …
-- ARGV[2]  most entries to take
-- ARGV[3]  "again" where an earlier call with this token got no reply, else ""
-- ARGV[4]  how many of the queues are equally urgent
-- ARGV[5…] for each of these: its routing key, as JSON text
--
-- Returns a list: entries left in the queues, then per entry taken: tag, number of its queue (from 1), the entry

local unacked, index = KEYS[1], KEYS[2]
local token, most, again, side_by_side = ARGV[1], tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
local FIRST_QUEUE = 3
local FIRST_NAME = 5

local time = redis.call('TIME')
local now = time[1] .. '.' .. string.format('%06d', tonumber(time[2]))

-- Met here, before the first write: a key of another type would stop the script half way, and nothing is undone.
redis.call('HLEN', unacked)
redis.call('ZCARD', index)

local function mark_of(queue)
  return ', "", ' .. ARGV[FIRST_NAME + (queue - 1) % side_by_side] .. ']'
end

local answer = { 0 }
local function add(tag, queue, entry)
  answer[#answer + 1] = tag
  answer[#answer + 1] = queue
  answer[#answer + 1] = entry
end

local taken = 0
if again == 'again' then
  for i = 1, most do
    local tag = token .. '.' .. i
    local kept = redis.call('HGET', unacked, tag)
    for queue = 1, side_by_side do
      local mark = mark_of(queue)
      if kept and string.sub(kept, -#mark) == mark then
        add(tag, queue, string.sub(kept, 2, -#mark - 1))
        break
      end
    end
    if kept then taken = i end
  end
end

local first = FIRST_QUEUE
while first <= #KEYS and taken < most do
  local found = false
  for key = first, first + side_by_side - 1 do
    local entry = taken < most and redis.pcall('LINDEX', KEYS[key], -1)
    if type(entry) == 'string' then
      taken, found = taken + 1, true
      local queue, tag = key - FIRST_QUEUE + 1, token .. '.' .. taken
      redis.call('HSET', unacked, tag, '[' .. entry .. mark_of(queue))
      redis.call('ZADD', index, now, tag)
      redis.call('RPOP', KEYS[key])
      add(tag, queue, entry)
    end
  end
  if not found then first = first + side_by_side end
end

for key = FIRST_QUEUE, #KEYS do
  local left = redis.pcall('LLEN', KEYS[key])
  if type(left) == 'number' then answer[1] = answer[1] + left end
end
return answer

-- Look at a plan, or consume its permits: all of them or none, in one step.
--
-- Promise: permits are deleted only together, only for a waiting plan, before its deadline, while the kill
-- switch is off, and only if the very bytes that were judged still stand, each with a bounded life. The first
-- call for a plan registers it: its deadline is set once and survives redelivery, other workers and skewed
-- clocks. The clock is Redis TIME. Content is judged by the caller; this script only compares bytes. On a server
-- that was not met (lua/meet_server.lua) no plan is taken up and nothing consumed; where the server changed,
-- plans and permits from before are not consumed: it may have forgotten that they were.
--
-- KEYS[1]  record of the plan          HASH
-- KEYS[2]  open plans by due time      ZSET
-- KEYS[3]  timeline of the plan        STREAM
-- KEYS[4]  kill switch                 STRING; off = absent, "", 0, false, off, no
-- KEYS[5]  governor block record       STRING, exists = denied
-- KEYS[6]  the server that was met    HASH, see lua/meet_server.lua
-- KEYS[7]  counters                    HASH, may be of another type: then nothing is counted
-- KEYS[8…] one permit per required issuer, in configured order
--
-- ARGV[1]  token of this attempt; a call re-sent with the same token gets the same verdict
-- ARGV[2]  plan id
-- ARGV[3]  content of the plan: symbol|action|decision
-- ARGV[4]  intent as JSON, kept for whoever has to explain or end the plan
-- ARGV[5]  bound of the wait, ms
-- ARGV[6]  lease of a claim, ms
-- ARGV[7]  grace after deadline or lease until the plan is overdue, ms
-- ARGV[8]  largest time to live of a permit, ms
-- ARGV[9]  largest permit that is returned, bytes
-- ARGV[10] life of the timeline, s
-- ARGV[11] epoch ms at which the intent was created, "" = not stated
-- ARGV[12] largest age of an intent, ms
-- ARGV[13] consume: client order id
-- ARGV[14] "look", "consume", or "peek": a look that leaves an abandoned claim to the attempt that follows it
-- ARGV[15] consume: quantity to order, exact decimal text
-- ARGV[16…] consume: the judged bytes of each permit, in the order of KEYS[8…]
--
-- Returns, first element of the list:
--   "finished"  the plan has its outcome: the record follows as field, value, …
--   "conflict"  the id is known with other content: the stored content follows
--   "busy"      another attempt holds the claim: ms left of its lease follow; 0 where a peek found it over
--   "abandoned" the claim's lease is over and the claim is now the caller's: consumed epoch ms, lease end
--               epoch ms, quantity, attempts and ms waited follow; permits are gone, the order must be looked up
--   "consumed"  the permits are gone and the claim is the caller's: as above
--   "new_server" nothing was done: this server must be met first
--   "stands"    nothing was consumed: now, taken up, deadline (epoch ms), attempts, switch, block record ("" =
--               none, else "!" and its bytes), when the plan became known, when the server changed (epoch ms, 0 =
--               never), then per permit: type, time to live in ms, size, bytes, 1 if it is from before the change

--@include include/count
--@include include/kill_switch

local record, open, timeline, switch, block = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local server, stats = KEYS[6], KEYS[7]
local FIRST_PERMIT = 8
local token, plan_id, content, intent = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local wait_ms, lease_ms, grace_ms = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local max_ttl_ms, max_bytes, timeline_ttl_s = tonumber(ARGV[8]), tonumber(ARGV[9]), ARGV[10]
local created_ms, max_age_ms, order_id = tonumber(ARGV[11]), tonumber(ARGV[12]), ARGV[13]
local mode, safe_qty = ARGV[14], ARGV[15]
local FIRST_JUDGED = 16
-- Longer than 64 bytes on purpose: it keeps Redis from storing the counters as a list that every count would walk.
local ABOUT = 'Counters of the gate, kept by its scripts in the step that decides; docs/status.md says what each one counts.'
-- Place in the answer of the first permit's parts, and how many parts each permit has.
local FIRST_STANDING, PARTS = 10, 5
-- Of each permit this many bytes are told in the timeline, and of all looks those within its first entries.
local MOST_TOLD, MOST_LOOKS_TOLD = 512, 150

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local function whole(number) return string.format('%.0f', number) end

local kept = false
local function note(...)
  redis.call('XADD', timeline, 'MAXLEN', '~', 200, '*', ...)
  if not kept then redis.call('EXPIRE', timeline, timeline_ttl_s) end
  kept = true
end

local known = redis.call('HMGET', record, 'state', 'content', 'taken_up_ms', 'deadline_ms', 'attempts', 'token',
  'lease_until_ms', 'consumed_ms', 'safe_qty', 'recovering', 'last_token', 'registered_ms', 'last_look')
local state, taken_up, deadline = known[1], tonumber(known[3]), tonumber(known[4])
local attempts, lease_until = tonumber(known[5]) or 0, tonumber(known[7])

if state and state ~= 'registered' and state ~= 'waiting' and state ~= 'consumed' then
  local answer = redis.call('HGETALL', record)
  table.insert(answer, 1, 'finished')
  return answer
end
if state and known[2] ~= content then return { 'conflict', known[2] } end

-- Met here, before the first write: a key of another type would stop the script half way, and nothing is undone.
-- A look at a waiting plan leaves its due time alone.
if state ~= 'waiting' or mode == 'consume' then redis.call('ZCARD', open) end
local noted = redis.call('XLEN', timeline)

local function claimed(word, until_ms)
  return { word, tonumber(known[8]), until_ms, known[9], attempts, tonumber(known[8]) - taken_up }
end

if state == 'consumed' then
  if now >= lease_until and mode == 'peek' then return { 'busy', 0 } end
  if now >= lease_until then
    -- The claimant is dead or frozen. From here on its token opens nothing; the new one may only look up.
    lease_until = now + lease_ms
    redis.call('HSET', record, 'token', token, 'lease_until_ms', whole(lease_until), 'recovering', '1',
      'looking_ms', whole(now))
    redis.call('ZADD', open, whole(lease_until + grace_ms), plan_id)
    -- Of a claim that may only look up, a lookup tells what it found; that it is the next one's turn is no news.
    if not known[10] then note('event', 'claim_taken_over', 'by', token, 'from', known[6]) end
    return claimed('abandoned', lease_until)
  end
  if known[6] ~= token then return { 'busy', lease_until - now } end
  -- A re-sent call may come over a new connection, and acknowledgements are counted per connection and write.
  redis.call('HSET', record, 'token', token)
  return claimed(known[10] and 'abandoned' or 'consumed', lease_until)
end

-- Where it costs most to be wrong: before a plan gets its deadline, and before its permits go.
local met = { 'run_id', 'since_ms' }
for i = FIRST_PERMIT, #KEYS do met[#met + 1] = 'permit:' .. KEYS[i] end
local FIRST_DIGEST = 3
met = redis.call('HMGET', server, unpack(met))
if not taken_up or mode == 'consume' then
  local run_id = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
  if met[1] ~= run_id then return { 'new_server' } end
end
local since = tonumber(met[2]) or 0

local look = 'look'
if not taken_up then
  look = 'taken_up'
  taken_up, deadline = now, now + wait_ms
  redis.call('HSET', record, 'v', '1', 'state', 'waiting', 'plan_id', plan_id, 'content', content, 'intent', intent,
    'taken_up_ms', whole(taken_up), 'deadline_ms', whole(deadline))
  redis.call('ZADD', open, whole(deadline + grace_ms), plan_id)
  if count(stats, 'taken_up') == 1 then redis.call('HSET', stats, 'first_taken_up_ms', whole(now), 'about', ABOUT) end
end

-- What stands now. A block record of any type denies.
local switch_value = switch_found(switch)
local block_type = redis.call('TYPE', block)['ok']
local block_value = ''
if block_type == 'string' then
  block_value = '!' .. redis.call('GETRANGE', block, 0, max_bytes)
elseif block_type ~= 'none' then
  block_value = '!'
end

if known[11] ~= token then attempts = attempts + 1 end

local known_ms = math.min(tonumber(known[12]) or taken_up, taken_up)
local answer = { 'stands', now, taken_up, deadline, attempts, switch_value, block_value, known_ms, since }
local consumable = mode == 'consume' and now < deadline and SWITCH_OFF[switch_value] and block_value == ''
  and (not created_ms or (now <= created_ms + max_age_ms and created_ms >= since)) and known_ms >= since
for i = FIRST_PERMIT, #KEYS do
  local kind = redis.call('TYPE', KEYS[i])['ok']
  local ttl_ms, size, bytes = -2, 0, ''
  if kind ~= 'none' then ttl_ms = redis.call('PTTL', KEYS[i]) end
  if kind == 'string' then
    bytes = redis.call('GETRANGE', KEYS[i], 0, max_bytes)
    size = #bytes
    if size > max_bytes then size, bytes = redis.call('STRLEN', KEYS[i]), '' end
  end
  local digest = met[FIRST_DIGEST + i - FIRST_PERMIT]
  local from_before = digest and redis.sha1hex(bytes) == digest and 1 or 0
  consumable = consumable and kind == 'string' and ttl_ms > 0 and ttl_ms <= max_ttl_ms and from_before == 0
    and size <= max_bytes and bytes == ARGV[FIRST_JUDGED + i - FIRST_PERMIT]
  for _, part in ipairs({ kind, ttl_ms, size, bytes, from_before }) do answer[#answer + 1] = part end
end

if not consumable then
  -- What this look saw, but for the times to live, which always differ. Polling must not push a plan's beginnings out
  -- of its capped timeline: a look that saw what the one before had seen is counted, and not told.
  local parts, ttls_ms = { switch_value, block_value }, {}
  for i = FIRST_STANDING, #answer, PARTS do
    parts[#parts + 1] = answer[i]
    parts[#parts + 1] = answer[i + 3]
    parts[#parts + 1] = answer[i + 4]
    ttls_ms[#ttls_ms + 1] = answer[i + 1]
  end
  local seen = redis.sha1hex(table.concat(parts, '|'))
  redis.call('HSET', record, 'attempts', attempts, 'last_token', token, 'last_look', seen, 'last_look_ms', whole(now),
    'last_look_ttls_ms', table.concat(ttls_ms, ','))
  if known[13] ~= seen and noted < MOST_LOOKS_TOLD then
    local told = { 'event', look, 'attempt', attempts, 'left_ms', deadline - now, 'by', token }
    if not SWITCH_OFF[switch_value] then
      told[#told + 1] = 'switch'
      told[#told + 1] = string.sub(switch_value, 1, MOST_TOLD)
    end
    if block_value ~= '' then
      told[#told + 1] = 'block'
      told[#told + 1] = string.sub(block_value, 2, MOST_TOLD)
    end
    for i = FIRST_STANDING, #answer, PARTS do
      local kind = answer[i]
      if answer[i + 4] == 1 then kind = kind .. ':before' end
      told[#told + 1] = KEYS[FIRST_PERMIT + (i - FIRST_STANDING) / PARTS]
      told[#told + 1] = answer[i + 1] .. ' ' .. kind .. ' ' .. string.sub(answer[i + 3], 1, MOST_TOLD)
    end
    note(unpack(told))
  end
  return answer
end

-- The claim is written before anything is deleted: a script that runs out of memory fails at its first write.
lease_until = now + lease_ms
redis.call('HSET', record, 'state', 'consumed', 'token', token, 'consumed_ms', whole(now), 'lease_until_ms',
  whole(lease_until), 'safe_qty', safe_qty, 'client_order_id', order_id, 'attempts', attempts)
redis.call('ZADD', open, whole(lease_until + grace_ms), plan_id)
redis.call('DEL', unpack(KEYS, FIRST_PERMIT))
note('event', 'consumed', 'attempt', attempts, 'safe_qty', safe_qty, 'wait_ms', now - taken_up, 'lease_ms', lease_ms,
  'by', token)
-- Only the first of its length can be the first of all.
if count(stats, wait_field('wait_ok', now - taken_up)) == 1 then redis.call('HSETNX', stats, 'first_ok_ms', whole(now)) end
if (tonumber(safe_qty) or 0) <= 0 then count(stats, 'qty_not_positive') end
return { 'consumed', now, lease_until, safe_qty, attempts, now - taken_up }

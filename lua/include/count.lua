-- Included by other scripts: the counters of a namespace, one HASH (tasks/stats.py names and reads its fields).
-- A count never stops a plan: where the key is of another type, or a field is no number, nothing is counted.

local function count(stats, field, by)
  return redis.pcall('HINCRBY', stats, field, by or 1)
end

-- Field of a wait: to the millisecond below 2 s, to 100 ms below a minute, one field for all longer ones.
local function wait_field(series, ms)
  if ms >= 2000 then ms = math.min(ms - ms % 100, 60000) end
  return series .. ':' .. math.max(ms, 0)
end

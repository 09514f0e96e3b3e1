-- Included by other scripts: the kill switch. It is off where the key is absent or says so; whatever else is found, also a
-- key of another type, is a set switch.

local SWITCH_OFF = { [''] = true, ['0'] = true, ['false'] = true, ['off'] = true, ['no'] = true }

-- What stands there, as text; '' where nothing does.
local function switch_found(key)
  local kind = redis.call('TYPE', key)['ok']
  if kind == 'none' then return '' end
  return kind == 'string' and redis.call('GET', key) or 'a Redis ' .. kind
end

-- Included by other scripts: exact sums of decimal text.
--
-- Amounts become whole numbers of the smallest decimal place in play. Below 2^53 a double holds whole numbers
-- exactly, so nothing is ever rounded; beyond 15 digits the answer is nil.

local function decimal_parts(text)
  local sign, before, after = string.match(text or '', '^(%-?)(%d+)%.?(%d*)$')
  if before then return sign, before, after end
end

local function decimal_scaled(text, places)
  local sign, before, after = decimal_parts(text)
  local digits = before .. after .. string.rep('0', places - #after)
  if #(string.gsub(digits, '^0+', '')) > 15 then return nil end
  return tonumber(sign .. digits)
end

-- Both texts as whole numbers, and the decimal places they count in; nil where one is no plain decimal text
-- or too long.
local function decimal_pair(left, right)
  local _, left_before, left_after = decimal_parts(left)
  local _, right_before, right_after = decimal_parts(right)
  if not left_before or not right_before then return nil end
  local places = math.max(#left_after, #right_after)
  local left_scaled, right_scaled = decimal_scaled(left, places), decimal_scaled(right, places)
  if not left_scaled or not right_scaled then return nil end
  return left_scaled, right_scaled, places
end

-- A whole number of 10^-places as plain decimal text.
local function decimal_text(scaled, places)
  local digits = string.format('%0' .. (places + 1) .. '.0f', math.abs(scaled))
  local text = places == 0 and digits or string.sub(digits, 1, -places - 1) .. '.' .. string.sub(digits, -places)
  return scaled < 0 and '-' .. text or text
end

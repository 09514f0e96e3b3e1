-- Included by other scripts: the UTC date of an epoch second, as YYYY-MM-DD.
--
-- Days are counted in eras of 400 years that begin on a first of March, so that the leap day is the last of its year.

local function civil_date(epoch_s)
  local day = math.floor(epoch_s / 86400) + 719468
  local era = math.floor(day / 146097)
  local in_era = day - era * 146097
  local year = math.floor((in_era - math.floor(in_era / 1460) + math.floor(in_era / 36524)
    - math.floor(in_era / 146096)) / 365)
  local in_year = in_era - (365 * year + math.floor(year / 4) - math.floor(year / 100))
  local month = math.floor((5 * in_year + 2) / 153)
  local in_month = in_year - math.floor((153 * month + 2) / 5) + 1
  local calendar_month = month < 10 and month + 3 or month - 9
  local calendar_year = year + era * 400 + (calendar_month <= 2 and 1 or 0)
  return string.format('%04d-%02d-%02d', calendar_year, calendar_month, in_month)
end

"""The Lua calendar against Python's, on the real server."""

from datetime import UTC, date, datetime, timedelta

import pytest
import redis

import lua

_EPOCH = date(1970, 1, 1)

#: ARGV: epoch seconds; the answer is one date per argument.
_DATES = """
local dates = {}
for i, second in ipairs(ARGV) do dates[i] = civil_date(tonumber(second)) end
return dates
"""

#: Arguments per call: Lua unpacks no more than some thousands.
_BATCH = 5_000


def _dates(client: redis.Redis, seconds: list[int]) -> list[str]:
    script = client.register_script(lua.source("include/civil_date") + _DATES)
    batches = (seconds[start : start + _BATCH] for start in range(0, len(seconds), _BATCH))
    return [day.decode() for batch in batches for day in script(args=batch)]


def _first_second(day: date) -> int:
    return (day - _EPOCH).days * 86_400


@pytest.mark.parametrize("into_day_s", [0, 86_399])
def test_every_day_of_130_years(client: redis.Redis, into_day_s: int) -> None:
    """From 1970 to 2100 the first and the last second of every day have that day's date."""
    days = [_EPOCH + timedelta(days=number) for number in range((date(2101, 1, 1) - _EPOCH).days)]

    assert [day.isoformat() for day in days] == _dates(client, [_first_second(day) + into_day_s for day in days])


def test_the_turns_of_every_february_and_year(client: redis.Redis) -> None:
    """Leap years, centuries and 400 years: the days around each February's end and each new year, up to 9999."""
    turns = [
        date(year, month, day) + timedelta(days=offset)
        for year in range(1970, 9999)
        for month, day, offset in ((2, 28, 0), (2, 28, 1), (3, 1, 0), (12, 31, 0), (12, 31, 1))
    ]

    assert [day.isoformat() for day in turns] == _dates(client, [_first_second(day) for day in turns])


def test_todays_date_is_the_servers(client: redis.Redis) -> None:
    """The server's own clock gives the date that Python finds for that very second."""
    seconds = client.time()[0]

    assert [datetime.fromtimestamp(seconds, UTC).date().isoformat()] == _dates(client, [seconds])

"""A worker whose clock is wrong: every way in which Python code asks for the time of day answers so many seconds off.

For where libfaketime is not at hand. The monotonic clock stays: it has no zero that anyone could be right about.
"""

import datetime as dt
import os
import time
from typing import Any

from tests.crashes.points import CLOCK


def shift() -> None:
    """Shift this process' clock by `CRASHES_CLOCK_S`; to be called before anything else is imported."""
    seconds = float(os.environ.get(CLOCK, "0"))
    if not seconds:
        return
    right, right_ns = time.time, time.time_ns

    class Shifted(dt.datetime):
        """A datetime whose `now` is off."""

        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> Any:
            """See `datetime.now`."""
            return cls.fromtimestamp(right() + seconds, tz)

        @classmethod
        def utcnow(cls) -> Any:
            """See `datetime.utcnow`."""
            return cls.fromtimestamp(right() + seconds, dt.UTC).replace(tzinfo=None)

    time.time = lambda: right() + seconds
    time.time_ns = lambda: right_ns() + int(seconds * 1_000_000_000)
    dt.datetime = Shifted  # type: ignore[misc] # that is the point

"""`celery -A tests.venue.app worker`: the shipped worker, unchanged, in front of the test venue.

Settings: `VENUE_SOCKET`, and `VENUE_TIMEOUT_MS`, `VENUE_WINDOW_MS`, `VENUE_SHOWS_WITHIN_MS` in place of the
adapter's defaults. `APPLY_MODE` must be `paper`.
"""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from celery import signals

from tasks import parts
from tests.venue.remote import RemoteVenue
from workers import bootstrap
from workers.celery import app

__all__ = ["app"]

_OPTIONS = {
    name: int(os.environ[f"VENUE_{name.upper()}"])
    for name in ("timeout_ms", "window_ms", "shows_within_ms")
    if f"VENUE_{name.upper()}" in os.environ
}
_made: dict[int, parts.Parts] = {}


def _parts() -> parts.Parts:
    # Of this process, after a fork too: the shipped parts, made once, with the venue exchanged.
    shipped = bootstrap._parts()
    if id(shipped) not in _made:
        _made[id(shipped)] = replace(shipped, venue=RemoteVenue(Path(os.environ["VENUE_SOCKET"]), **_OPTIONS))
    return _made[id(shipped)]


def _exchange(**_: Any) -> None:
    parts.configure(_parts)


# Connected after the shipped handler, so called after it.
signals.celeryd_init.connect(_exchange, weak=False)

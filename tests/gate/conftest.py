"""What the tests of venues outside Redis share."""

from dataclasses import replace

import pytest
import redis

from tasks.keys import Keys
from tasks.parts import Parts
from tests.gate.far_bed import Bed, FarVenue
from tests.judges.desk import FixedClock


@pytest.fixture
def bed(monkeypatch: pytest.MonkeyPatch, client: redis.Redis, keys: Keys, parts: Parts) -> Bed:
    """A silent venue, and a clock that stands."""
    clock, venue = FixedClock(monkeypatch, client, keys), FarVenue()
    return Bed(replace(parts, venue=venue), venue, client, clock)

"""What the Governor's tests share."""

import pytest
import redis

from tasks.keys import Keys
from tasks.parts import Parts
from tests.judges.desk import Desk, FixedClock


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch, parts: Parts, client: redis.Redis, keys: Keys) -> Desk:
    """A Governor and a gate on a fixed clock; 0.062 BTCUSDT are held at 50000 USD."""
    made = Desk(parts, client, FixedClock(monkeypatch, client, keys))
    made.hold("0.062")
    return made

"""What a worker tells about itself, there and back."""

from dataclasses import replace
from itertools import pairwise

import pytest

from tasks.life import Life
from tasks.settings import PositionSettings, Settings, in_force

LIFE = Life(
    hostname="celery@host",
    pid=4711,
    version="0.1.0",
    celery="5.7.0",
    pool="threads",
    concurrency=16,
    queues=("execute", "governor"),
    config={"APPLY_MODE": "paper"},
    parked=3,
    running=1,
    watch="alive",
    watch_since_ms=1_700_000_000_000,
    started_ms=1_699_999_000_000,
    kombu="5.7.0",
    redis_py="8.1.0",
    root="no",
    events="yes",
)


def stored(life: Life) -> dict[str, str]:
    """As the script stores it."""
    flat = life.fields()
    told = {name: value for place, (name, value) in enumerate(pairwise(flat)) if place % 2 == 0}
    return told | {"at_ms": "1700000000005", "clock_offset_ms": "-12"}


def test_what_is_told_is_read() -> None:
    """Everything comes back as it was, with what the server added."""
    assert replace(LIFE, at_ms=1_700_000_000_005, clock_offset_ms=-12) == Life.read(stored(LIFE))


@pytest.mark.parametrize(
    "wrong",
    [{}, stored(LIFE) | {"config": "[]"}, stored(LIFE) | {"pid": "x"}, {"hostname": "celery@host"}],
    ids=["nothing", "other config", "no number", "too little"],
)
def test_what_is_no_sign_of_life_is_none(wrong: dict[str, str]) -> None:
    """Nothing there, or what another version wrote: nobody is taken for alive on half a sign."""
    assert Life.read(wrong) is None


def test_secrets_do_not_leave_the_worker() -> None:
    """Passwords in addresses are masked, the rest is told as it is in force."""
    settings = Settings(redis_url="redis://user:hunter2@h:6379/0", allowlist=("BTCUSDT", "ETHUSDT"), _env_file=None)
    told = in_force(settings, PositionSettings(_env_file=None))

    assert "redis://user:***@h:6379/0" == told["APPLY_REDIS_URL"]
    assert ("BTCUSDT,ETHUSDT", "1200", "15") == (
        told["APPLY_ALLOWLIST"],
        told["APPLY_PERMIT_WAIT_MS"],
        told["P33_COOLDOWN_SEC"],
    )
    assert not [value for value in told.values() if "hunter2" in value]

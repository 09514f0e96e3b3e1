"""A deployment for the tests of `status`: as a value where nothing is wrong, and in Redis with signs of life."""

from dataclasses import replace
from typing import Any, Final

import redis

from ops.status.facts import Facts, Switch
from tasks.keys import Keys
from tasks.life import LIFE_MS, MEMORY_MS, MOST_REMEMBERED, Life
from tasks.settings import GovernorSettings, PositionSettings, Settings, in_force
from tasks.stats import Ended, Stats, Waits
from tasks.store import Store

NOW_MS: Final = 1_795_000_000_000

CONFIG: Final = in_force(
    Settings(redis_url="redis://h:6379/0", mode="paper", allowlist=("BTCUSDT", "ETHUSDT"), _env_file=None),
    GovernorSettings(_env_file=None),
    PositionSettings(_env_file=None),
)

WORKER: Final = Life(
    hostname="celery@one",
    pid=4711,
    version="0.1.0",
    celery="5.7.0",
    pool="threads",
    concurrency=16,
    queues=("execute", "governor", "position"),
    config=CONFIG,
    parked=2,
    running=1,
    watch="alive",
    watch_since_ms=NOW_MS - 600_000,
    started_ms=NOW_MS - 601_000,
    at_ms=NOW_MS - 900,
    clock_offset_ms=0,
)

GOOD_STATS: Final = Stats(
    first_taken_up_ms=NOW_MS - 500_000,
    first_ok_ms=NOW_MS - 499_700,
    taken_up=9,
    attempts=21,
    repeats=1,
    ok_waits=Waits(((27, 3), (345, 2), (1199, 1))),
    blocked_waits=Waits(((1203, 2), (61, 1))),
    ended={
        Ended("BTCUSDT", "executed", ""): 4,
        Ended("ETHUSDT", "executed", ""): 2,
        Ended("BTCUSDT", "blocked", "missing_p33"): 2,
        Ended("other", "blocked", "symbol_not_allowed"): 1,
    },
    set_aside={"invalid_intent": 1},
)

#: Nothing is wrong here.
GOOD: Final = Facts(
    namespace="quantum",
    now_ms=NOW_MS,
    stats=GOOD_STATS,
    unreadable=(),
    workers=(WORKER, replace(WORKER, hostname="celery@two")),
    gone=(),
    issuers={"governor": "celery@one", "p33": "celery@two"},
    switch=Switch(),
    waiting=4,
    overdue=0,
    oldest=None,
    last_decision_ms=NOW_MS - 2_500,
    shell=CONFIG,
)

#: Nothing has happened here.
EMPTY: Final = replace(GOOD, stats=Stats(), workers=(), issuers={}, waiting=0, last_decision_ms=None, shell=CONFIG)


def with_stats(**changes: Any) -> Facts:
    """The good deployment with other counters."""
    return replace(GOOD, stats=replace(GOOD_STATS, **changes))


def give_sign(client: redis.Redis, keys: Keys, life: Life, life_ms: int = LIFE_MS) -> None:
    """Leave a sign of life as a worker does; its clock is the server's."""
    store = Store(client)
    own_ms = int(store.now_s() * 1000)
    arguments = [life.hostname, own_ms, life_ms, MEMORY_MS, MOST_REMEMBERED, *life.fields()]
    store.run("sign_of_life", [keys.worker(life.hostname), keys.workers], arguments)
    for issuer in ("governor", "p33"):
        store.note(keys.heartbeat(issuer), life.hostname, 16)

"""Many evaluations at once, in threads, on two Governors and in two real workers: never one grant too many."""

import os
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
import redis
from celery import Celery

from ops.child import celery_command
from tasks.act import execute_once
from tasks.address import RedisAddress, for_celery
from tasks.governor import evaluate
from tasks.keys import Keys
from tasks.outcome import Outcome
from tasks.parts import Parts
from tasks.settings import GovernorSettings, Settings
from tasks.store import connect
from tests.helpers import hold, intent_of, run_to_outcome, stream, wait_until
from tests.judges.desk import NOTHING, figures_of, limits
from tests.servers import RealServer

ROOT = Path(__file__).parents[2]
MANY = 200


@pytest.fixture
def governors(make_parts: Callable[..., Parts], settings: Settings, client: redis.Redis, keys: Keys) -> list[Parts]:
    """Two processes' parts, connected on their own; plans there give up waiting after 10 ms."""
    hold(client, keys)
    quick = settings.model_copy(update={"permit_wait_ms": 10, "permit_step_ms": 10})
    return [make_parts(quick), make_parts(quick)]


def _at_once(governors: list[Parts], bounds: GovernorSettings, plans: list[str]) -> list[str]:
    """Decide all plans at the same moment, each in a thread of its own, the Governors taking turns."""
    start = Barrier(len(plans))

    def one(number: int) -> str:
        start.wait()
        return evaluate(governors[number % len(governors)], bounds, intent_of(plans[number]))[0]

    with ThreadPoolExecutor(len(plans)) as pool:
        return list(pool.map(one, range(len(plans))))


def _granted(plans: list[str], said: list[str]) -> list[str]:
    return [plan for plan, word in zip(plans, said, strict=True) if word == "granted"]


@pytest.mark.parametrize("count", [1, 2])
def test_two_hundred_evaluations_make_exactly_three_grants(
    governors: list[Parts], client: redis.Redis, keys: Keys, count: int
) -> None:
    """With three an hour, 200 at once get three; after two were blocked, 200 others get exactly two, then none."""
    working, bounds = governors[:count], limits(max_exec_per_hour=3)
    waves = [[f"wave{wave}-{number}" for number in range(MANY)] for wave in range(3)]

    said = _at_once(working, bounds, waves[0])
    first = _granted(waves[0], said)
    assert {"granted": 3, "refused": MANY - 3} == Counter(said)

    ended = [run_to_outcome(working[0], intent_of(plan)).reason for plan in first[:2]]
    said = _at_once(working, bounds, waves[1])
    second = _granted(waves[1], said)
    assert ["missing_p33"] * 2 == ended
    assert {"granted": 2, "refused": MANY - 2} == Counter(said)

    assert {"refused": MANY} == Counter(_at_once(working, bounds, waves[2]))
    figures = figures_of(client, keys)
    assert {first[2], *second} == set(figures["granted"])
    assert [{"notional_micro": "6975000000", "qty_e8": "13950000"}] == list(figures["days"].values())


def test_a_days_notional_is_used_up_exactly(governors: list[Parts], client: redis.Redis, keys: Keys) -> None:
    """Of 100 plans of 2325 USD at once, ten fit into 23250 USD, and the day says exactly that."""
    plans = [f"plan-{number}" for number in range(100)]

    said = _at_once(governors, limits(max_reduce_notional_per_day_usd=Decimal(23_250)), plans)

    assert {"granted": 10, "refused": 90} == Counter(said)
    assert ["23250000000"] == [day["notional_micro"] for day in figures_of(client, keys)["days"].values()]


@pytest.mark.parametrize("allowed", [10_000, 0])
def test_one_plan_asked_about_many_times_at_once_is_decided_once(
    governors: list[Parts], client: redis.Redis, keys: Keys, allowed: int
) -> None:
    """Fifty messages of one plan make one grant with one reservation, or one refusal, and one timeline entry."""
    said = _at_once(governors, limits(max_exec_per_hour=allowed), ["plan-1"] * 50)

    assert {"granted" if allowed else "refused": 1, "repeat": 49} == Counter(said)
    assert (["plan-1"] if allowed else []) == list(figures_of(client, keys)["granted"])
    assert 1 == client.xlen(keys.timeline("plan-1"))


def test_a_hundred_breaches_at_once_disarm_once(governors: list[Parts], client: redis.Redis, keys: Keys) -> None:
    """However many plans breach together, the switch is set with one event."""
    plans = [f"plan-{number}" for number in range(100)]

    said = _at_once(governors, limits(max_exec_per_5min=2, enable_auto_disarm=True), plans)

    assert {"granted": 2, "refused": 98} == Counter(said)
    assert b"true" == client.get(keys.kill_switch)
    assert ["AUTO_DISARM"] == [event["event"] for event in stream(client, keys.governor_events)]


def test_a_grant_that_races_the_plans_end_leaves_nothing_behind(
    governors: list[Parts], client: redis.Redis, keys: Keys
) -> None:
    """Whichever comes first, the grant or the block, an ended plan holds nothing of the limits."""
    plans = [f"plan-{number}" for number in range(100)]
    deciding, gate = governors
    client.set(keys.kill_switch, "true")
    start = Barrier(2)

    def decide(plan: str) -> str:
        start.wait()
        return evaluate(deciding, limits(), intent_of(plan))[0]

    def end(plan: str) -> str:
        start.wait()
        outcome = execute_once(gate, intent_of(plan))
        assert isinstance(outcome, Outcome)
        return outcome.reason

    with ThreadPoolExecutor(2) as pool:
        for plan in plans:
            decided, ended = pool.submit(decide, plan), pool.submit(end, plan)
            assert decided.result() in {"granted", "ended"}
            assert "kill_switch" == ended.result()

    figures = figures_of(client, keys)
    assert NOTHING["granted"] == figures["granted"]
    assert all({"notional_micro": "0", "qty_e8": "0"} == day for day in figures["days"].values())
    assert 0 == client.exists(*(keys.governor_reservation(plan) for plan in plans))


@pytest.fixture
def own_server() -> Iterator[RealServer]:
    """A server for this test alone: its queues are nobody else's."""
    with RealServer() as running:
        yield running


@pytest.fixture
def workers(own_server: RealServer) -> Iterator[list["subprocess.Popen[bytes]"]]:
    """Two real workers that only govern, three plans an hour, all else wide."""
    bounds = limits(max_exec_per_hour=3).model_dump()
    environment = {f"GOV_{name}".upper(): str(value) for name, value in bounds.items()}
    environment |= {"APPLY_REDIS_URL": own_server.url, "APPLY_MODE": "paper"}
    command = celery_command("worker", "--queues", "governor", "--without-mingle", "--without-gossip")
    running = [
        subprocess.Popen(
            [*command, "--hostname", f"governor{number}@%h"],
            cwd=ROOT,
            env=os.environ | environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for number in range(2)
    ]
    yield running
    for worker in running:
        if worker.poll() is None:
            os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()


def test_two_workers_share_one_hour(
    own_server: RealServer,
    workers: list["subprocess.Popen[bytes]"],
    make_parts: Callable[..., Parts],
) -> None:
    """Two worker processes get 200 messages: three plans are granted; two of them end, and exactly two more are."""
    settings = Settings(redis_url=own_server.url, mode="paper", permit_wait_ms=10, permit_step_ms=10, _env_file=None)
    parts, keys = make_parts(settings), Keys()
    url, options = for_celery(own_server.url)
    app = Celery(broker=url, set_as_current=False)
    app.conf.broker_transport_options = options
    with connect(RedisAddress.parse(own_server.url), timeout_ms=5_000) as client, app:
        hold(client, keys)

        def decide(wave: int) -> list[str]:
            plans = [f"wave{wave}-{number}" for number in range(MANY)]
            for plan in plans:
                app.send_task("tasks.governor", kwargs={"intent": _wire(plan)}, queue="governor")
            timelines = [keys.timeline(plan) for plan in plans]
            wait_until(lambda: client.exists(*timelines) == MANY, "every plan is decided", within_s=60)
            return [plan for plan in plans if client.exists(keys.governor_reservation(plan))]

        first = decide(0)
        assert 3 == len(first)
        for plan in first[:2]:
            assert "missing_p33" == run_to_outcome(parts, intent_of(plan)).reason
        second = decide(1)
        assert 2 == len(second)
        assert {first[2], *second} == set(figures_of(client, keys)["granted"])
        assert [None, None] == [worker.poll() for worker in workers]


def _wire(plan: str) -> dict[str, Any]:
    return intent_of(plan).wire()

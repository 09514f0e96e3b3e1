"""The sweep: overdue plans end from Redis alone, and none stands in another's way."""

import json
import subprocess
import sys
from dataclasses import replace
from threading import Event, Semaphore
from typing import Any

import pytest
import redis

from tasks.act import Again, execute_once
from tasks.consume import Consumed
from tasks.keys import Keys
from tasks.outcome import Outcome
from tasks.parts import Parts
from tests.gate.far_bed import FarVenue
from tests.gate.test_record import consume
from tests.helpers import grant, hold, intent_of, orders_of, record_of, results_of, wait_until
from tests.worker.nodes import ROOT, clean_environment
from workers.sweep import Lookers, sweep_once


def overdue(client: redis.Redis, keys: Keys, plan_id: str) -> None:
    """Let a plan's deadline, lease and due time lie in the past."""
    client.hset(keys.record(plan_id), mapping={"deadline_ms": "1", "lease_until_ms": "1"})
    client.zadd(keys.open, {plan_id: 1})


@pytest.mark.fault("F4", "F9")
def test_a_plan_without_a_worker_ends_once(client: redis.Redis, keys: Keys, parts: Parts) -> None:
    """A plan that was taken up and left alone ends as missing, with one result entry, and is reported."""
    assert isinstance(execute_once(parts, intent_of()), Again)
    overdue(client, keys, "plan-1")
    reported: list[Outcome] = []

    sweep_once(parts, reported.append)
    sweep_once(parts, reported.append)

    assert ["missing_both"] == [outcome.reason for outcome in reported]
    assert ["missing_both"] == [entry["reason"] for entry in results_of(client, keys)]
    assert 0 == client.zcard(keys.open)


def test_a_plan_that_is_not_overdue_is_left_alone(client: redis.Redis, keys: Keys, parts: Parts) -> None:
    """Waiting plans belong to the workers that hold them."""
    execute_once(parts, intent_of())
    sweep_once(parts, lambda _: None)

    assert "waiting" == record_of(client, keys, "plan-1")["state"]


@pytest.mark.fault("F25")
def test_unreadable_records_stand_in_nobodys_way(client: redis.Redis, keys: Keys, parts: Parts) -> None:
    """More records that cannot be read than one batch holds, all longer overdue, and the plan behind them ends."""
    for number in range(450):
        client.zadd(keys.open, {f"junk-{number:03}": 0})
    execute_once(parts, intent_of())
    overdue(client, keys, "plan-1")
    reported: list[Outcome] = []

    sweep_once(parts, reported.append)

    assert ["plan-1"] == [outcome.plan_id for outcome in reported]
    assert 450 == client.zcard(keys.open)


@pytest.mark.fault("F1")
def test_a_lost_claim_is_looked_up_and_never_submitted(client: redis.Redis, keys: Keys, parts: Parts) -> None:
    """A plan whose permits were consumed by a lost attempt ends as interrupted where the venue has no order."""
    hold(client, keys)
    grant(client, keys, "plan-1")
    execute_once(parts, intent_of("other"))
    client.hset(keys.record("plan-1"), mapping=_consumed(client, keys))
    overdue(client, keys, "plan-1")
    reported: list[Outcome] = []

    sweep_once(parts, reported.append)

    assert ["interrupted"] == [outcome.reason for outcome in reported]
    assert [] == orders_of(client, keys)


def test_a_finished_record_without_its_outcome_opens_nothing(client: redis.Redis, keys: Keys, parts: Parts) -> None:
    """A record that says done and lacks the facts is an outage to the attempt, not an error and not an order."""
    hold(client, keys)
    grant(client, keys, "plan-1")
    client.hset(keys.record("plan-1"), mapping={"state": "done", "content": intent_of().content})

    step = execute_once(parts, intent_of())

    assert isinstance(step, Again)
    assert "cannot be read" in step.store_error
    assert [] == orders_of(client, keys)


def test_each_queue_has_an_exchange_and_a_key_of_its_own() -> None:
    """A client that declares only `execute` reaches `execute` alone."""
    tell = "import celeryconfig, json; print(json.dumps([[q.name, q.exchange.name, q.routing_key] for q in {}]))"
    done = subprocess.run(
        [sys.executable, "-c", tell.format("celeryconfig.task_queues")],
        cwd=ROOT,
        env=clean_environment(),
        check=True,
        capture_output=True,
        text=True,
    )

    assert [[name] * 3 for name in ("execute", "governor", "position")] == json.loads(done.stdout)


def _consumed(client: redis.Redis, keys: Keys) -> Any:
    waiting = record_of(client, keys, "other")
    claim = {
        "state": "consumed",
        "token": "lost",
        "consumed_ms": waiting["taken_up_ms"],
        "safe_qty": "0.008",
    }
    return {**waiting, **claim, "plan_id": "plan-1", "intent": intent_of().text}


def test_a_silent_venue_keeps_no_other_plan_from_its_end(client: redis.Redis, keys: Keys, parts: Parts) -> None:
    """While a lookup waits for the venue, plans overdue behind it end; and no second lookup of it is begun."""
    asked, go_on = Semaphore(0), Event()

    def keep_waiting() -> None:
        asked.release()
        assert go_on.wait(30)

    slow = replace(parts, venue=FarVenue(finds=keep_waiting))
    grant(client, keys, "lost")
    claim = consume(slow, intent_of("lost"), "claimant")
    assert isinstance(claim, Consumed)
    overdue(client, keys, "lost")
    execute_once(slow, intent_of("behind"))
    overdue(client, keys, "behind")
    reported: list[Outcome] = []
    lookers = Lookers(lambda: slow, reported.append)
    try:
        sweep_once(slow, reported.append, lookers.take)
        assert asked.acquire(timeout=30)
        overdue(client, keys, "lost")
        sweep_once(slow, reported.append, lookers.take)
        ended_meanwhile = [outcome.plan_id for outcome in reported]
        go_on.set()
        wait_until(lambda: 2 == len(reported), "the end of the plan that was looked up")
    finally:
        go_on.set()
        lookers.stop()

    assert ["behind"] == ended_meanwhile
    assert ["missing_both", "interrupted"] == [outcome.reason for outcome in reported]
    assert not asked.acquire(blocking=False)

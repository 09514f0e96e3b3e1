"""An attempt that begins with a look made before: one round trip less, and nothing else is different."""

import pickle
from collections.abc import Callable
from uuid import uuid4

import pytest
import redis

from tasks.act import Again, execute_once
from tasks.attempt import Seen, appraise
from tasks.keys import Keys
from tasks.outcome import Outcome
from tasks.parts import Parts
from tasks.settings import Settings
from tests.helpers import P33, grant, hold, intent_of, orders_of, record_of, results_of, run_to_outcome

Make = Callable[..., Parts]


def look(parts: Parts, plan_id: str = "plan-1") -> Seen:
    """A look as the worker's event loop makes it, as it arrives in a pool's child."""
    token = uuid4().hex
    seen = appraise(parts, intent_of(plan_id), token, parts.gate.look(intent_of(plan_id), token))
    copied = pickle.loads(pickle.dumps(seen))  # noqa: S301 - billiard's way to a child; the bytes are our own

    assert copied == seen
    return seen


def scripts(client: redis.Redis) -> int:
    """How many scripts this server ran."""
    stats = client.info("commandstats")
    return int(stats["cmdstat_evalsha"]["calls"])


def test_a_seen_plan_is_executed_without_another_look(client: redis.Redis, keys: Keys, parts: Parts) -> None:
    """Consume, order, finish: three scripts; the look and the attempt count as one attempt."""
    hold(client, keys)
    for plan_id in ("warm-up", "plan-1"):
        grant(client, keys, plan_id)
    run_to_outcome(parts, intent_of("warm-up"))
    seen = look(parts)
    before = scripts(client)
    outcome = execute_once(parts, intent_of(), seen=seen)

    assert isinstance(outcome, Outcome)
    assert (True, 1, 3) == (outcome.executed, outcome.attempts, scripts(client) - before)


def test_a_permit_that_changed_since_is_judged_again(client: redis.Redis, keys: Keys, parts: Parts) -> None:
    """What was seen is never consumed on trust: the bytes must still stand."""
    hold(client, keys)
    grant(client, keys, "plan-1")
    seen = look(parts)
    grant(client, keys, "plan-1", p33=P33.replace("0.008", "0.004"))
    outcome = execute_once(parts, intent_of(), seen=seen)

    assert isinstance(outcome, Outcome)
    assert (True, "0.004") == (outcome.executed, outcome.safe_qty)


@pytest.mark.parametrize("then", ["gone", "denied", "switch"])
def test_what_speaks_against_the_plan_since_is_heard(client: redis.Redis, keys: Keys, parts: Parts, then: str) -> None:
    """A permit that is gone, a denial, the kill switch: between look and attempt as at any other time."""
    hold(client, keys)
    grant(client, keys, "plan-1")
    seen = look(parts)
    if then == "gone":
        client.delete(keys.permit("p33", "plan-1"))
    elif then == "denied":
        client.set(keys.governor_block("plan-1"), '{"reason": "no"}', ex=60)
    else:
        client.set(keys.kill_switch, "true")
    step = execute_once(parts, intent_of(), seen=seen)

    assert [] == orders_of(client, keys)
    if isinstance(step, Again):
        assert ("gone", True) == (then, step.waiting)
    else:
        assert {"denied": "governor_denied", "switch": "kill_switch"}[then] == step.reason


def test_a_refusal_that_was_seen_ends_the_plan(client: redis.Redis, keys: Keys, parts: Parts) -> None:
    """One script more: the end itself."""
    client.set(keys.governor_block("plan-1"), '{"reason": "limits"}', ex=60)
    outcome = execute_once(parts, intent_of(), seen=look(parts))

    assert isinstance(outcome, Outcome)
    assert "governor_denied" == outcome.reason == results_of(client, keys)[0]["reason"]


def test_a_deadline_that_passed_since_consumes_nothing(
    client: redis.Redis, keys: Keys, settings: Settings, make_parts: Make
) -> None:
    """However long an attempt waits for a thread: the script has the last word."""
    parts = make_parts(settings)
    hold(client, keys)
    grant(client, keys, "plan-1")
    seen = look(parts)
    client.hset(keys.record("plan-1"), "deadline_ms", record_of(client, keys, "plan-1")["taken_up_ms"])
    outcome = execute_once(parts, intent_of(), seen=seen)

    assert isinstance(outcome, Outcome)
    assert ("deadline_passed", []) == (outcome.reason, orders_of(client, keys))
    assert 2 == client.exists(keys.permit("governor", "plan-1"), keys.permit("p33", "plan-1"))


def test_a_look_that_took_over_a_claim_is_the_takers(
    client: redis.Redis, keys: Keys, settings: Settings, make_parts: Make
) -> None:
    """A look over the lease's end takes the claim; the attempt that begins with it need not wait for another lease."""
    parts = make_parts(settings.model_copy(update={"claim_lease_ms": 600_000}))
    hold(client, keys)
    grant(client, keys, "plan-1")
    intent, token = intent_of(), uuid4().hex
    first = look(parts)
    assert first.finding is not None
    parts.gate.consume(intent, token, first.finding)  # type: ignore[arg-type] # it is Ready: everything stands
    client.hset(keys.record("plan-1"), "lease_until_ms", 1)
    outcome = execute_once(parts, intent, seen=look(parts))

    assert isinstance(outcome, Outcome)
    assert ("interrupted", []) == (outcome.reason, orders_of(client, keys))

"""The gate's main promises, one by one, on a real server with the shipped scripts."""

import pytest
import redis

from tasks.keys import Keys
from tasks.parts import Parts
from tests.helpers import grant, hold, intent_of, orders_of, results_of, run_to_outcome


def test_both_permits_make_one_order(client: redis.Redis, keys: Keys, parts: Parts) -> None:
    """Two granting permits are consumed and become exactly one reduce-only order of the safe quantity."""
    hold(client, keys)
    grant(client, keys, "plan-1")

    outcome = run_to_outcome(parts, intent_of())

    assert ("EXECUTE", True, "0.008") == (outcome.decision, outcome.executed, outcome.safe_qty)
    assert [("SELL", "0.008", "True")] == [
        (order["side"], order["qty"], order["reduce_only"]) for order in orders_of(client, keys)
    ]
    assert 0 == client.exists(keys.permit("governor", "plan-1"), keys.permit("p33", "plan-1"))
    assert 1 == len(results_of(client, keys))


@pytest.mark.fault("F7")
def test_a_repeat_gets_the_same_outcome(client: redis.Redis, keys: Keys, parts: Parts) -> None:
    """The same plan sent again changes nothing and answers the same, even with fresh permits lying there."""
    hold(client, keys)
    grant(client, keys, "plan-1")
    first = run_to_outcome(parts, intent_of())
    grant(client, keys, "plan-1")

    second = run_to_outcome(parts, intent_of())

    assert first == second
    assert 1 == len(orders_of(client, keys))
    assert 1 == len(results_of(client, keys))
    assert 2 == client.exists(keys.permit("governor", "plan-1"), keys.permit("p33", "plan-1"))

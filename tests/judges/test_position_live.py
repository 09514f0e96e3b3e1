"""One live position permit per symbol: who holds it, and until when."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import redis

from tasks import governor
from tasks.keys import Keys
from tasks.outcome import Ending
from tasks.parts import Parts
from tasks.position import evaluate
from tasks.reasons import Reason
from tasks.settings import Settings
from tests.helpers import GOVERNOR, hold, intent_of, record_of, run_to_outcome
from tests.judges.position_bed import NO_REST, answer_of


@pytest.fixture
def parts(make_parts: Callable[..., Parts], settings: Settings) -> Parts:
    """An executor whose Position judge needs no cooldown."""
    return make_parts(settings, position=NO_REST)


@pytest.mark.parametrize("plans", [2, 50])
def test_of_many_plans_on_one_symbol_exactly_one_is_allowed(
    client: redis.Redis, keys: Keys, parts: Parts, plans: int
) -> None:
    """Plans judged at the same moment never share a position: one is allowed, the others are told why not."""
    hold(client, keys, "1")
    together = Barrier(plans)

    def judge(number: int) -> tuple[str, str]:
        together.wait()
        return evaluate(parts, NO_REST, intent_of(f"plan-{number}"))

    with ThreadPoolExecutor(plans) as pool:
        answers = list(pool.map(judge, range(plans)))
    permits = sorted(answer_of(client, keys, f"plan-{number}") for number in range(plans))

    assert ["allow"] + ["cooldown_in_flight"] * (plans - 1) == permits
    assert 1 == answers.count(("written", ""))
    assert plans - 1 == answers.count(("in_flight", "cooldown_in_flight"))


def test_another_symbol_is_not_held_up(client: redis.Redis, keys: Keys, parts: Parts) -> None:
    """The one live permit is per symbol."""
    hold(client, keys, "1")
    hold(client, keys, "-1", "ETHUSDT")

    evaluate(parts, NO_REST, intent_of("plan-1"))
    evaluate(parts, NO_REST, intent_of("plan-2", symbol="ETHUSDT"))

    assert ["allow", "allow"] == [answer_of(client, keys, plan_id) for plan_id in ("plan-1", "plan-2")]


def test_a_denied_plan_holds_nothing(client: redis.Redis, keys: Keys, parts: Parts) -> None:
    """Only an allowed plan takes the symbol: a denied one leaves it to the next."""
    hold(client, keys, "1")

    evaluate(parts, NO_REST, intent_of("plan-1", close_qty=0.0001))
    evaluate(parts, NO_REST, intent_of("plan-2"))

    assert ["quantity_below_step", "allow"] == [answer_of(client, keys, plan_id) for plan_id in ("plan-1", "plan-2")]


@pytest.mark.parametrize("governor", [GOVERNOR, GOVERNOR.replace("true", "false", 1)])
def test_the_symbol_is_free_when_the_plan_ends(client: redis.Redis, keys: Keys, parts: Parts, governor: str) -> None:
    """Executed or blocked, a plan that ended gives the symbol back at once."""
    hold(client, keys, "1")
    evaluate(parts, NO_REST, intent_of("plan-1"))
    client.set(keys.permit("governor", "plan-1"), governor, ex=60)
    run_to_outcome(parts, intent_of("plan-1"))

    evaluate(parts, NO_REST, intent_of("plan-2"))

    assert "allow" == answer_of(client, keys, "plan-2")


def test_a_plan_without_a_known_price_ends_in_one_step(client: redis.Redis, keys: Keys, parts: Parts) -> None:
    """Blocked after both judges granted, a plan without a price gives everything back, the symbol too."""
    client.hset(keys.paper_position("BTCUSDT"), "position_amt", "0.010")
    governor.evaluate(parts, parts.governor, intent_of())
    evaluate(parts, NO_REST, intent_of())
    client.set(keys.kill_switch, "true")

    outcome = run_to_outcome(parts, intent_of())

    assert "kill_switch" == outcome.reason
    assert 0 == client.exists(keys.position_live("BTCUSDT"), keys.governor_reservation("plan-1"))


def test_an_order_that_may_exist_keeps_the_symbol(client: redis.Redis, keys: Keys, parts: Parts) -> None:
    """A plan that ended unknown may have an order on its way: nobody else closes beside it."""
    hold(client, keys, "1")
    evaluate(parts, NO_REST, intent_of("plan-1"))
    parts.gate.look(intent_of("plan-1"), "token")
    ending = Ending(decision="UNKNOWN", plan_id="plan-1", symbol="BTCUSDT", reason=Reason.ORDER_UNKNOWN)
    parts.gate.finish(ending, "token", "waiting")

    evaluate(parts, NO_REST, intent_of("plan-2"))

    assert "unknown" == record_of(client, keys, "plan-1")["state"]
    assert "cooldown_in_flight" == answer_of(client, keys, "plan-2")


def test_the_hold_on_a_symbol_ends_by_itself_but_after_permit_and_claim(
    client: redis.Redis, keys: Keys, parts: Parts
) -> None:
    """A plan lost for good frees its symbol in the end, not before its permit and a claim on it are over."""
    hold(client, keys, "1")

    evaluate(parts, NO_REST, intent_of())

    permit_ms, live_ms = (client.pttl(key) for key in (keys.permit("p33", "plan-1"), keys.position_live("BTCUSDT")))

    assert 0 < permit_ms + parts.settings.claim_lease_ms < live_ms

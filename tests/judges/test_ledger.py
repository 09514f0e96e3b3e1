"""The shadow ledger on a real server: where it begins, what moves it, how far, and how often."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
import redis

from tasks.errors import StoreUnavailable
from tasks.keys import Keys
from tasks.outcome import Outcome
from tasks.parts import Parts
from tasks.position import evaluate
from tasks.settings import LEDGER_TTL_S, PositionSettings, Settings
from tasks.snapshot import Positions
from tasks.venues import Receipt
from tests.helpers import GOVERNOR, grant, hold, intent_of, orders_of, run_to_outcome, stream
from tests.judges.position_bed import NO_REST, Watched, answer_of, give_ledger, ledger_of, paper_amount, snapshot_of


@pytest.fixture
def parts(make_parts: Callable[..., Parts], settings: Settings) -> Parts:
    """An executor whose Position judge needs no cooldown."""
    return make_parts(settings, position=NO_REST)


def execute(client: redis.Redis, keys: Keys, parts: Parts, plan_id: str = "plan-1", **fields: Any) -> Outcome:
    """Take one plan through the Position judge and the gate; the Governor grants."""
    intent = intent_of(plan_id, **fields)
    client.set(keys.permit("governor", plan_id), GOVERNOR, ex=60)
    evaluate(parts, NO_REST, intent)
    return run_to_outcome(parts, intent)


# Where it begins


@pytest.mark.parametrize("held", ["0.062", "-0.062", "0.0001"])
def test_a_ledger_begins_at_what_the_exchange_holds(client: redis.Redis, keys: Keys, parts: Parts, held: str) -> None:
    """At first sight of a symbol the ledger is taken from the exchange, and the ledger and the plan say so."""
    hold(client, keys, held)

    evaluate(parts, NO_REST, intent_of())

    ledger = ledger_of(client, keys)
    begun = [event for event in stream(client, keys.timeline("plan-1")) if event["event"] == "ledger_started"]

    assert {"last_known_amt", "updated_at", "origin", "taken_at"} == ledger.keys()
    assert [held, "exchange_first_sight"] == [ledger["last_known_amt"], ledger["origin"]]
    assert 0 < client.ttl(keys.ledger("BTCUSDT")) <= LEDGER_TTL_S
    assert [held] == [event["amt"] for event in begun]


@pytest.mark.parametrize("held", ["0.00", "0.00009"])
def test_nothing_held_begins_no_ledger(client: redis.Redis, keys: Keys, parts: Parts, held: str) -> None:
    """A plan on a flat symbol is denied, and a position that is opened later is taken at its own first sight."""
    hold(client, keys, held)
    evaluate(parts, NO_REST, intent_of())
    none_yet = ledger_of(client, keys)
    hold(client, keys, "0.062")
    client.delete(keys.snapshot("BTCUSDT"))

    evaluate(parts, NO_REST, intent_of("plan-2"))

    assert {} == none_yet
    assert "0.062" == ledger_of(client, keys)["last_known_amt"]


def test_a_known_ledger_is_not_taken_from_the_exchange_again(client: redis.Redis, keys: Keys, parts: Parts) -> None:
    """A ledger that disagrees stays as it is: only an operator sets it."""
    hold(client, keys, "0.062")
    give_ledger(client, keys, "0.002")

    evaluate(parts, NO_REST, intent_of())

    assert {"last_known_amt": "0.002"} == ledger_of(client, keys)


# What moves it


@pytest.mark.parametrize(
    ("held", "left", "side"), [("0.010", "0.003", "SELL"), ("-0.010", "-0.003", "BUY"), ("1", "0.25", "SELL")]
)
def test_an_order_moves_the_ledger(
    client: redis.Redis, keys: Keys, parts: Parts, held: str, left: str, side: str
) -> None:
    """An accepted order moves the ledger towards zero by its quantity, and is named there."""
    hold(client, keys, held)

    outcome = execute(client, keys, parts)

    ledger, orders = ledger_of(client, keys), orders_of(client, keys)

    assert outcome.executed
    assert [left, side, orders[0]["qty"], orders[0]["order_id"], "plan-1", "exchange_first_sight"] == [
        ledger[name]
        for name in (
            "last_known_amt",
            "last_side",
            "last_executed_qty",
            "last_order_id",
            "last_result_plan_id",
            "origin",
        )
    ]
    assert Decimal(left) == paper_amount(client, keys)
    assert f"{outcome.timestamp:.3f}" == ledger["updated_at"]
    assert 0 <= Decimal(ledger["last_order_at"]) - Decimal(ledger["updated_at"]) < Decimal("0.001")


def test_repeats_do_not_move_it_again(client: redis.Redis, keys: Keys, parts: Parts) -> None:
    """The same plan sent again, judged again, even with fresh permits, leaves the ledger byte for byte."""
    hold(client, keys, "0.010")
    execute(client, keys, parts)
    moved = ledger_of(client, keys)

    for _ in range(3):
        grant(client, keys, "plan-1")
        execute(client, keys, parts)

    assert "0.003" == moved["last_known_amt"]
    assert moved == ledger_of(client, keys)


def test_the_next_plan_is_judged_on_the_position_after_the_order(client: redis.Redis, keys: Keys, parts: Parts) -> None:
    """An order drops the snapshot from before it: the venue is asked again, and ledger and exchange agree."""
    hold(client, keys, "1")
    execute(client, keys, parts, "plan-1")

    assert {} == snapshot_of(client, keys)

    execute(client, keys, parts, "plan-2")

    assert ["0.75", "0.187"] == [order["qty"] for order in orders_of(client, keys)]
    assert Decimal("0.063") == paper_amount(client, keys) == Decimal(ledger_of(client, keys)["last_known_amt"])


def test_a_symbol_rests_after_its_order(client: redis.Redis, keys: Keys, parts: Parts) -> None:
    """With the default cooldown the next plan on the symbol is denied, one on another symbol is not."""
    hold(client, keys, "1")
    hold(client, keys, "1", "ETHUSDT")
    execute(client, keys, parts, "plan-1")

    evaluate(parts, PositionSettings(_env_file=None), intent_of("plan-2"))
    evaluate(parts, PositionSettings(_env_file=None), intent_of("plan-3", symbol="ETHUSDT"))

    assert ["cooldown_in_flight", "allow"] == [answer_of(client, keys, plan) for plan in ("plan-2", "plan-3")]


def test_a_lost_reply_moves_it_once(client: redis.Redis, keys: Keys, parts: Parts) -> None:
    """An order whose reply was lost is looked up and adopted, and moves the ledger then, once."""
    hold(client, keys, "0.010")

    def lose(_: Receipt) -> None:
        raise StoreUnavailable("the reply was lost")

    hasty = replace(parts, venue=Watched(parts.venue, after_submit=lose))
    client.set(keys.permit("governor", "plan-1"), GOVERNOR, ex=60)
    evaluate(parts, NO_REST, intent_of())

    outcomes = [run_to_outcome(hasty, intent_of()) for _ in range(2)]

    assert [True, True] == [outcome.executed for outcome in outcomes]
    assert Decimal("0.003") == paper_amount(client, keys) == Decimal(ledger_of(client, keys)["last_known_amt"])


# What does not


def test_dry_run_moves_nothing(
    client: redis.Redis, keys: Keys, make_parts: Callable[..., Parts], settings: Settings
) -> None:
    """In dry run the whole gate runs, and the ledger stays where the exchange is."""
    dry = make_parts(settings.model_copy(update={"mode": "dry_run"}), position=NO_REST)
    hold(client, keys, "0.010")

    outcomes = [execute(client, keys, dry, plan_id) for plan_id in ("plan-1", "plan-2")]

    assert [(True, False)] * 2 == [(outcome.would_execute, outcome.executed) for outcome in outcomes]
    assert [] == orders_of(client, keys)
    assert {"last_known_amt", "updated_at", "origin", "taken_at"} == ledger_of(client, keys).keys()
    assert "0.010" == ledger_of(client, keys)["last_known_amt"]


@pytest.mark.parametrize("issuers", [(), ("governor",)])
@pytest.mark.parametrize("theirs", [None, "0.062"])
def test_a_ledger_of_others_is_left_to_them(
    client: redis.Redis,
    keys: Keys,
    make_parts: Callable[..., Parts],
    settings: Settings,
    *,
    issuers: tuple[str, ...],
    theirs: str | None,
) -> None:
    """Where another service issues the position permits, it keeps the ledger too."""
    executor = make_parts(settings.model_copy(update={"issuers": issuers}))
    hold(client, keys)
    grant(client, keys, "plan-1")
    if theirs:
        give_ledger(client, keys, theirs)
    Positions(executor.store, keys).refresh(executor.venue, "BTCUSDT")

    outcome = run_to_outcome(executor, intent_of())

    assert outcome.executed
    assert ({"last_known_amt": theirs} if theirs else {}) == ledger_of(client, keys)
    assert {} == snapshot_of(client, keys)


def test_a_rejected_order_moves_nothing(client: redis.Redis, keys: Keys, parts: Parts) -> None:
    """What the venue refused was not done."""
    hold(client, keys, "0.010")
    client.set(keys.permit("governor", "plan-1"), GOVERNOR, ex=60)
    evaluate(parts, NO_REST, intent_of())
    hold(client, keys, "0.001")

    outcome = run_to_outcome(parts, intent_of())

    assert "REJECTED" == outcome.decision
    assert "0.010" == ledger_of(client, keys)["last_known_amt"]
    assert "last_order_at" not in ledger_of(client, keys)


def test_a_rejected_order_shows_that_the_snapshot_was_wrong(client: redis.Redis, keys: Keys, parts: Parts) -> None:
    """After a rejection the next plan is judged on what the venue says then, not on the same figures again."""
    hold(client, keys, "0.010")
    client.set(keys.permit("governor", "plan-1"), GOVERNOR, ex=60)
    evaluate(parts, NO_REST, intent_of())
    hold(client, keys, "0.001")
    run_to_outcome(parts, intent_of())

    evaluate(parts, NO_REST, intent_of("plan-2"))

    assert "reconcile_required_qty_mismatch" == answer_of(client, keys, "plan-2")


def test_a_blocked_plan_moves_nothing(client: redis.Redis, keys: Keys, parts: Parts) -> None:
    """A plan that ends without an order leaves the ledger alone."""
    hold(client, keys, "0.010")
    evaluate(parts, NO_REST, intent_of())
    client.set(keys.kill_switch, "true")

    outcome = run_to_outcome(parts, intent_of())

    assert "kill_switch" == outcome.reason
    assert {"last_known_amt", "updated_at", "origin", "taken_at"} == ledger_of(client, keys).keys()


# How exactly


@pytest.mark.parametrize(
    ("held", "step", "each_and_orders", "left"),
    [
        ("3.0", "0.1", (0.1, 30), "0.0"),
        ("-0.150", "0.001", (0.001, 100), "-0.050"),
        ("1000000.12345678", "0.00000001", (0.00000001, 20), "1000000.12345658"),
        ("123456789012.345", "0.001", (0.001, 20), "123456789012.325"),
        ("-700", "1", (7, 100), "0"),
    ],
)
def test_many_orders_leave_it_exact(
    client: redis.Redis, keys: Keys, parts: Parts, held: str, step: str, each_and_orders: tuple[float, int], left: str
) -> None:
    """Nothing is ever rounded: after any number of orders the ledger is the start minus their sum."""
    each, orders = each_and_orders
    hold(client, keys, held)
    client.hset(keys.paper_position("BTCUSDT"), "step", step)

    executed = [execute(client, keys, parts, f"plan-{n}", close_qty=each).executed for n in range(orders)]

    assert [True] * orders == executed
    assert left == ledger_of(client, keys)["last_known_amt"]
    assert Decimal(left) == paper_amount(client, keys)


# What it must not be mistaken for


@pytest.mark.parametrize("ledger", ["junk", "NaN", "1e", "0,062"])
def test_an_unreadable_ledger_is_denied_and_left_alone(
    client: redis.Redis, keys: Keys, parts: Parts, ledger: str
) -> None:
    """A ledger that is no number is for the operator: the plan is denied at once, and the ledger not replaced."""
    hold(client, keys)
    give_ledger(client, keys, ledger)

    evaluate(parts, NO_REST, intent_of())

    assert answer_of(client, keys).startswith("reconcile_required_")
    assert ledger == ledger_of(client, keys)["last_known_amt"]


@pytest.mark.parametrize("ledger", ["6.2e-2", "+0.062", " 0.062", "0.06_2", "0.06200000000000000"])
def test_a_ledger_that_cannot_be_moved_is_not_judged_on(
    client: redis.Redis, keys: Keys, parts: Parts, ledger: str
) -> None:
    """Whatever the ledger's text, an order moves it or is not made."""
    hold(client, keys, "0.062")
    give_ledger(client, keys, ledger)

    execute(client, keys, parts)

    assert paper_amount(client, keys) == Decimal(ledger_of(client, keys)["last_known_amt"])


def test_a_ledger_does_not_expire_under_an_order(client: redis.Redis, keys: Keys, parts: Parts) -> None:
    """The ledger lives longer than a plan that was allowed on it can take."""
    hold(client, keys)
    give_ledger(client, keys, "0.062")
    client.expire(keys.ledger("BTCUSDT"), 5)

    evaluate(parts, NO_REST, intent_of())

    assert client.ttl(keys.position_live("BTCUSDT")) < client.ttl(keys.ledger("BTCUSDT"))


def test_a_ledger_lost_meanwhile_does_not_begin_before_the_order(client: redis.Redis, keys: Keys, parts: Parts) -> None:
    """A ledger that vanished while an order was under way begins anew after that order, not before it."""
    hold(client, keys, "1")
    client.set(keys.permit("governor", "plan-1"), GOVERNOR, ex=60)
    evaluate(parts, NO_REST, intent_of())

    def lose_and_order(times: int) -> None:
        if times == 1:
            client.delete(keys.ledger("BTCUSDT"))
            run_to_outcome(parts, intent_of())

    client.delete(keys.snapshot("BTCUSDT"))
    evaluate(replace(parts, venue=Watched(parts.venue, after=lose_and_order)), NO_REST, intent_of("plan-2"))

    assert paper_amount(client, keys) == Decimal(ledger_of(client, keys)["last_known_amt"])

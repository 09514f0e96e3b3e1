"""The position permit on a real server: its form, its life, once per plan, on nothing but what was judged."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest
import redis

from tasks.keys import Keys
from tasks.parts import Parts
from tasks.permit import PositionPermit, read_permit
from tasks.position import evaluate
from tasks.settings import PositionSettings, Settings
from tests.helpers import hold, intent_of, run_to_outcome
from tests.judges.position_bed import (
    MISMATCH,
    NO_REST,
    Watched,
    answer_of,
    give_ledger,
    give_snapshot,
    permit_of,
    raw_permit,
)


@pytest.fixture
def parts(make_parts: Callable[..., Parts], settings: Settings) -> Parts:
    """An executor whose Position judge needs no cooldown."""
    return make_parts(settings, position=NO_REST)


@pytest.mark.parametrize(("held", "safe"), [("0.010", "0.007"), ("-0.010", "0.007")])
def test_an_allowing_permit_says_how_much_is_safe(
    client: redis.Redis, keys: Keys, parts: Parts, held: str, safe: str
) -> None:
    """Read strictly, the permit allows, names plan, symbol and issuer, and carries exact, signed amounts."""
    hold(client, keys, held)

    assert ("written", "") == evaluate(parts, NO_REST, intent_of())

    permit = read_permit("p33", raw_permit(client, keys, "plan-1"))
    said = permit_of(client, keys)
    created, expires = said.pop("created_at"), said.pop("expires_at")

    assert isinstance(permit, PositionPermit)
    assert permit.grants
    assert {
        "allow": True,
        "symbol": "BTCUSDT",
        "plan_id": "plan-1",
        "issuer": "p33",
        "reason": "sanity_checks_passed",
        "safe_close_qty": Decimal(safe),
        "exchange_position_amt": Decimal(held),
        "ledger_amt": Decimal(held),
    } == said
    assert Decimal(60) == expires - created


def test_a_denying_permit_says_why(client: redis.Redis, keys: Keys, parts: Parts) -> None:
    """A refusal is written too: allow is false, with the reason and the figures behind it, and no quantity."""
    hold(client, keys, "0.062")
    give_ledger(client, keys, "0.002")

    assert ("written", MISMATCH) == evaluate(parts, NO_REST, intent_of())

    permit = read_permit("p33", raw_permit(client, keys, "plan-1"))
    said = permit_of(client, keys)
    created, expires = said.pop("created_at"), said.pop("expires_at")

    assert isinstance(permit, PositionPermit)
    assert not permit.grants
    assert {
        "allow": False,
        "symbol": "BTCUSDT",
        "plan_id": "plan-1",
        "issuer": "p33",
        "reason": MISMATCH,
        "context": {"exchange_amt": "0.062", "ledger_amt": "0.002", "diff": "0.060", "tolerance": "0.001"},
    } == said
    assert Decimal(60) == expires - created


@pytest.mark.parametrize("held", ["0.5", "0"])
@pytest.mark.parametrize("life_s", [1, 7, 120])
def test_a_permit_lives_as_long_as_the_setting_says(
    client: redis.Redis, keys: Keys, parts: Parts, held: str, life_s: int
) -> None:
    """Allowing or denying, the permit expires by itself after P33_PERMIT_TTL, and says when."""
    hold(client, keys, held)

    evaluate(parts, PositionSettings(_env_file=None, permit_ttl=life_s), intent_of())

    said = permit_of(client, keys)

    assert 0 < client.pttl(keys.permit("p33", "plan-1")) <= life_s * 1000
    assert Decimal(life_s) == said["expires_at"] - said["created_at"]


def test_whole_and_tiny_amounts_are_plain_numbers(client: redis.Redis, keys: Keys, parts: Parts) -> None:
    """Amounts that arithmetic would show with an exponent are written out, so that any JSON reader agrees."""
    client.hset(
        keys.paper_position("BTCUSDT"), mapping={"position_amt": "1000.00000000", "mark_price": "1", "step": "10"}
    )

    evaluate(parts, NO_REST, intent_of(action="FULL_CLOSE_PROPOSED"))

    assert b'"safe_close_qty":1000,"exchange_position_amt":1000.00000000' in raw_permit(client, keys, "plan-1")


@pytest.mark.parametrize(
    ("held", "ledger", "since_s", "expected"),
    [
        ("0", "0.5", None, "no_position"),
        ("0.5", "-0.5", None, "reconcile_required_side_mismatch"),
        ("0.5", "0.4", None, MISMATCH),
        ("0.5", "0.5", 5, "cooldown_in_flight"),
        ("0.001", "0.001", None, "quantity_below_step"),
        ("0.5", "0.5", 15, "allow"),
    ],
)
def test_every_rule_reaches_the_permit(
    client: redis.Redis, keys: Keys, parts: Parts, held: str, ledger: str, since_s: int | None, expected: str
) -> None:
    """Each rule, with the default limits, shows in the permit that stands in Redis."""
    hold(client, keys, held)
    give_ledger(client, keys, ledger)
    if since_s is not None:
        now_s = client.time()[0]
        client.hset(keys.ledger("BTCUSDT"), "last_order_at", f"{now_s - since_s}.000")

    evaluate(parts, PositionSettings(_env_file=None), intent_of())

    assert expected == answer_of(client, keys)


def test_a_plan_that_ended_gets_no_permit(client: redis.Redis, keys: Keys, parts: Parts) -> None:
    """A judge that is late, or is asked again after the end, writes nothing and holds nothing."""
    hold(client, keys)
    client.set(keys.kill_switch, "true")
    run_to_outcome(parts, intent_of())

    assert ("ended", "") == evaluate(parts, NO_REST, intent_of())
    assert "" == answer_of(client, keys)
    assert 0 == client.exists(keys.position_live("BTCUSDT"), keys.ledger("BTCUSDT"))


def test_a_consumed_plan_gets_no_second_permit(client: redis.Redis, keys: Keys, parts: Parts) -> None:
    """Between consumption and outcome there is nothing left to permit."""
    hold(client, keys)
    evaluate(parts, NO_REST, intent_of())
    client.hset(keys.record("plan-1"), "state", "consumed")
    client.delete(keys.permit("p33", "plan-1"))

    assert ("ended", "") == evaluate(parts, NO_REST, intent_of())
    assert "" == answer_of(client, keys)


@pytest.mark.parametrize("held", ["1", "0"])
def test_an_answer_is_given_once(client: redis.Redis, keys: Keys, parts: Parts, held: str) -> None:
    """Watched again, the judge leaves the permit that stands, byte by byte, whatever it would say now."""
    hold(client, keys, held)
    evaluate(parts, NO_REST, intent_of())
    first = raw_permit(client, keys, "plan-1")
    hold(client, keys, "0.5")
    client.delete(keys.snapshot("BTCUSDT"))

    assert ("repeat", "") == evaluate(parts, NO_REST, intent_of())
    assert first == raw_permit(client, keys, "plan-1")


def test_a_ledger_that_moves_while_judging_is_judged_again(client: redis.Redis, keys: Keys, parts: Parts) -> None:
    """The permit is written only on the ledger that was judged."""
    hold(client, keys, "1")
    give_ledger(client, keys, "1")

    def move(times: int) -> None:
        if times == 1:
            give_ledger(client, keys, "0.5")

    venue = Watched(parts.venue, at_step=move)

    assert ("written", MISMATCH) == evaluate(replace(parts, venue=venue), NO_REST, intent_of())
    assert 2 == venue.steps
    assert MISMATCH == answer_of(client, keys)


@pytest.mark.parametrize("replaced", [True, False])
def test_a_snapshot_that_changes_while_judging_is_judged_again(
    client: redis.Redis, keys: Keys, parts: Parts, *, replaced: bool
) -> None:
    """The permit is written only on the snapshot that was judged; a dropped one is asked for anew."""
    hold(client, keys, "1")
    give_ledger(client, keys, "1")
    give_snapshot(client, keys, "5", "1")

    def change(times: int) -> None:
        if times == 1:
            hold(client, keys, "0.995")
            client.delete(keys.snapshot("BTCUSDT"))
            if replaced:
                give_snapshot(client, keys, "1", "0.995")

    venue = Watched(parts.venue, at_step=change)

    assert ("written", "") == evaluate(replace(parts, venue=venue), NO_REST, intent_of())
    assert (Decimal("0.995"), Decimal("0.746")) == tuple(
        permit_of(client, keys)[name] for name in ("exchange_position_amt", "safe_close_qty")
    )


def test_what_never_holds_still_is_not_answered(client: redis.Redis, keys: Keys, parts: Parts) -> None:
    """A position that changes during every judgement gets no permit: the plan blocks."""
    hold(client, keys, "1")
    venue = Watched(parts.venue, at_step=lambda times: give_ledger(client, keys, f"1.000{times}"))

    assert "changed" == evaluate(replace(parts, venue=venue), NO_REST, intent_of())[0]
    assert "" == answer_of(client, keys)
    assert 0 == client.exists(keys.position_live("BTCUSDT"))

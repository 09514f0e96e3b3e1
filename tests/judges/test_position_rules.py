"""The six rules as a table, each at its limit, just below it and just above it. No server, no clock."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.position import Allow, Deny, judge_position
from tasks.settings import PositionSettings
from tasks.snapshot import Ledger, Snapshot
from tests.helpers import intent_of

NOW = Decimal(1_700_000_000)
DEFAULTS = PositionSettings(_env_file=None)
AS_EXCHANGE = "as the exchange"


def limits(**changed: Decimal | int) -> PositionSettings:
    return PositionSettings(_env_file=None, **changed)  # type: ignore[arg-type] # checked by the model


def judged(
    exchange: str = "0.5",
    ledger: str | None = AS_EXCHANGE,
    *,
    age: str = "1",
    since: str | None = None,
    step: str = "0.001",
    rules: PositionSettings = DEFAULTS,
    **intent: Any,
) -> Allow | Deny:
    """Judge one plan; `age` and `since` are seconds ago, without `since` there was no order yet."""
    held = exchange if ledger == AS_EXCHANGE else ledger
    last_order = None if since is None else NOW - Decimal(since)
    return judge_position(
        intent_of(**intent),
        Snapshot(Decimal(exchange), Decimal(50_000), str(NOW - Decimal(age))),
        None if held is None else Ledger(Decimal(held), held, last_order),
        NOW,
        Decimal(step),
        rules,
    )


def reason_of(verdict: Allow | Deny) -> str:
    return "" if isinstance(verdict, Allow) else verdict.reason


def test_without_a_snapshot_nothing_is_allowed() -> None:
    """A venue of which nothing is known is denied as such, never taken as flat."""
    verdict = judge_position(intent_of(), None, Ledger(Decimal(1), "1", None), NOW, Decimal("0.001"), DEFAULTS)

    assert Deny("no_exchange_snapshot") == verdict


@pytest.mark.parametrize(
    ("age", "limit", "expected"),
    [
        ("0", "10", ""),
        ("9.999", "10", ""),
        ("10.000", "10", ""),
        ("10.001", "10", "stale_exchange_state"),
        ("3600", "10", "stale_exchange_state"),
        ("2.5", "2.5", ""),
        ("2.501", "2.5", "stale_exchange_state"),
    ],
)
def test_a_snapshot_may_be_as_old_as_the_limit(age: str, limit: str, expected: str) -> None:
    """A snapshot is judged on up to and including P33_STALE_THRESHOLD_SEC."""
    assert expected == reason_of(judged(age=age, rules=limits(stale_threshold_sec=Decimal(limit))))


@pytest.mark.parametrize("age", ["-1", "-3600"])
def test_a_snapshot_from_the_future_is_not_fresh(age: str) -> None:
    """A snapshot whose clock is not ours says nothing about now."""
    assert "stale_exchange_state" == reason_of(judged(age=age))


@pytest.mark.parametrize(
    ("exchange", "expected"),
    [
        ("0", "no_position"),
        ("0.00009", "no_position"),
        ("0.0000999999999999", "no_position"),
        ("-0.00009", "no_position"),
        ("0.0001", ""),
        ("-0.0001", ""),
        ("0.00011", ""),
    ],
)
def test_a_position_starts_at_a_ten_thousandth(exchange: str, expected: str) -> None:
    """Below 0.0001, long or short, there is no position to close."""
    assert expected == reason_of(judged(exchange, step="0.0001", action="FULL_CLOSE_PROPOSED"))


@pytest.mark.parametrize(
    ("exchange", "ledger", "expected"),
    [
        ("0.5", "0.5", ""),
        ("-0.5", "-0.5", ""),
        ("0.5", "-0.5", "reconcile_required_side_mismatch"),
        ("-0.5", "0.5", "reconcile_required_side_mismatch"),
        ("0.5", "0", "reconcile_required_side_mismatch"),
        ("0.001", "0", "reconcile_required_side_mismatch"),
        ("0.0005", "-0.0005", "reconcile_required_side_mismatch"),
        ("-0.0005", "0.0005", "reconcile_required_side_mismatch"),
    ],
)
def test_ledger_and_exchange_are_on_one_side(exchange: str, ledger: str, expected: str) -> None:
    """Opposite sides, or an empty ledger, are a matter for the operator, even within the tolerance."""
    assert expected == reason_of(judged(exchange, ledger, action="FULL_CLOSE_PROPOSED", step="0.0001"))


@pytest.mark.parametrize("exchange", ["-0.5", "-0.001"])
def test_an_empty_ledger_is_not_on_the_side_of_a_short_position(exchange: str) -> None:
    """What holds for a long position holds for a short one."""
    assert "reconcile_required_side_mismatch" == reason_of(judged(exchange, "0", action="FULL_CLOSE_PROPOSED"))


@pytest.mark.parametrize("sign", ["", "-"])
@pytest.mark.parametrize(
    ("exchange", "ledger", "percent", "expected"),
    [
        # Small: 1 % of 0.05 is 0.0005, so 0.001 counts.
        ("0.05", "0.051", "1", ""),
        ("0.05", "0.0510000001", "1", "reconcile_required_qty_mismatch"),
        ("0.05", "0.049", "1", ""),
        ("0.05", "0.0489999999", "1", "reconcile_required_qty_mismatch"),
        # Where both are equal: 1 % of 0.1 is 0.001.
        ("0.1", "0.101", "1", ""),
        ("0.1", "0.1010000001", "1", "reconcile_required_qty_mismatch"),
        # Large: 1 % of 10 is 0.1; it is the exchange's amount that counts, not the ledger's.
        ("10", "10.1", "1", ""),
        ("10", "10.1000000001", "1", "reconcile_required_qty_mismatch"),
        ("10", "9.9", "1", ""),
        ("10", "9.8999999999", "1", "reconcile_required_qty_mismatch"),
        ("12345678.9", "12222222.111", "1", ""),
        ("12345678.9", "12222222.110", "1", "reconcile_required_qty_mismatch"),
        # The setting: 0 % leaves the 0.001, 2.5 % of 10 is 0.25.
        ("10", "10.001", "0", ""),
        ("10", "10.0010000001", "0", "reconcile_required_qty_mismatch"),
        ("10", "10.25", "2.5", ""),
        ("10", "10.2500000001", "2.5", "reconcile_required_qty_mismatch"),
        # The example of the system we re-create.
        ("0.062", "0.002", "1", "reconcile_required_qty_mismatch"),
    ],
)
def test_ledger_and_exchange_may_differ_by_the_tolerance(
    sign: str, exchange: str, ledger: str, percent: str, expected: str
) -> None:
    """The difference may be as large as the larger of 0.001 and the percentage of the exchange's amount."""
    rules = limits(qty_tolerance_pct=Decimal(percent))

    assert expected == reason_of(judged(sign + exchange, sign + ledger, rules=rules))


@pytest.mark.parametrize(
    ("since", "limit", "expected"),
    [
        (None, "15", ""),
        ("0", "15", "cooldown_in_flight"),
        ("14.999", "15", "cooldown_in_flight"),
        ("15.000", "15", ""),
        ("15.001", "15", ""),
        ("-1", "15", "cooldown_in_flight"),
        ("0", "0", ""),
        ("0.499", "0.5", "cooldown_in_flight"),
        ("0.5", "0.5", ""),
    ],
)
def test_a_symbol_rests_after_an_order(since: str | None, limit: str, expected: str) -> None:
    """The symbol is free again exactly P33_COOLDOWN_SEC after its last order; an order of the future holds it."""
    assert expected == reason_of(judged(since=since, rules=limits(cooldown_sec=Decimal(limit))))


@pytest.mark.parametrize("sign", ["", "-"])
@pytest.mark.parametrize(
    ("exchange", "step", "intent", "expected"),
    [
        ("0.010", "0.001", {"action": "PARTIAL_75"}, "0.007"),
        ("0.010", "0.001", {"action": "PARTIAL_50"}, "0.005"),
        ("0.010", "0.001", {"action": "FULL_CLOSE_PROPOSED"}, "0.010"),
        # As binary fractions 0.29 / 0.01 is below 29 and 0.57 * 100 below 57.
        ("0.29", "0.01", {"action": "FULL_CLOSE_PROPOSED"}, "0.29"),
        ("0.57", "0.01", {"action": "FULL_CLOSE_PROPOSED"}, "0.57"),
        ("0.0109999999", "0.001", {"action": "FULL_CLOSE_PROPOSED"}, "0.010"),
        ("7.9", "1", {"action": "FULL_CLOSE_PROPOSED"}, "7"),
        ("29", "10", {"action": "FULL_CLOSE_PROPOSED"}, "20"),
        ("1.7", "0.25", {"action": "FULL_CLOSE_PROPOSED"}, "1.5"),
        # The plan's own quantity, where positive, counts instead of the action's part.
        ("0.5", "0.001", {"action": "PARTIAL_50", "close_qty": 0.4}, "0.4"),
        ("0.5", "0.001", {"action": "FULL_CLOSE_PROPOSED", "close_qty": 0.0019}, "0.001"),
        ("0.5", "0.01", {"action": "PARTIAL_50", "close_qty": 0.29}, "0.29"),
        ("0.5", "0.001", {"action": "PARTIAL_50", "close_qty": 0.5}, "0.5"),
        ("0.5", "0.001", {"action": "PARTIAL_50", "close_qty": 0.501}, "0.5"),
        ("0.5005", "0.001", {"action": "PARTIAL_50", "close_qty": 1_000_000}, "0.500"),
        ("0.5", "0.001", {"action": "PARTIAL_50", "close_qty": 0}, "0.25"),
        ("0.5", "0.001", {"action": "PARTIAL_75", "close_qty": 0.0}, "0.375"),
    ],
)
def test_the_quantity_is_rounded_down(
    sign: str, exchange: str, step: str, intent: dict[str, Any], expected: str
) -> None:
    """What is asked for, at most what is held, rounded down to the step, unsigned, exactly."""
    assert Allow(Decimal(expected)) == judged(sign + exchange, step=step, **intent)


@pytest.mark.parametrize(
    ("exchange", "step", "intent"),
    [
        ("0.001", "0.001", {"action": "PARTIAL_50"}),
        ("0.001", "0.001", {"action": "PARTIAL_75"}),
        ("0.0009", "0.001", {"action": "FULL_CLOSE_PROPOSED"}),
        ("0.5", "0.001", {"action": "FULL_CLOSE_PROPOSED", "close_qty": 0.0009}),
        ("0.5", "1", {"action": "FULL_CLOSE_PROPOSED"}),
        ("0.5", "0.001", {"action": "UPDATE_SL"}),
    ],
)
def test_less_than_a_step_is_not_safe_to_close(exchange: str, step: str, intent: dict[str, Any]) -> None:
    """Nothing is rounded up to a step: what rounds down to nothing is denied."""
    assert "quantity_below_step" == reason_of(judged(exchange, step=step, **intent))


def test_the_first_rule_that_does_not_hold_is_the_reason() -> None:
    """The rules are judged in their order: with everything wrong, each repair uncovers the next reason."""
    wrong: dict[str, Any] = {"exchange": "0.00005", "ledger": "-5", "age": "11", "since": "1", "step": "0.01"}
    found = [reason_of(judged(**wrong))]
    for repair in (
        {"age": "1"},
        {"exchange": "0.002"},
        {"ledger": "5"},
        {"ledger": "0.002"},
        {"since": "15"},
        {"step": "0.001"},
    ):
        wrong |= repair
        found.append(reason_of(judged(**wrong)))

    assert [
        "stale_exchange_state",
        "no_position",
        "reconcile_required_side_mismatch",
        "reconcile_required_qty_mismatch",
        "cooldown_in_flight",
        "quantity_below_step",
        "",
    ] == found


def test_the_first_sight_of_a_symbol_takes_the_exchange_for_the_ledger() -> None:
    """Without a ledger, ledger and exchange agree, and the verdict says that this was the first sight."""
    assert Allow(Decimal("0.375"), first_sight=True) == judged(ledger=None)
    assert Allow(Decimal("0.375"), first_sight=True) == judged("-0.5", ledger=None)


def test_a_denied_first_sight_says_so_too() -> None:
    """A denial tells the first sight as well, where the exchange was seen at all."""
    assert getattr(judged("0.001", ledger=None), "first_sight", None)
    assert not getattr(judged(ledger=None, age="11"), "first_sight", None)


@pytest.mark.parametrize(
    ("case", "context"),
    [
        ({"age": "10.25"}, {"age_s": "10.25", "limit_s": "10"}),
        ({"exchange": "0.00005"}, {"exchange_amt": "0.00005", "ledger_amt": "0.00005"}),
        ({"ledger": "-0.5"}, {"exchange_amt": "0.5", "ledger_amt": "-0.5"}),
        (
            {"exchange": "0.062", "ledger": "0.002"},
            {"exchange_amt": "0.062", "ledger_amt": "0.002", "diff": "0.060", "tolerance": "0.001"},
        ),
        ({"since": "4.5"}, {"since_s": "4.5", "limit_s": "15"}),
    ],
)
def test_a_denial_shows_its_figures(case: dict[str, Any], context: dict[str, str]) -> None:
    """Whoever reads a denial sees what was found beside what is allowed."""
    verdict = judged(**case)

    assert context == getattr(verdict, "context", None)


@settings(deadline=None)
@given(
    held=st.decimals("0.0001", "100000", places=8),
    asked=st.none() | st.integers(0, 200_000_000_000).map(lambda millionths: millionths / 1_000_000),
    step=st.sampled_from(["0.001", "0.01", "0.1", "1", "10", "0.25", "0.00000001"]),
    action=st.sampled_from(["FULL_CLOSE_PROPOSED", "PARTIAL_75", "PARTIAL_50"]),
    short=st.booleans(),
)
def test_no_quantity_is_ever_above_what_is_held_or_asked(
    held: Decimal, asked: float | None, step: str, action: str, *, short: bool
) -> None:
    """An allowed quantity is the largest positive multiple of the step within position and request."""
    amount, unit = f"{-held if short else held:f}", Decimal(step)
    own: dict[str, Any] = {} if asked is None else {"close_qty": asked}
    verdict = judged(amount, step=step, action=action, **own)
    part = {"FULL_CLOSE_PROPOSED": Decimal(1), "PARTIAL_75": Decimal("0.75"), "PARTIAL_50": Decimal("0.5")}[action]
    wanted = min(held, Decimal(repr(asked)) if asked else held * part)
    if isinstance(verdict, Deny):
        assert "quantity_below_step" == verdict.reason
        assert wanted < unit
        return

    assert 0 < verdict.safe_qty <= wanted
    assert 0 == verdict.safe_qty % unit
    assert wanted - verdict.safe_qty < unit

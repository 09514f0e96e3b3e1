"""Every limit of the Governor at, just below and just above its value, under a fixed clock."""

from decimal import Decimal

import pytest

from tasks.settings import GovernorSettings
from tests.judges.desk import GRANTED, NOTHING, Desk, limits

HOUR_MS, FIVE_MIN_MS = 3_600_000, 300_000


@pytest.mark.parametrize(
    ("limit", "reason"), [("max_exec_per_hour", "hourly_limit_exceeded"), ("max_exec_per_5min", "burst_limit_exceeded")]
)
@pytest.mark.parametrize("allowed", [0, 1, 2, 3])
def test_as_many_grants_as_a_window_allows(desk: Desk, limit: str, reason: str, allowed: int) -> None:
    """The plan that reaches the limit is granted, the next two are refused by that rule."""
    said = [desk.decide(**{limit: allowed}) for _ in range(allowed + 2)]

    assert [GRANTED] * allowed + [("refused", reason)] * 2 == said


def test_the_default_limits(desk: Desk) -> None:
    """Three grants an hour, two in 5 minutes, 5000 USD a day, 0.02 without a price, kill score 0.8, 5 errors."""
    stated = GovernorSettings(_env_file=None)

    assert (3, 2, Decimal(5000), Decimal("0.02"), Decimal("0.8"), True, 5, True) == (
        stated.max_exec_per_hour,
        stated.max_exec_per_5min,
        stated.max_reduce_notional_per_day_usd,
        stated.max_reduce_qty_per_day,
        stated.kill_score_critical,
        stated.enable_auto_disarm,
        stated.disarm_on_error_count,
        stated.disarm_on_burst_breach,
    )
    assert NOTHING == desk.figures()


@pytest.mark.parametrize(
    ("limit", "window_ms", "reason"),
    [
        ("max_exec_per_hour", HOUR_MS, "hourly_limit_exceeded"),
        ("max_exec_per_5min", FIVE_MIN_MS, "burst_limit_exceeded"),
    ],
)
def test_the_windows_roll(desk: Desk, limit: str, window_ms: int, reason: str) -> None:
    """A grant counts until a millisecond before the window's length has passed, and no longer."""
    first = desk.decide(**{limit: 1})
    desk.clock.forward(window_ms - 1)
    just_before = desk.decide(**{limit: 1})
    desk.clock.forward(1)

    assert (GRANTED, ("refused", reason), GRANTED) == (first, just_before, desk.decide(**{limit: 1}))


def test_each_grant_leaves_the_window_by_itself(desk: Desk) -> None:
    """Grants of 12:00, 12:20 and 12:40 fill the hour; at 13:00 one more fits, at 13:20 one more."""
    said = []
    for forward_min, plans in ((0, 1), (20, 1), (20, 1), (20, 2), (20, 2)):
        desk.clock.forward(forward_min * 60_000)
        said += [desk.decide(max_exec_per_hour=3)[0] for _ in range(plans)]

    assert ["granted", "granted", "granted", "granted", "refused", "granted", "refused"] == said


@pytest.mark.parametrize(
    ("limit", "notionals", "last"),
    [
        ("5000", ["4999.999999"], "granted"),
        ("5000", ["5000"], "granted"),
        ("5000", ["5000.000001"], "refused"),
        ("5000", ["5000.0000000000001"], "refused"),
        ("5000", ["2500", "2500"], "granted"),
        ("5000", ["2500", "2500.000001"], "refused"),
        ("0.3", ["0.1", "0.2"], "granted"),
        ("0.3", ["0.1", "0.200001"], "refused"),
        ("1", ["0.1"] * 10, "granted"),
        ("1", [*["0.1"] * 10, "0.000001"], "refused"),
        ("999999999.999999", ["999999999.999998", "0.000001"], "granted"),
        ("999999999.999999", ["999999999.999998", "0.000002"], "refused"),
        ("0", ["0.000001"], "refused"),
    ],
)
def test_the_notional_of_a_day(desk: Desk, limit: str, notionals: list[str], last: str) -> None:
    """A day's notional may reach its limit and never pass it, counted exactly: 0.1 and 0.2 make 0.3."""
    said = []
    for notional in notionals:
        desk.hold("-1", notional)
        said.append(desk.decide(action="FULL_CLOSE_PROPOSED", max_reduce_notional_per_day_usd=Decimal(limit)))

    final = GRANTED if last == "granted" else ("refused", "daily_limit_exceeded")
    assert [*[GRANTED] * (len(notionals) - 1), final] == said


@pytest.mark.parametrize(
    ("price", "amounts", "last"),
    [
        (None, ["0.01999999"], "granted"),
        (None, ["0.02"], "granted"),
        (None, ["0.02000001"], "refused"),
        (None, ["0.0200000000001"], "refused"),
        (None, ["-0.015", "0.005"], "granted"),
        (None, ["-0.015", "0.00500001"], "refused"),
        ("", ["0.02000001"], "refused"),
        ("0", ["0.02000001"], "refused"),
        ("-1", ["0.02000001"], "refused"),
        ("50000", ["0.02000001"], "granted"),
        ("50000", ["7", "7", "7"], "granted"),
    ],
)
def test_the_quantity_of_a_day(desk: Desk, price: str | None, amounts: list[str], last: str) -> None:
    """Only where no price is known, a day's quantity may reach its limit and never pass it."""
    said = []
    for amount in amounts:
        desk.hold(amount, price)
        said.append(desk.decide(action="FULL_CLOSE_PROPOSED", max_reduce_qty_per_day=Decimal("0.02")))

    final = GRANTED if last == "granted" else ("refused", "daily_limit_exceeded")
    assert [*[GRANTED] * (len(amounts) - 1), final] == said


@pytest.mark.parametrize(
    ("score", "critical", "action", "verdict"),
    [
        (None, "0.8", "PARTIAL_75", "granted"),
        (0, "0.8", "PARTIAL_75", "granted"),
        (0.79, "0.8", "PARTIAL_75", "granted"),
        (0.7999999, "0.8", "PARTIAL_50", "granted"),
        (0.8, "0.8", "PARTIAL_75", "refused"),
        (0.8, "0.8", "PARTIAL_50", "refused"),
        (0.81, "0.8", "PARTIAL_75", "refused"),
        (0.81, "0.8", "PARTIAL_50", "refused"),
        (1, "0.8", "PARTIAL_50", "refused"),
        (0.79, "0.8", "FULL_CLOSE_PROPOSED", "granted"),
        (0.8, "0.8", "FULL_CLOSE_PROPOSED", "granted"),
        (0.81, "0.8", "FULL_CLOSE_PROPOSED", "granted"),
        (0.54, "0.539", "PARTIAL_75", "refused"),
        (0.539, "0.5391", "PARTIAL_75", "granted"),
        (0, "0", "PARTIAL_75", "refused"),
        (None, "0", "PARTIAL_75", "granted"),
    ],
)
def test_the_kill_score(desk: Desk, score: float | None, critical: str, action: str, verdict: str) -> None:
    """At or above the critical score only the action that closes the whole position passes."""
    expected = GRANTED if verdict == "granted" else ("refused", "kill_score_critical_non_close")

    assert expected == desk.decide(action=action, kill_score=score, kill_score_critical=Decimal(critical))


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (("kill_score_critical", "max_exec_per_hour"), "kill_score_critical_non_close"),
        (("max_exec_per_hour", "max_exec_per_5min"), "hourly_limit_exceeded"),
        (("max_exec_per_5min", "max_reduce_notional_per_day_usd"), "burst_limit_exceeded"),
        (("max_reduce_notional_per_day_usd", "max_reduce_qty_per_day"), "daily_limit_exceeded"),
    ],
)
def test_the_order_of_the_rules(desk: Desk, broken: tuple[str, str], reason: str) -> None:
    """Kill score, hour, 5 minutes, day: of two broken rules the earlier one is named."""
    assert ("refused", reason) == desk.decide(kill_score=0.5, **dict.fromkeys(broken, 0))


def test_symbols_do_not_share_limits(desk: Desk) -> None:
    """A symbol whose hour and day are used up leaves another symbol's untouched."""
    changed = {"max_exec_per_hour": 1, "max_exec_per_5min": 1, "max_reduce_notional_per_day_usd": Decimal(2325)}
    desk.hold("0.062", symbol="ETHUSDT")
    symbols = ("BTCUSDT", "ETHUSDT", "BTCUSDT", "ETHUSDT")

    said = [desk.decide(symbol=symbol, **changed) for symbol in symbols]

    assert [GRANTED] * 2 + [("refused", "hourly_limit_exceeded")] * 2 == said
    assert [["next-0"], ["next-1"]] == [list(desk.figures(symbol)["granted"]) for symbol in symbols[:2]]


@pytest.mark.parametrize(
    ("day", "next_day"),
    [
        ("2026-03-10", "2026-03-11"),
        ("2026-12-31", "2027-01-01"),
        ("2028-02-28", "2028-02-29"),
        ("2028-02-29", "2028-03-01"),
        ("2100-02-28", "2100-03-01"),
    ],
)
def test_the_day_ends_at_midnight_utc(desk: Desk, day: str, next_day: str) -> None:
    """A used-up day refuses up to its last millisecond and is forgotten with the first of the next date."""
    budget = {"max_reduce_notional_per_day_usd": Decimal(2325)}
    desk.clock.set(f"{day}T00:00:00")
    first = desk.decide(**budget)
    desk.clock.set(f"{day}T23:59:59.999")
    late = desk.decide(**budget)
    desk.clock.forward(1)

    assert (GRANTED, ("refused", "daily_limit_exceeded"), GRANTED) == (first, late, desk.decide(**budget))
    used = {"notional_micro": "2325000000", "qty_e8": "4650000"}
    assert {day: used, next_day: used} == desk.figures()["days"]


def test_the_hour_does_not_end_at_midnight(desk: Desk) -> None:
    """Rolling windows know no date: what was granted before midnight still counts after it."""
    desk.clock.set("2026-12-31T23:59:59.999")
    first = desk.decide(max_exec_per_hour=1)
    desk.clock.forward(1)

    assert (GRANTED, ("refused", "hourly_limit_exceeded")) == (first, desk.decide(max_exec_per_hour=1))


def test_a_clock_that_was_set_back_frees_nothing(desk: Desk) -> None:
    """After the server's clock went back an hour, grants that now lie in the future still count."""
    first = desk.decide(max_exec_per_hour=1, max_exec_per_5min=1)
    desk.clock.forward(-HOUR_MS)

    assert GRANTED == first
    assert ("refused", "hourly_limit_exceeded") == desk.decide(max_exec_per_hour=1, max_exec_per_5min=1)


def test_the_wide_limits_of_these_tests_bind_nothing(desk: Desk) -> None:
    """Forty plans of one moment pass, so that in these tests only the limit under test can refuse."""
    assert [GRANTED] * 40 == [desk.decide(kill_score=0.5) for _ in range(40)]
    assert not limits().enable_auto_disarm

"""The counters as read back: figures, percentiles and what is no counter."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.outcome import Ending
from tasks.reasons import Reason
from tasks.stats import Ended, Stats, Waits, counted_as, read_stats


def waits_of(values: list[int]) -> Waits:
    """A histogram as the scripts would have counted these waits."""
    fields: dict[str, str] = {}
    for value in values:
        first = value if value < 2000 else min(value - value % 100, 60_000)
        fields[f"wait_ok:{first}"] = str(int(fields.get(f"wait_ok:{first}", 0)) + 1)
    return read_stats(fields).ok_waits


def test_nothing_counted_is_nothing_seen() -> None:
    """A new deployment has figures, all of them empty: nothing has failed there."""
    empty = read_stats({})

    assert Stats() == empty
    assert (None, None, None) == (empty.first_ok_ms, empty.ok_waits.longest_ms, empty.ok_waits.percentile_ms(0.5))
    assert (0, {}, {}) == (empty.how_many("executed"), empty.by_reason(), empty.by_symbol("executed"))


def test_every_counter_is_read() -> None:
    """Each field becomes the figure of its name; the sentence beside them is none."""
    read = read_stats(
        {
            "about": "what this is",
            "taken_up": "9",
            "first_taken_up_ms": "1000",
            "first_ok_ms": "2000",
            "attempts": "31",
            "repeats": "2",
            "qty_not_positive": "1",
            "orders_doubled": "3",
            "wait_ok:345": "2",
            "wait_ok:27": "4",
            "wait_blocked:1203": "1",
            "ended:BTCUSDT:executed:": "4",
            "ended:ETHUSDT:dry_run:": "2",
            "ended:BTCUSDT:blocked:missing_p33": "1",
            "ended:other:blocked:symbol_not_allowed": "2",
            "ended:ETHUSDT:blocked:missing_p33": "2",
            "set_aside:plan_conflict": "1",
            "set_aside:invalid_intent": "5",
            "resolved:executed": "1",
        }
    )

    assert (9, 1000, 2000, 31, 2, 1, 3) == (
        read.taken_up,
        read.first_taken_up_ms,
        read.first_ok_ms,
        read.attempts,
        read.repeats,
        read.qty_not_positive,
        read.orders_doubled,
    )
    assert ((27, 4), (345, 2)) == read.ok_waits.counts
    assert ((1203, 1),) == read.blocked_waits.counts
    assert 4 == read.ended[Ended("BTCUSDT", "executed", "")]
    assert (4, 6, 5) == (read.how_many("executed"), read.how_many("executed", "dry_run"), read.how_many("blocked"))
    assert [("missing_p33", 3), ("symbol_not_allowed", 2)] == list(read.by_reason().items())
    assert [("BTCUSDT", 4), ("ETHUSDT", 2)] == list(read.by_symbol("executed", "dry_run").items())
    assert [("invalid_intent", 5), ("plan_conflict", 1)] == list(read.set_aside.items())
    assert {"executed": 1} == read.resolved
    assert () == read.unreadable


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("taken_up", "many"),
        ("wait_ok:soon", "1"),
        ("wait_ok:1:2", "1"),
        ("ended:BTCUSDT", "1"),
        ("new", "1"),
        ("", "-1"),
    ],
)
def test_what_is_no_counter_is_told(name: str, value: str) -> None:
    """A field that somebody else wrote, or another version, is named and left out."""
    read = read_stats({name: value, "repeats": "1"})

    assert (name,) == read.unreadable
    assert Stats(repeats=1, unreadable=(name,)) == read


@given(st.lists(st.integers(0, 1999), min_size=1, max_size=60), st.sampled_from([0.5, 0.95, 0.99, 1.0]))
def test_percentiles_are_exact_below_two_seconds(values: list[int], share: float) -> None:
    """The smallest wait that at least this share of all did not exceed, to the millisecond."""
    exact = min(value for value in values if sum(one <= value for one in values) >= share * len(values))

    assert exact == waits_of(values).percentile_ms(share)


@given(st.lists(st.integers(0, 59_999), min_size=1, max_size=60), st.sampled_from([0.5, 0.95, 0.99, 1.0]))
def test_percentiles_never_flatter(values: list[int], share: float) -> None:
    """Where waits are counted to 100 ms, the figure is the end of the step: never too small."""
    exact = min(value for value in values if sum(one <= value for one in values) >= share * len(values))
    told = waits_of(values).percentile_ms(share)

    assert told is not None
    assert exact <= told < exact + 100


def test_sums_and_slices_of_waits() -> None:
    """A histogram can be summed, cut into any steps, and its longest wait told."""
    values = [random.Random(7).randrange(1200) for _ in range(500)]
    waits = waits_of(values)

    assert (500, sum(values), max(values)) == (waits.total, waits.sum_ms, waits.longest_ms)
    assert sum(100 <= value < 200 for value in values) == waits.between(100, 200)
    assert 500 == waits.between(0, 600) + waits.between(600, float("inf"))


@pytest.mark.parametrize(
    ("ending", "expected"),
    [
        (Ending(decision="EXECUTE", executed=True, plan_id="p", symbol="BTCUSDT"), "BTCUSDT:executed:"),
        (Ending(decision="EXECUTE", would_execute=True, plan_id="p", symbol="BTCUSDT"), "BTCUSDT:dry_run:"),
        (
            Ending(decision="BLOCKED", plan_id="p", symbol="BTCUSDT", reason=Reason.MISSING_P33),
            "BTCUSDT:blocked:missing_p33",
        ),
        (
            Ending(decision="REJECTED", plan_id="p", symbol="BTCUSDT", reason=Reason.ORDER_REJECTED),
            "BTCUSDT:rejected:order_rejected",
        ),
        (
            Ending(decision="UNKNOWN", plan_id="p", symbol="BTCUSDT", reason=Reason.ORDER_UNKNOWN),
            "BTCUSDT:unknown:order_unknown",
        ),
        (
            Ending(decision="BLOCKED", plan_id="p", symbol="ANYTHING", reason=Reason.SYMBOL_NOT_ALLOWED),
            "other:blocked:symbol_not_allowed",
        ),
    ],
)
def test_an_end_is_counted_under_its_kind(ending: Ending, expected: str) -> None:
    """Symbol, how and reason; what anybody may send as a symbol makes no counters of its own."""
    assert expected == counted_as(ending, ("BTCUSDT", "ETHUSDT"))
    assert Ended(*expected.split(":"))

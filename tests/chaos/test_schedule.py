"""The schedule of the chaos run: the same for the same seed, and enough of everything."""

from collections import Counter

import pytest

from tests.chaos.schedule import CLIENTS, RATES, Kind, make_schedule

WORKERS = ("w1", "w2", "w3")
KILLS = (Kind.KILL, Kind.KILL_MAIN)


def test_a_seed_gives_one_schedule() -> None:
    """A run can be repeated from what it printed."""
    assert make_schedule("1", 60, WORKERS, WORKERS[2:]) == make_schedule("1", 60, WORKERS, WORKERS[2:])
    assert make_schedule("1", 60, WORKERS, WORKERS[2:]) != make_schedule("2", 60, WORKERS, WORKERS[2:])


@pytest.mark.parametrize("seed", ["1", "2", "3"])
def test_ten_minutes_hold_what_is_promised(seed: str) -> None:
    """In 10 minutes at least 50 kills of workers, 5 restarts of the server and 5 cuts of the broker."""
    counts = Counter(action.kind for action in make_schedule(seed, 600, WORKERS, WORKERS[2:]))

    assert 50 <= sum(counts[kind] for kind in KILLS)
    assert 5 <= counts[Kind.RESTART_STORE]
    assert 5 <= counts[Kind.RESTART_BROKER]
    assert 5 <= counts[Kind.CUT_BROKER]


@pytest.mark.parametrize("seconds", [5, 60, 600])
def test_every_kind_comes_in_time_and_within_its_bounds(seconds: int) -> None:
    """Every kind comes at least once, within the run, for as long as it may, and at a target that there is."""
    actions = make_schedule("1", seconds, WORKERS, WORKERS[2:])

    assert set(Kind) == {action.kind for action in actions}
    assert sorted(actions, key=lambda action: action.at_s) == list(actions)
    for action in actions:
        shortest_s, longest_s = RATES[action.kind].for_s
        assert 0 <= action.at_s <= seconds
        assert shortest_s <= action.for_s <= longest_s
        assert action.target in {"", *WORKERS, CLIENTS, "store", "broker"}


def test_children_are_killed_where_there_are_some() -> None:
    """Only a prefork worker has pool children."""
    actions = make_schedule("1", 600, WORKERS, WORKERS[2:])

    assert {"w3"} == {action.target for action in actions if action.kind is Kind.KILL_CHILD}
    assert set(WORKERS) == {action.target for action in actions if action.kind is Kind.KILL}

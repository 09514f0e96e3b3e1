"""The bounded wait: when a plan is looked at again."""

from itertools import count, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.settings import read_settings
from tasks.wait import LAST_LOOK_BEFORE_MS, WaitPolicy


def looks(policy: WaitPolicy) -> list[int]:
    """Milliseconds left at every look of a plan whose permits never come, if each look took no time."""
    left = [policy.wait_ms]
    for _ in count():
        if left[-1] <= 0:
            return left
        left.append(left[-1] - policy.pause_ms(left[-1]))
    raise AssertionError


@pytest.mark.parametrize(
    ("left_ms", "pause_ms"),
    [(1200, 100), (151, 100), (150, 100), (149, 99), (60, 10), (51, 1), (50, 51), (49, 50), (1, 2), (0, 0), (-7, 0)],
)
def test_the_pause_after_a_look(left_ms: int, pause_ms: int) -> None:
    """A step at first, then what is left until the last look, then a millisecond past the deadline."""
    assert pause_ms == WaitPolicy(1200, 100).pause_ms(left_ms)


def test_the_looks_of_a_default_wait() -> None:
    """With the contract's defaults a plan is looked at 14 times: every step, once 50 ms before the end, once after."""
    assert [*range(1200, 199, -100), 100, 50, -1] == looks(WaitPolicy())


def test_the_defaults_are_those_of_the_settings() -> None:
    """The policy and the settings name the same figures."""
    configured = read_settings(_env_file=None)

    assert WaitPolicy(configured.permit_wait_ms, configured.permit_step_ms) == WaitPolicy()


@settings(max_examples=300, deadline=None, database=None, derandomize=True)
@given(wait_ms=st.integers(1, 60_000), step_ms=st.integers(10, 10_000))
def test_every_wait_ends_just_past_its_deadline(wait_ms: int, step_ms: int) -> None:
    """Pauses are never longer than the step, lead to the deadline and not beyond, and are few."""
    left = looks(WaitPolicy(wait_ms, step_ms))
    pauses = [before - after for before, after in pairwise(left)]

    assert left[-1] in {-1, 0}
    assert 1 <= min(pauses) <= max(pauses) <= step_ms
    assert any(0 < each <= LAST_LOOK_BEFORE_MS for each in left)
    assert wait_ms <= LAST_LOOK_BEFORE_MS or LAST_LOOK_BEFORE_MS in left
    assert len(left) <= wait_ms // step_ms + LAST_LOOK_BEFORE_MS // step_ms + 4


@pytest.mark.parametrize(("lease_left_ms", "pause_ms"), [(10_000, 100), (100, 100), (99, 99), (1, 1), (0, 1), (-5, 1)])
def test_the_pause_while_another_attempt_holds_the_claim(lease_left_ms: int, pause_ms: int) -> None:
    """A step, or the rest of the lease where that is shorter, and never no pause at all."""
    assert pause_ms == WaitPolicy(1200, 100).busy_pause_ms(lease_left_ms)


@pytest.mark.parametrize(("left_ms", "pause_ms"), [(1200, 1202), (1, 3), (0, 2), (-500, 2)])
def test_the_verdict_falls_just_after_the_deadline(left_ms: int, pause_ms: int) -> None:
    """A watched plan is looked at once more, and that look finds no time left."""
    assert pause_ms == WaitPolicy().verdict_after_ms(left_ms)

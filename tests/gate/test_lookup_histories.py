"""Random fates of an order at a venue outside Redis: whatever is concluded about it is true, and something is."""

from dataclasses import dataclass, replace
from itertools import count
from typing import Final, TypeVar

import pytest
import redis
from hypothesis import HealthCheck, event, given
from hypothesis import settings as profile
from hypothesis import strategies as st

from tasks.act import Again, execute_once
from tasks.confirm import confirm
from tasks.consume import Consumed
from tasks.keys import Keys
from tasks.lookup import BOUND_MS, LEAST_MS, LONGEST_PAUSE_MS
from tasks.outcome import Outcome
from tasks.parts import Parts
from tasks.venues import Receipt
from tests.gate.far_bed import FILLED, MOST_ATTEMPTS, SHOWS_WITHIN_MS, WINDOW_MS, FarVenue
from tests.gate.test_record import consume
from tests.helpers import grant, intent_of, record_of, results_of
from tests.judges.desk import FixedClock

_DELAY_MS: Final = 4_000
_SHOWN_BY_MS: Final = WINDOW_MS + SHOWS_WITHIN_MS
_FATES: Final = ("answered", "unanswered", "lost before the last check", "lost after it", "lost after sending")
_NEVER: Final = 10**9

Entry = TypeVar("Entry")


@dataclass(frozen=True)
class History:
    """What becomes of one order; times are ms since the consumption. After the lists their last entry repeats.

    Attributes:
        fate: of the claimant.
        accepted_ms: when the venue takes the order, if it does and something was sent.
        shown_ms: when it shows it.
        answers: whether the venue answers a lookup.
        slow_ms: how long it takes from what it finds to its answer.
        delays_ms: how much later than due an attempt comes.
        deaths: whether an attempt dies with the claim in its hands.
    """

    fate: str
    accepted_ms: int
    shown_ms: int
    answers: list[bool]
    slow_ms: list[int]
    delays_ms: list[int]
    deaths: list[bool]


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Every history in which the venue keeps its promise: accepted within the window, shown in time."""
    fate = draw(st.sampled_from(_FATES))
    accepted = draw(st.one_of(st.just(_NEVER), st.integers(0, WINDOW_MS), st.just(WINDOW_MS)))
    if fate in {"lost before the last check", "lost after it"}:
        accepted = _NEVER
    shown = draw(st.one_of(st.just(_SHOWN_BY_MS), st.integers(0, _SHOWN_BY_MS))) if accepted != _NEVER else _NEVER
    return History(
        fate,
        accepted,
        max(shown, accepted),
        draw(st.lists(st.booleans(), min_size=1, max_size=30)),
        draw(st.lists(st.sampled_from([0, 0, 1, _DELAY_MS]), min_size=1, max_size=10)),
        draw(st.lists(st.sampled_from([0, 0, 1, _DELAY_MS]), min_size=1, max_size=10)),
        [*draw(st.lists(st.sampled_from([False, False, True]), max_size=5)), False],
    )


def nth(entries: list[Entry], number: int) -> Entry:
    """The entry, or the last one."""
    return entries[min(number, len(entries) - 1)]


class World:
    """One plan's history, played to its end."""

    def __init__(self, parts: Parts, clock: FixedClock, client: redis.Redis, plan_id: str, history: History) -> None:
        self.venue = FarVenue(submits=self._submit, finds=self._find)
        self.parts = replace(parts, venue=self.venue)
        self.clock, self.client, self.plan_id, self.history = clock, client, plan_id, history
        self.intent = intent_of(plan_id)
        self.consumed_ms = 0

    @property
    def now_ms(self) -> int:
        """Since the consumption."""
        return int(self.clock.seconds * 1000) - self.consumed_ms

    def _submit(self) -> Receipt:
        if self.history.fate == "answered" and self.history.accepted_ms == 0:
            return FILLED
        raise TimeoutError

    def _find(self) -> Receipt | None:
        number = self.venue.lookups - 1
        found = FILLED if self.now_ms >= self.history.shown_ms else None
        self.clock.forward(nth(self.history.slow_ms, number))
        if not nth(self.history.answers, number):
            raise TimeoutError
        return found

    def play(self) -> Outcome:
        """From the consumption to the outcome."""
        keys, gate, fate = self.parts.gate.keys, self.parts.gate, self.history.fate
        grant(self.client, keys, self.plan_id)
        self.consumed_ms = int(self.clock.seconds * 1000)
        if fate.startswith("lost"):
            consumed = consume(self.parts, self.intent, f"{self.plan_id}-claimant")
            assert isinstance(consumed, Consumed)
            if fate != "lost before the last check":
                confirm(self.parts, self.plan_id, consumed.claim)
        for turn in range(MOST_ATTEMPTS):
            step = execute_once(self.parts, self.intent)
            if isinstance(step, Outcome):
                return step
            assert isinstance(step, Again)
            left_ms = int(record_of(self.client, keys, self.plan_id)["lease_until_ms"]) - self.consumed_ms - self.now_ms
            self.clock.forward(max(left_ms, 1) + nth(self.history.delays_ms, turn))
            if nth(self.history.deaths, turn):
                gate.look(self.intent, f"{self.plan_id}-dies-{turn}")
                self.clock.forward(self.parts.settings.claim_lease_ms)
        pytest.fail(f"no outcome after {MOST_ATTEMPTS} attempts")


def check(world: World) -> None:
    """One outcome, and it is true."""
    history, outcome = world.history, world.play()
    accepted = history.accepted_ms != _NEVER
    event(f"{history.fate}: {outcome.decision}")
    results = results_of(world.client, world.parts.gate.keys)
    lease_ms = world.parts.settings.claim_lease_ms
    late_ms = max(0, lease_ms + _DELAY_MS + LEAST_MS - BOUND_MS)
    lost_ms = len(history.deaths) * (lease_ms + _DELAY_MS) + LONGEST_PAUSE_MS + 3 * _DELAY_MS

    assert outcome.decision in ({"EXECUTE", "UNKNOWN"} if accepted else {"BLOCKED", "UNKNOWN"})
    assert outcome.reason in {"", "interrupted", "order_unknown"}
    assert outcome.decision != "UNKNOWN" or (world.now_ms >= BOUND_MS and not all(history.answers))
    assert world.now_ms <= BOUND_MS + late_ms + lost_ms
    assert 1 == [entry["plan_id"] for entry in results].count(world.plan_id)
    assert len(world.venue.orders) == int(not history.fate.startswith("lost"))
    assert outcome == execute_once(world.parts, world.intent)


@pytest.mark.fault("F1", "F2", "F28", "F31")
def test_whatever_is_concluded_is_true(
    monkeypatch: pytest.MonkeyPatch, client: redis.Redis, keys: Keys, parts: Parts
) -> None:
    """An order that was taken is never given up, one that was not is never adopted, and every plan ends in time."""
    clock, numbers = FixedClock(monkeypatch, client, keys), count(1)

    @profile(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(histories())
    def play(history: History) -> None:
        check(World(parts, clock, client, f"plan-{next(numbers)}", history))

    play()

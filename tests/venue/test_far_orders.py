"""Whatever a venue outside Redis does with an order: at most one is accepted, and the plan's one outcome is true."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import pytest
import redis

from tasks.act import Again, execute_once
from tasks.keys import Keys
from tasks.outcome import Outcome
from tasks.parts import Parts
from tests.helpers import grant, intent_of, results_of, run_to_outcome, wait_until
from tests.venue.behaviour import BEHAVIOURS, Behaviour
from tests.venue.process import VenueProcess

#: Short enough for many orders one after the other.
QUICK: Final = {"timeout_ms": 250, "window_ms": 400, "shows_within_ms": 400}

ADOPTED: Final = ("EXECUTE", "", 1)
ABSENT: Final = ("BLOCKED", "interrupted", 0)
REFUSED: Final = ("REJECTED", "order_rejected", 0)

#: Where the order, or an answer, is to come: a busy machine has all the time it needs for that.
PATIENT: Final = {ADOPTED: {"window_ms": 10_000, "shows_within_ms": 10_000}, REFUSED: {"timeout_ms": 10_000}}

#: How each behaviour ends: decision, reason, accepted orders.
ENDS: Final[dict[str, tuple[Behaviour, tuple[str, str, int]]]] = {
    "accepts": (BEHAVIOURS["accept"], ADOPTED),
    "accepts slowly": (Behaviour(before_ms=100, after_ms=300), ADOPTED),
    "accepts and hangs": (BEHAVIOURS["accept_and_hang"], ADOPTED),
    "accepts and resets": (BEHAVIOURS["accept_and_reset"], ADOPTED),
    "accepts and fails": (BEHAVIOURS["accept_and_fail"], ADOPTED),
    "accepts, hangs, shows it late": (Behaviour(then="hang", hides_ms=700), ADOPTED),
    "accepts, hangs, cannot be asked": (Behaviour(then="hang", lookup="reset", lookup_ms=600), ADOPTED),
    "hangs": (BEHAVIOURS["hang"], ABSENT),
    "resets": (BEHAVIOURS["reset"], ABSENT),
    "fails": (BEHAVIOURS["fail"], ABSENT),
    "refuses": (BEHAVIOURS["refuse"], REFUSED),
    "refuses and hangs": (BEHAVIOURS["refuse_and_hang"], ABSENT),
    "takes it up after its window": (Behaviour(before_ms=700), ABSENT),
    "fills half": (BEHAVIOURS["half_then_expired"], ADOPTED),
    "fills half and hangs": (BEHAVIOURS["half_then_expired_and_hang"], ADOPTED),
    "fills nothing": (BEHAVIOURS["expired"], ("REJECTED", "order_rejected", 1)),
    "fills nothing and hangs": (Behaviour(fills="none", then="hang"), ("REJECTED", "order_rejected", 1)),
    "acknowledges first": (BEHAVIOURS["acknowledge_first"], ADOPTED),
}


@pytest.fixture(scope="module")
def venue() -> Iterator[VenueProcess]:
    """One venue for all tests here; each has a plan of its own."""
    with VenueProcess() as running:
        yield running


def of_plan(entries: list[dict[str, Any]], plan_id: str) -> list[dict[str, Any]]:
    """The venue's entries about one plan."""
    return [entry for entry in entries if entry["plan_id"] == plan_id]


@pytest.mark.parametrize("number", range(len(ENDS)), ids=list(ENDS))
@pytest.mark.fault("F28", "F31", "F35")
def test_an_order_ends_as_it_is(
    client: redis.Redis, keys: Keys, parts: Parts, venue: VenueProcess, number: int
) -> None:
    """Each way a venue treats an order has its one end, and the venue's own journal agrees with it."""
    behaviour, (decision, reason, accepted) = list(ENDS.values())[number]
    plan_id = f"plan-{number}"
    venue.script(plan_id, behaviour)
    grant(client, keys, plan_id)
    options = PATIENT.get((decision, reason, accepted), {})
    far = replace(parts, venue=venue.adapter(**QUICK | options))
    outcome = run_to_outcome(far, intent_of(plan_id))
    journal = of_plan(venue.accepted(), plan_id)

    assert (decision, reason, accepted) == (outcome.decision, outcome.reason, len(journal))
    assert outcome == execute_once(far, intent_of(plan_id))
    assert [decision] == [entry["decision"] for entry in results_of(client, keys)]
    if decision == "EXECUTE":
        step = outcome.steps_results[0]
        facts = ("order_id", "side", "status", "executed_qty")
        assert [journal[0][name] for name in facts] == [step[name] for name in facts]
        assert journal[0]["client_order_id"] == outcome.client_order_id
        assert journal[0]["at_ms"] <= journal[0]["until_ms"]


@pytest.mark.fault("F28")
def test_a_request_that_comes_late_is_refused(
    client: redis.Redis, keys: Keys, parts: Parts, venue: VenueProcess
) -> None:
    """The venue holds to the window that it was given: what it takes up later is refused as out of time."""
    venue.script("late", Behaviour(before_ms=700))
    grant(client, keys, "late")
    run_to_outcome(replace(parts, venue=venue.adapter(**QUICK)), intent_of("late"))
    wait_until(lambda: of_plan(venue.refused(), "late"), "the refusal")

    assert ["-1021"] == [entry["code"] for entry in of_plan(venue.refused(), "late")]


@pytest.mark.fault("F28")
def test_a_venue_that_is_restarted_still_has_the_order(client: redis.Redis, keys: Keys, parts: Parts) -> None:
    """The venue dies after it accepted: nothing is concluded while it is away, and then the order is adopted."""
    with VenueProcess() as venue:
        far = replace(parts, venue=venue.adapter(**QUICK | PATIENT[ADOPTED]))
        venue.script("plan-1", "accept_and_hang")
        grant(client, keys, "plan-1")
        asked = far.venue.lookup
        venue_lookups: list[object] = []

        def die_first(order: Any) -> Any:
            if not venue_lookups:
                venue.kill()
            venue_lookups.append(order)
            return asked(order)

        far.venue.lookup = die_first  # type: ignore[method-assign] # the moment of its first lookup
        steps = [execute_once(far, intent_of()) for _ in range(2)]
        venue.start()
        outcome = run_to_outcome(far, intent_of())

        assert all(isinstance(step, Again) for step in steps)
        assert outcome.executed
        assert 1 == len(venue.accepted())


def test_a_doubled_submission_shows(client: redis.Redis, keys: Keys, parts: Parts, venue: VenueProcess) -> None:
    """The test venue does not hide what these tests look for: the same request twice is two orders."""
    far = venue.adapter(**QUICK | PATIENT[ADOPTED])
    requests: list[Any] = []
    grant(client, keys, "twice")
    venue.script("twice", "accept")
    submit = far.submit

    def remember(order: Any, claim: Any) -> Any:
        requests.append((order, claim))
        return submit(order, claim)

    far.submit = remember  # type: ignore[method-assign] # to have the very request
    outcome = run_to_outcome(replace(parts, venue=far), intent_of("twice"))
    submit(*requests[0])

    assert isinstance(outcome, Outcome)
    assert 2 == len(of_plan(venue.accepted(), "twice"))

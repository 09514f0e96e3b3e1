"""An order whose fate is unclear is looked up until found, surely absent, or the bound passes; never sent again."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tasks.act import Again, execute_once
from tasks.consume import Busy, Claim, Consumed
from tasks.dispatch import dispatch
from tasks.errors import StoreUnavailable
from tasks.intent import ExecuteIntent
from tasks.keys import client_order_id
from tasks.lookup import BOUND_MS, LEAST_MS, MISSES_WANTED, NotYet, look_up, stop_submitting
from tasks.outcome import Outcome
from tasks.parts import Parts
from tasks.settings import Settings
from tasks.venues import Receipt
from tests.gate.far_bed import FILLED, NEW, SHOWS_WITHIN_MS, WINDOW_MS, Bed, one_after_the_other
from tests.gate.test_record import consume
from tests.helpers import grant, hold, intent_of, orders_of

#: An order that the venue could accept until the end of its window is surely shown from here on.
SHOWN_BY_MS = WINDOW_MS + SHOWS_WITHIN_MS


def lost_claimant(bed: Bed, *, sent: bool) -> Claim:
    """An executor that consumed, and was lost before or after its request left."""
    grant(bed.client, bed.keys, "plan-1")
    consumed = consume(bed.parts, intent_of(), "first")
    assert isinstance(consumed, Consumed)
    if sent:
        dispatch(bed.parts, intent_of(), consumed)
    bed.clock.forward(bed.parts.settings.claim_lease_ms)
    return consumed.claim


@pytest.mark.fault("F28")
def test_an_order_that_never_shows_is_interrupted(bed: Bed) -> None:
    """No answer and no order: blocked, but not before the venue had to show it, and after enough misses."""
    bed.venue.finds = lambda: None
    outcome = bed.end()

    assert ("BLOCKED", "interrupted", False, "0.008") == (
        outcome.decision,
        outcome.reason,
        outcome.executed,
        outcome.safe_qty,
    )
    assert SHOWN_BY_MS <= bed.since_consumption_ms() < BOUND_MS
    assert ["missed"] * len(bed.found()) == bed.found()
    assert MISSES_WANTED <= len(bed.found()) == bed.venue.lookups
    assert 1 == len(bed.venue.orders)


def test_lookups_are_spread(bed: Bed) -> None:
    """The first lookup comes at once, then the pauses grow to two seconds and stay there."""
    pauses = [step.pause_ms for step in bed.steps() if isinstance(step, Again)]

    assert [250, 500, 1_000, 2_000, 2_000] == pauses[:5]
    assert all(pause <= 2_000 for pause in pauses)
    assert BOUND_MS == sum(pauses)


@pytest.mark.parametrize("hidden_ms", [0, 1, 300, WINDOW_MS, SHOWN_BY_MS - 1, SHOWN_BY_MS])
@pytest.mark.fault("F31")
def test_an_order_that_shows_late_is_adopted(bed: Bed, hidden_ms: int) -> None:
    """However late within its promise the venue shows an accepted order: executed, never given up."""
    bed.venue.finds = lambda: FILLED if bed.since_consumption_ms() >= hidden_ms else None
    outcome = bed.end()

    assert ("EXECUTE", True, "far-1") == (
        outcome.decision,
        outcome.executed,
        outcome.steps_results[0]["order_id"],
    )
    assert 1 == len(bed.venue.orders)


@pytest.mark.fault("F31")
def test_a_lookup_counts_from_its_beginning(bed: Bed) -> None:
    """A miss that was on its way while the order came to light proves nothing, however late it arrives."""

    def slowly() -> Receipt | None:
        found = FILLED if bed.since_consumption_ms() >= SHOWN_BY_MS else None
        bed.clock.forward(2_000)
        return found

    bed.venue.finds = slowly

    assert bed.end().executed
    assert MISSES_WANTED < bed.venue.lookups


@pytest.mark.fault("F28")
def test_a_venue_that_cannot_be_asked_leaves_the_order_unknown(bed: Bed) -> None:
    """No definite answer until the bound: unknown, right then, and what the Governor reserved stays reserved."""
    bed.client.hset(bed.keys.governor_reservation("plan-1"), "qty_e8", "800000")
    bed.client.expire(bed.keys.governor_reservation("plan-1"), 60)
    bed.client.hset(bed.keys.snapshot("BTCUSDT"), "position_amt", "0.062")
    outcome = bed.end()

    assert ("UNKNOWN", "order_unknown", False, False, "0.008") == (
        outcome.decision,
        outcome.reason,
        outcome.executed,
        outcome.would_execute,
        outcome.safe_qty,
    )
    assert outcome.client_order_id == bed.venue.orders[0].client_order_id
    assert ("unknown", BOUND_MS) == (bed.record()["state"], bed.since_consumption_ms())
    assert 1 == bed.client.exists(bed.keys.governor_reservation("plan-1"))
    assert 0 == bed.client.exists(bed.keys.snapshot("BTCUSDT"))
    assert 1 == len(bed.venue.orders)


@pytest.mark.fault("F28")
def test_a_venue_that_answers_now_and_then(bed: Bed) -> None:
    """Misses count, failures between them do not: it takes as many misses as ever to give an order up."""
    bed.venue.finds = one_after_the_other(*[None, StoreUnavailable("down")] * 20)
    outcome = bed.end()

    assert "interrupted" == outcome.reason
    assert MISSES_WANTED <= bed.found().count("missed")
    assert "missed" == bed.found()[-1]


@pytest.mark.parametrize("sent", [True, False])
@pytest.mark.fault("F1", "F2", "F28")
def test_a_claimant_lost_beside_a_silent_venue(bed: Bed, *, sent: bool) -> None:
    """Until the bound it may be found. Then it is unknown where a request may have left, and else there is none."""
    lost_claimant(bed, sent=sent)
    outcome = bed.end()

    assert ("order_unknown" if sent else "interrupted") == outcome.reason
    assert BOUND_MS == bed.since_consumption_ms()
    assert int(sent) == len(bed.venue.orders)


@pytest.mark.parametrize("sent", [True, False])
@pytest.mark.parametrize("found", [FILLED, None])
@pytest.mark.fault("F1", "F2")
def test_a_lost_claimant_is_cleared_up(bed: Bed, found: Receipt | None, *, sent: bool) -> None:
    """What is found is adopted, even unmarked. One miss is enough where nothing left, and else it takes all of them."""
    lost_claimant(bed, sent=sent)
    bed.venue.finds = lambda: found
    outcome = bed.end()

    assert (("EXECUTE", "") if found else ("BLOCKED", "interrupted")) == (outcome.decision, outcome.reason)
    assert (1 if found or not sent else MISSES_WANTED) == bed.venue.lookups
    assert int(sent) == len(bed.venue.orders)


def test_a_plan_found_after_a_long_outage_is_looked_up_for_a_while(bed: Bed) -> None:
    """The bound has long passed when somebody comes: the order is still looked for, and then unknown."""
    lost_claimant(bed, sent=True)
    bed.clock.forward(10 * BOUND_MS)
    first_ms = bed.since_consumption_ms()

    assert "order_unknown" == bed.end().reason
    assert first_ms + LEAST_MS == bed.since_consumption_ms()


@pytest.mark.fault("F2", "F4")
def test_every_look_may_be_the_last_of_its_worker(bed: Bed) -> None:
    """A lookup that is never noted costs a lease, and no more: the sweep finds the plan due, and it ends."""
    claim = lost_claimant(bed, sent=True)
    bed.venue.finds = lambda: None
    for _ in range(MISSES_WANTED - 1):
        assert isinstance(execute_once(bed.parts, intent_of()), Again)
        bed.clock.forward(2_000)
        bed.parts.gate.look(intent_of(), "dies")
        due_ms = bed.client.zscore(bed.keys.open, "plan-1")
        bed.clock.forward(bed.parts.settings.claim_lease_ms)

        assert due_ms == int(bed.record()["lease_until_ms"]) + 2_000
    assert "interrupted" == bed.end().reason
    assert not stop_submitting(bed.parts, intent_of(), claim, Receipt("unknown"))


@pytest.mark.fault("F17")
def test_a_note_sent_twice_counts_once(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    """A note whose answer was lost is re-sent, and is one miss."""
    claim = lost_claimant(bed, sent=True)
    bed.venue.finds = lambda: None
    claim = replace(claim, token=takeover(bed))
    run = bed.parts.store.run

    def twice(script: str, *given: object, **options: bool) -> list[object]:
        run(script, *given, **options)  # type: ignore[arg-type] # passed on as given
        return run(script, *given, **options)  # type: ignore[arg-type] # passed on as given

    monkeypatch.setattr(bed.parts.store, "run", twice)
    found = look_up(bed.parts, intent_of(), claim)

    assert NotYet(250) == found
    assert ("1", "1", ["missed"]) == (bed.record()["misses"], bed.record()["lookups"], bed.found())


def takeover(bed: Bed, token: str = "second") -> str:  # noqa: S107 - a claim's token
    """The lease is over, and this attempt looks."""
    bed.parts.gate.look(intent_of(), token)
    return token


def test_only_the_holder_is_listened_to(bed: Bed) -> None:
    """A lookup of an attempt that lost its claim, or may still submit, counts for nothing."""
    grant(bed.client, bed.keys, "plan-1")
    consumed = consume(bed.parts, intent_of(), "first")
    assert isinstance(consumed, Consumed)
    bed.venue.finds = lambda: None
    may_submit = look_up(bed.parts, intent_of(), consumed.claim)
    bed.clock.forward(bed.parts.settings.claim_lease_ms)
    takeover(bed)
    lost = look_up(bed.parts, intent_of(), consumed.claim)

    assert (NotYet(100), NotYet(100)) == (may_submit, lost)
    assert "misses" not in bed.record()
    assert [] == bed.found()


def test_another_venue_knows_nothing(bed: Bed) -> None:
    """A worker whose venue is not the one that was sent the order cannot say that there is none."""
    lost_claimant(bed, sent=True)
    other = bed.with_venue(name="elsewhere", finds=lambda: None)
    outcome = other.end()

    assert "order_unknown" == outcome.reason
    assert {"unanswered"} == set(bed.found())


def test_a_dry_run_sends_nothing(bed: Bed, settings: Settings) -> None:
    """In dry run no request leaves and nothing is looked up."""
    parts = replace(bed.parts, settings=settings.model_copy(update={"mode": "dry_run"}))
    outcome = replace(bed, parts=parts).end()

    assert ("EXECUTE", False, True) == (outcome.decision, outcome.executed, outcome.would_execute)
    assert ([], 0) == (bed.venue.orders, bed.venue.lookups)
    assert "submitted_ms" not in bed.record()


def test_the_event_loop_takes_no_claim_over(bed: Bed) -> None:
    """A look on the event loop leaves an abandoned claim to the attempt behind it, which then need not wait."""
    lost_claimant(bed, sent=True)
    bed.venue.finds = lambda: FILLED
    looks: list[tuple[ExecuteIntent, str]] = [(intent_of(), "loop")]

    assert [Busy(0)] == bed.parts.gate.look_many(looks)
    assert isinstance(execute_once(bed.parts, intent_of()), Outcome)


@pytest.mark.parametrize("answer", [FILLED, NEW, Receipt("rejected", code="-1"), Receipt("unknown")])
@pytest.mark.parametrize("found", [FILLED, None])
@pytest.mark.fault("F2", "F28")
def test_an_answer_that_outlasts_the_lease(bed: Bed, answer: Receipt, found: Receipt | None) -> None:
    """The claimant hears from the venue after others have ended its plan: their outcome stands, told to all."""
    told: list[Outcome] = []

    def slowly() -> Receipt:
        bed.clock.forward(bed.parts.settings.claim_lease_ms)
        while not isinstance(step := execute_once(bed.parts, intent_of()), Outcome):
            bed.clock.forward(step.pause_ms)
        told.append(step)
        return answer

    bed.venue.submits, bed.venue.finds = slowly, lambda: found

    assert bed.end() == told[0]
    assert (("EXECUTE", "") if found else ("BLOCKED", "interrupted")) == (told[0].decision, told[0].reason)
    assert 1 == len(bed.venue.orders)


def test_a_paper_order_that_was_accepted_is_never_given_up(bed: Bed, make_parts: Callable[..., Parts]) -> None:
    """The paper venue marks the record in the step that accepts: an order it cannot show any more is not absent."""
    paper = replace(bed, parts=make_parts(bed.parts.settings))
    hold(bed.client, bed.keys)
    lost_claimant(paper, sent=True)
    bed.client.delete(bed.keys.paper_order(client_order_id("plan-1")))

    assert "order_unknown" == paper.end().reason
    assert 1 == len(orders_of(bed.client, bed.keys))


Change = Callable[[Bed], object]


@pytest.mark.parametrize(
    "trouble",
    [
        lambda bed: bed.client.set(bed.keys.kill_switch, "true"),
        lambda bed: bed.client.delete(bed.keys.permit("governor", "plan-1")),
    ],
)
def test_what_comes_after_the_request_changes_nothing(bed: Bed, trouble: Change) -> None:
    """A request already on the wire is not recalled: an order found is adopted, kill switch or not."""
    steps = bed.steps()
    assert isinstance(next(steps), Again)
    trouble(bed)
    bed.venue.finds = lambda: FILLED
    *_, last = steps

    assert isinstance(last, Outcome)
    assert last.executed

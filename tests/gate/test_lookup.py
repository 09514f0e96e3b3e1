"""An order whose fate is unclear is looked up until found, surely absent, or the bound passes; never sent again."""

from collections.abc import Callable
from dataclasses import replace
from itertools import chain, repeat

import pytest
import redis

from tasks.act import Again, execute_once
from tasks.consume import Busy, Claim, Consumed
from tasks.dispatch import dispatch
from tasks.errors import StoreUnavailable
from tasks.intent import ExecuteIntent
from tasks.keys import Keys
from tasks.lookup import BOUND_MS, LEAST_MS, MISSES_WANTED, NotYet, look_up, stop_submitting
from tasks.outcome import Outcome
from tasks.parts import Parts
from tasks.settings import Settings
from tasks.venues import Receipt, Status
from tests.gate.far_bed import FILLED, NEW, SHOWS_WITHIN_MS, WINDOW_MS, Bed, FarVenue, Says, silent
from tests.gate.test_record import consume
from tests.helpers import grant, intent_of, texts
from tests.judges.desk import FixedClock

#: An order that the venue could accept until the end of its window is surely shown from here on.
SHOWN_BY_MS = WINDOW_MS + SHOWS_WITHIN_MS


@pytest.fixture
def bed(monkeypatch: pytest.MonkeyPatch, client: redis.Redis, keys: Keys, parts: Parts) -> Bed:
    """A silent venue, and a clock that stands."""
    clock, venue = FixedClock(monkeypatch, client, keys), FarVenue()
    return Bed(replace(parts, venue=venue), venue, client, clock)


def one_after_the_other(*says: Receipt | Exception | None) -> Says:
    """Each of these in its turn, and then the last one for ever."""
    turns = chain(says, repeat(says[-1]))

    def say() -> Receipt | None:
        said = next(turns)
        if isinstance(said, Exception):
            raise said
        return said

    return say


def lost_claimant(bed: Bed, *, sent: bool) -> Claim:
    """An executor that consumed, and was lost before or after its request left."""
    grant(bed.client, bed.keys, "plan-1")
    consumed = consume(bed.parts, intent_of(), "first")
    assert isinstance(consumed, Consumed)
    if sent:
        dispatch(bed.parts, intent_of(), consumed)
    bed.clock.forward(bed.parts.settings.claim_lease_ms)
    return consumed.claim


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


def test_a_lookup_counts_from_its_beginning(bed: Bed) -> None:
    """A miss that was on its way while the order came to light proves nothing, however late it arrives."""

    def slowly() -> Receipt | None:
        found = FILLED if bed.since_consumption_ms() >= SHOWN_BY_MS else None
        bed.clock.forward(2_000)
        return found

    bed.venue.finds = slowly

    assert bed.end().executed
    assert MISSES_WANTED < bed.venue.lookups


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


def test_a_venue_that_answers_now_and_then(bed: Bed) -> None:
    """Misses count, failures between them do not: it takes as many misses as ever to give an order up."""
    bed.venue.finds = one_after_the_other(*[None, StoreUnavailable("down")] * 20)
    outcome = bed.end()

    assert "interrupted" == outcome.reason
    assert MISSES_WANTED <= bed.found().count("missed")
    assert "missed" == bed.found()[-1]


@pytest.mark.parametrize("sent", [True, False])
def test_a_claimant_lost_beside_a_silent_venue(bed: Bed, *, sent: bool) -> None:
    """Until the bound it may be found. Then it is unknown where a request may have left, and else there is none."""
    lost_claimant(bed, sent=sent)
    outcome = bed.end()

    assert ("order_unknown" if sent else "interrupted") == outcome.reason
    assert BOUND_MS == bed.since_consumption_ms()
    assert int(sent) == len(bed.venue.orders)


@pytest.mark.parametrize("sent", [True, False])
@pytest.mark.parametrize("found", [FILLED, None])
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


@pytest.mark.parametrize("status", ["new", "partially_filled"])
@pytest.mark.parametrize("where", ["answer", "lookup"])
def test_a_working_order_is_followed_up(bed: Bed, where: str, status: Status) -> None:
    """An accepted order that still executes is looked at until its figures are final, and those are recorded."""
    working = replace(NEW, status=status, executed_qty="0.003" if status == "partially_filled" else "0")
    finds = one_after_the_other(working, working, None, FILLED)
    bed.venue.submits, bed.venue.finds = ((lambda: working) if where == "answer" else silent), finds
    outcome = bed.end()

    assert ("EXECUTE", True) == (outcome.decision, outcome.executed)
    assert ("filled", "0.008") == tuple(outcome.steps_results[0][name] for name in ("status", "executed_qty"))
    assert ["working", "working", "missed"] == bed.found()


def test_a_working_order_is_executed_at_the_bound(bed: Bed) -> None:
    """An order that is still working at the bound was accepted: executed, with the figures so far."""
    bed.venue.finds = lambda: replace(NEW, status="partially_filled", executed_qty="0.003")
    outcome = bed.end()

    assert ("EXECUTE", True, "0.003") == (
        outcome.decision,
        outcome.executed,
        outcome.steps_results[0]["executed_qty"],
    )
    assert BOUND_MS == bed.since_consumption_ms()


@pytest.mark.parametrize("mark_lost", [False, True])
def test_an_order_that_was_seen_is_never_given_up(bed: Bed, *, mark_lost: bool) -> None:
    """The venue said it has the order and then shows none for ever: that is unknown, not absent."""

    def accept() -> Receipt:
        if mark_lost:
            bed.client.hdel(bed.keys.record("plan-1"), "submitted_ms")
        return NEW

    bed.venue.submits, bed.venue.finds = accept, lambda: None

    assert "order_unknown" == bed.end().reason
    assert BOUND_MS == bed.since_consumption_ms()


@pytest.mark.parametrize("where", ["answer", "lookup"])
@pytest.mark.parametrize(
    ("status", "executed", "decision", "left"),
    [
        ("filled", "0.008", "EXECUTE", "0.054"),
        ("expired", "0.003", "EXECUTE", "0.059"),
        ("canceled", "0.0031", "EXECUTE", "0.0589"),
        ("expired", "0", "REJECTED", "0.062"),
        ("canceled", "0.000", "REJECTED", "0.062"),
    ],
)
def test_the_ledger_moves_by_what_was_executed(
    bed: Bed, where: str, status: Status, executed: str, decision: str, left: str
) -> None:
    """A partly executed order is told with its status and figures, and moves the ledger by exactly those."""
    ended = replace(FILLED, status=status, executed_qty=executed)
    bed.venue.submits, bed.venue.finds = (lambda: ended) if where == "answer" else silent, lambda: ended
    bed.client.hset(bed.keys.ledger("BTCUSDT"), "last_known_amt", "0.062")
    bed.client.expire(bed.keys.ledger("BTCUSDT"), 60)
    outcome = bed.end()
    step = outcome.steps_results[0]
    ledger = texts(bed.client.hgetall(bed.keys.ledger("BTCUSDT")))  # type: ignore[arg-type] # bytes

    assert (decision, status) == (outcome.decision, step["status"])
    assert decision == "REJECTED" or ("0.008", executed) == (step["quantity"], step["executed_qty"])
    assert left == ledger["last_known_amt"]


def test_a_refusal_that_is_found_later_is_a_refusal(bed: Bed) -> None:
    """An order that the venue refused after it had taken it in ends as rejected, with its words."""
    bed.venue.finds = lambda: Receipt("rejected", code="-2022", message="would not reduce")
    outcome = bed.end()

    assert ("REJECTED", "order_rejected") == (outcome.decision, outcome.reason)
    assert "-2022" in outcome.steps_results[0]["details"]


BROKEN: dict[str, Says] = {
    "raises": one_after_the_other(KeyError("orderId")),
    "nonsense": lambda: Receipt("kill_switch"),
    "no figures": lambda: Receipt("accepted"),
    "exponents": lambda: replace(FILLED, executed_qty="8E-3"),
    "no side": lambda: replace(FILLED, side=""),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_adapter_ends_nothing_wrongly(bed: Bed, broken: str) -> None:
    """Whatever an adapter raises or makes up in a lookup: no conclusion is drawn from it, and the plan ends."""
    bed.venue.finds = BROKEN[broken]

    assert "order_unknown" == bed.end().reason
    assert {"unanswered"} == set(bed.found())


@pytest.mark.parametrize("broken", ["raises", "no figures", "exponents", "no side"])
def test_a_broken_answer_to_an_order_is_looked_up(bed: Bed, broken: str) -> None:
    """An answer that cannot be read says nothing about the order: it is looked up, and found."""
    bed.venue.submits, bed.venue.finds = BROKEN[broken], lambda: FILLED

    assert bed.end().executed
    assert 1 == len(bed.venue.orders)


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

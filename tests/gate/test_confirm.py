"""The last check before an order leaves for a venue outside Redis: once per plan, never later than the lease."""

from collections.abc import Callable
from itertools import count
from typing import Final

import pytest

from tasks.act import Again, execute_once
from tasks.confirm import confirm
from tasks.consume import Claim, Consumed
from tasks.dispatch import dispatch
from tasks.errors import StoreUnavailable
from tasks.lookup import stop_submitting
from tasks.outcome import Outcome, blocked_ending
from tasks.reasons import Reason
from tasks.venues import Receipt, Window
from tests.gate.far_bed import FILLED, WINDOW_MS, Bed
from tests.gate.test_record import consume
from tests.helpers import grant, intent_of, stream

LEASE_MS: Final = 10_000


@pytest.fixture(autouse=True)
def _open_venue(bed: Bed) -> None:
    """It fills at once, and shows it."""
    bed.venue.submits = bed.venue.finds = lambda: FILLED


def consumed(bed: Bed) -> Consumed:
    """The permits are gone, and nothing was sent yet."""
    grant(bed.client, bed.keys, "plan-1")
    answer = consume(bed.parts, intent_of(), "first")
    assert isinstance(answer, Consumed)
    return answer


@pytest.mark.parametrize(("paused_ms", "left_ms"), [(0, WINDOW_MS), (LEASE_MS - WINDOW_MS, WINDOW_MS), (9_999, 1)])
def test_the_window_never_outlasts_the_lease(bed: Bed, paused_ms: int, left_ms: int) -> None:
    """The venue may accept the order for as long as it asks for, and not after the lease."""
    claim = consumed(bed).claim
    bed.clock.forward(paused_ms)
    window = confirm(bed.parts, "plan-1", claim)

    assert isinstance(window, Window)
    assert left_ms == window.left_ms
    assert int(bed.clock.seconds * 1000) + left_ms == window.until_ms <= claim.lease_until_ms
    assert window.left_now_ms() <= left_ms


def test_the_mark_is_there_before_the_request_leaves(bed: Bed) -> None:
    """While the venue is asked to take the order, the record says that it is, by whom, and until when."""
    seen: list[dict[str, str]] = []

    def submits() -> Receipt:
        seen.append(bed.record())
        return FILLED

    bed.venue.submits = submits
    outcome = bed.end()
    order, record = bed.venue.orders[0], seen[0]

    assert outcome.executed
    assert order.window is not None
    assert ("far", str(order.window.until_ms)) == (record["venue"], record["accept_until_ms"])
    assert WINDOW_MS == order.window.until_ms - int(record["submitted_ms"])
    assert "sending" in [entry["event"] for entry in stream(bed.client, bed.keys.timeline("plan-1"))]


@pytest.mark.fault("F5")
def test_a_claim_submits_once(bed: Bed) -> None:
    """The same claim, asked to dispatch again, finds the mark: only one request ever leaves."""
    claimed = consumed(bed)
    answers = [dispatch(bed.parts, intent_of(), claimed).answer for _ in range(3)]

    assert ["accepted", "claim_lost", "claim_lost"] == answers
    assert 1 == len(bed.venue.orders)


@pytest.mark.fault("F17")
def test_a_check_sent_twice_is_one(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    """A check whose answer was lost is re-sent, and gets the first window again."""
    claim, run = consumed(bed).claim, bed.parts.store.run

    def twice(script: str, *given: object, **options: bool) -> list[object]:
        run(script, *given, **options)  # type: ignore[arg-type] # passed on as given
        bed.clock.forward(100)
        return run(script, *given, **options)  # type: ignore[arg-type] # passed on as given

    until_ms = int(bed.clock.seconds * 1000) + WINDOW_MS
    monkeypatch.setattr(bed.parts.store, "run", twice)
    window = confirm(bed.parts, "plan-1", claim)

    assert isinstance(window, Window)
    assert (until_ms, WINDOW_MS - 100) == (window.until_ms, window.left_ms)


Meanwhile = Callable[[Bed, Claim], object]


def after_lease(bed: Bed, do: Callable[[], object]) -> None:
    """What somebody else does once the lease is over."""
    bed.clock.forward(LEASE_MS)
    do()


LOST: Final[dict[str, Meanwhile]] = {
    "lease over": lambda bed, _: bed.clock.forward(LEASE_MS),
    "taken over": lambda bed, _: after_lease(bed, lambda: bed.parts.gate.look(intent_of(), "second")),
    "may only look up": lambda bed, claim: stop_submitting(bed.parts, intent_of(), claim, Receipt("unknown")),
    "ended": lambda bed, _: after_lease(bed, lambda: execute_once(bed.parts, intent_of())),
    "ended in time": lambda bed, _: bed.parts.gate.finish(
        blocked_ending("plan-1", "BTCUSDT", Reason.NOT_DURABLE, ""), "first", "consumed"
    ),
    "record gone": lambda bed, _: bed.client.delete(bed.keys.record("plan-1")),
    "another's": lambda bed, _: bed.client.hset(bed.keys.record("plan-1"), "token", "second"),
}


@pytest.mark.parametrize("loss", LOST)
@pytest.mark.fault("F1", promise="a claimant that was paused until its claim was over sends nothing")
def test_a_lost_claim_sends_nothing(bed: Bed, loss: str) -> None:
    """A claimant that was paused until its claim was over, or another's, or the plan had ended, sends nothing."""
    claimed = consumed(bed)
    LOST[loss](bed, claimed.claim)

    assert "claim_lost" == dispatch(bed.parts, intent_of(), claimed).answer
    assert [] == bed.venue.orders


@pytest.mark.parametrize("switch", ["true", "1", "OFF", " ", "a list"])
def test_a_switch_set_after_the_consumption_stops_the_order(bed: Bed, switch: str) -> None:
    """The kill switch is read once more right before the request leaves: blocked, nothing sent and nothing marked."""
    claimed = consumed(bed)
    if switch == "a list":
        bed.client.rpush(bed.keys.kill_switch, "off")
    else:
        bed.client.set(bed.keys.kill_switch, switch)

    assert "kill_switch" == dispatch(bed.parts, intent_of(), claimed).answer
    assert [] == bed.venue.orders
    assert "submitted_ms" not in bed.record()


def test_a_pause_after_the_check_is_noticed(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that was paused for longer than its window while it asked does not even send."""
    claimed = consumed(bed)
    passed_s = count(0, WINDOW_MS / 1000)
    monkeypatch.setattr("tasks.confirm.monotonic", lambda: next(passed_s))
    monkeypatch.setattr("tasks.venues.monotonic", lambda: next(passed_s))

    assert "claim_lost" == dispatch(bed.parts, intent_of(), claimed).answer
    assert [] == bed.venue.orders


def test_a_late_switch_ends_the_plan_as_blocked(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan whose permits are consumed when the switch is set ends as kill_switch."""
    run = bed.parts.store.run

    def after_consumption(script: str, *given: object, **options: bool) -> list[object]:
        if script == "confirm_claim":
            bed.client.set(bed.keys.kill_switch, "true")
        return run(script, *given, **options)  # type: ignore[arg-type] # passed on as given

    monkeypatch.setattr(bed.parts.store, "run", after_consumption)
    outcome = bed.end()

    assert ("BLOCKED", "kill_switch", False) == (outcome.decision, outcome.reason, outcome.executed)
    assert [] == bed.venue.orders


@pytest.mark.parametrize("ran", [False, True])
@pytest.mark.fault("F17", "F21")
def test_a_check_without_an_answer_sends_nothing(bed: Bed, monkeypatch: pytest.MonkeyPatch, *, ran: bool) -> None:
    """Redis does not answer the last check: nothing is sent, by nobody, and the plan ends as interrupted."""
    run = bed.parts.store.run

    def lost(script: str, *given: object, **options: bool) -> list[object]:
        if script == "confirm_claim" and not ran:
            raise StoreUnavailable("lost on the way there")
        answer = run(script, *given, **options)  # type: ignore[arg-type] # passed on as given
        if script == "confirm_claim":
            raise StoreUnavailable("lost on the way back")
        return answer

    monkeypatch.setattr(bed.parts.store, "run", lost)
    bed.venue.finds = lambda: None
    outcome = bed.end()

    assert ("BLOCKED", "interrupted") == (outcome.decision, outcome.reason)
    assert [] == bed.venue.orders


def test_a_lost_claim_leaves_the_plan_to_its_holder(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    """An attempt that finds its claim lost at the last check ends nothing, and waits for the holder."""
    run = bed.parts.store.run

    def taken_over(script: str, *given: object, **options: bool) -> list[object]:
        if script == "confirm_claim":
            bed.clock.forward(LEASE_MS)
            bed.parts.gate.look(intent_of(), "second")
        return run(script, *given, **options)  # type: ignore[arg-type] # passed on as given

    monkeypatch.setattr(bed.parts.store, "run", taken_over)
    grant(bed.client, bed.keys, "plan-1")
    step = execute_once(bed.parts, intent_of())

    assert isinstance(step, Again)
    assert ([], 0) == (bed.venue.orders, bed.venue.lookups)
    bed.clock.forward(LEASE_MS)
    assert isinstance(execute_once(bed.parts, intent_of()), Outcome)

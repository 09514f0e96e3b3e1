"""How plans come to each of their ends: what happens on the way, with the shipped scripts."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final, cast

import pytest

from tasks import governor, position
from tasks.act import Again, execute_once
from tasks.errors import InvalidIntent, StoreUnavailable
from tasks.intent import parse_intent
from tasks.outcome import Outcome
from tasks.refuse import refuse
from tasks.submit import _register
from tasks.venues import Order, Receipt
from tests.helpers import GOVERNOR, P33, grant, hold, intent_of, run_to_outcome
from tests.judges.desk import limits
from tests.judges.position_bed import NO_REST, Watched, give_ledger, silent
from tests.ops.explain_stand import P26, Stand
from workers.sweep import sweep_once

Do = Callable[[Stand], Any]

#: The wait of a plan whose permits are not to come, ms.
IN_VAIN_MS: Final = 50


def wait_in_vain(*come: str) -> Do:
    """Only these permits come."""

    def do(stand: Stand) -> None:
        texts = {"governor": GOVERNOR, "p33": P33, "p26": P26}
        stand.begin(intent_of(), IN_VAIN_MS)
        for name in come:
            stand.client.set(stand.keys.permit(name, "plan-1"), texts[name], ex=60)
        run_to_outcome(stand.parts, intent_of())

    return do


def with_p26(do: Do) -> Do:
    """The same where p26 is required too."""

    def wider(stand: Stand) -> None:
        stand.configure(permits=("governor", "p33", "p26"))
        do(stand)

    return wider


def ours_silent(*names: str) -> Do:
    """Our own judges are asked and never answer."""

    def do(stand: Stand) -> None:
        stand.begin(intent_of(), IN_VAIN_MS)
        for judge, evaluate in (("governor", governor.evaluate), ("p33", position.evaluate)):
            if judge not in names:
                evaluate(stand.parts, stand.bounds if judge == "governor" else stand.rest, intent_of())
        run_to_outcome(stand.parts, intent_of())

    return do


def late_judge(stand: Stand) -> None:
    """The Governor answers after the plan's end, and its worker lives."""
    stand.begin(intent_of(), IN_VAIN_MS)
    run_to_outcome(stand.parts, intent_of())
    for name in ("governor", "p33"):
        stand.parts.store.note(stand.keys.heartbeat(name), "w", 16)
    governor.evaluate(stand.parts, stand.bounds, intent_of())


def gone_again(stand: Stand) -> None:
    """The Governor's permit comes, and is deleted before the other one could come."""
    stand.begin(intent_of(), IN_VAIN_MS)
    stand.client.set(stand.keys.permit("governor", "plan-1"), GOVERNOR, ex=60)
    execute_once(stand.parts, intent_of())
    stand.client.delete(stand.keys.permit("governor", "plan-1"))
    run_to_outcome(stand.parts, intent_of())


def bounded(**changed: Any) -> Do:
    """Our Governor has these limits, and one plan has used them."""

    def do(stand: Stand) -> None:
        stand.bounds = limits(**changed)
        stand.play("plan-0", close_qty=0.001)
        stand.play()

    return do


def an_hour_passes(stand: Stand) -> None:
    """As the Governor sees it: its grants are an hour older."""
    granted = stand.keys.governor_exec("BTCUSDT")
    for plan, score in cast("list[tuple[bytes, float]]", stand.client.zrange(granted, 0, -1, withscores=True)):
        stand.client.zadd(granted, {plan: score - 3_600_000})


def raise_limit(stand: Stand) -> None:
    stand.bounds = limits()


def critical(stand: Stand) -> None:
    stand.bounds = limits(kill_score_critical=Decimal("0.8"))
    stand.play(kill_score=0.9)


def silent_venue(stand: Stand) -> None:
    """The venue cannot be asked by the Governor."""
    stand.parts = replace(stand.parts, venue=Watched(stand.parts.venue, before=silent))
    stand.play()


def venue_answers(stand: Stand) -> None:
    stand.configure()


def broken_venue(stand: Stand) -> None:
    """The Governor meets an error of its own."""

    def fail(question: int) -> None:
        if question == 1:
            raise ZeroDivisionError

    stand.parts = replace(stand.parts, venue=Watched(stand.parts.venue, before=fail))
    stand.play()


def nothing_held(stand: Stand) -> None:
    stand.client.delete(stand.keys.paper_position("BTCUSDT"))
    stand.play()


def no_position(stand: Stand) -> None:
    """Position answers first, so that its own refusal ends the plan."""
    stand.client.delete(stand.keys.paper_position("BTCUSDT"))
    position_only(stand)


def position_only(stand: Stand, **fields: Any) -> None:
    stand.begin(intent_of(**fields))
    position.evaluate(stand.parts, stand.rest, intent_of(**fields))
    run_to_outcome(stand.parts, intent_of(**fields))


def ledger_says(amount: str) -> Do:
    def do(stand: Stand) -> None:
        give_ledger(stand.client, stand.keys, amount)
        stand.play()

    return do


def no_snapshot(stand: Stand) -> None:
    stand.parts = replace(stand.parts, venue=Watched(stand.parts.venue, before=silent))
    position_only(stand)


def too_soon(stand: Stand) -> None:
    stand.rest = NO_REST.model_copy(update={"cooldown_sec": Decimal(15)})
    stand.play("plan-0", close_qty=0.001)
    stand.play()


def rested(stand: Stand) -> None:
    stand.rest = NO_REST


def held_by_another(stand: Stand) -> None:
    stand.begin(intent_of("plan-0"))
    position.evaluate(stand.parts, stand.rest, intent_of("plan-0"))
    position_only(stand)


def the_other_ends(stand: Stand) -> None:
    governor.evaluate(stand.parts, stand.bounds, intent_of("plan-0"))
    run_to_outcome(stand.parts, intent_of("plan-0"))


def below_step(stand: Stand) -> None:
    position_only(stand, close_qty=0.0004)


def outside(permit: str, text: str) -> Do:
    return lambda stand: stand.denied(permit, text)


def block_record(stand: Stand) -> None:
    """A service outside refuses as the system we re-create does: with a record, and no permit."""
    stand.begin(intent_of())
    stand.client.set(stand.keys.governor_block("plan-1"), '{"reason": "rate_limit"}', ex=60)
    run_to_outcome(stand.parts, intent_of())


def never_expires(stand: Stand) -> None:
    stand.begin(intent_of())
    grant(stand.client, stand.keys, "plan-1")
    stand.client.persist(stand.keys.permit("governor", "plan-1"))
    run_to_outcome(stand.parts, intent_of())


def all_too_late(stand: Stand) -> None:
    """Every permit comes, after the deadline and before anybody looked again."""
    stand.begin(intent_of())
    stand.client.hset(stand.keys.record("plan-1"), "deadline_ms", "1000")
    grant(stand.client, stand.keys, "plan-1")
    run_to_outcome(stand.parts, intent_of())


def halted(stand: Stand) -> None:
    stand.run("halt", "--reason", "exchange maintenance")
    stand.play()


def no_intent(stand: Stand) -> None:
    try:
        parse_intent({"plan_id": "plan-1", "symbol": 5, "action": "PARTIAL_75", "decision": "EXECUTE"})
    except InvalidIntent as invalid:
        refuse(stand.parts, invalid, "plan-1", {"symbol": 5})


def never_taken_up(stand: Stand) -> None:
    """Registered, and its message is lost: the sweep of any worker ends it."""
    _register(intent_of(), stand.parts.settings, [])
    stand.client.zadd(stand.keys.open, {"plan-1": 1})
    sweep_once(stand.parts, lambda _: None)


def now_s(stand: Stand) -> float:
    return float(stand.parts.store.now_s())


def cancelled(stand: Stand) -> None:
    stand.begin(intent_of())
    said = stand.run("open", "--cancel", "plan-1", "--by", "alice", "--reason", "wrong size", "--yes")
    assert 0 == said.code


def redis_away(stand: Stand) -> None:
    """Redis stands still over the whole wait."""
    stand.begin(intent_of(), IN_VAIN_MS)
    impatient = replace(stand.make(stand.parts.settings), name="w")
    impatient.store.client.connection_pool.connection_kwargs["socket_timeout"] = 0.05
    stand.client.client_pause(300, all=True)
    step = execute_once(impatient, intent_of())
    assert isinstance(step, Again)
    assert step.store_error
    assert isinstance(execute_once(stand.parts, intent_of(), store_error=step.store_error), Outcome)


def no_copies(stand: Stand) -> None:
    stand.configure(consume_acks=1)
    stand.play()


def fewer_copies(stand: Stand) -> None:
    stand.configure(consume_acks=0)


def lose_worker(stand: Stand) -> None:
    """The permits of a plan are consumed, and then its worker is lost."""

    def lose(_: object) -> None:
        raise KeyboardInterrupt

    intent = intent_of()
    stand.begin(intent)
    stand.judge(intent)
    lost = replace(stand.parts, venue=Watched(stand.parts.venue, before_submit=lose), name="celery@lost")
    with pytest.raises(KeyboardInterrupt):
        run_to_outcome(lost, intent)


def worker_lost(stand: Stand) -> None:
    lose_worker(stand)
    stand.client.hset(stand.keys.record("plan-1"), "lease_until_ms", "1000")
    run_to_outcome(stand.parts, intent_of())


def venue_refuses(stand: Stand) -> None:
    """The position shrinks between the permit and the order."""
    intent = intent_of()
    stand.begin(intent)
    grant(stand.client, stand.keys, "plan-1")
    hold(stand.client, stand.keys, "0.001")
    run_to_outcome(stand.parts, intent)


def holds_again(stand: Stand) -> None:
    hold(stand.client, stand.keys)


class Speechless(Watched):
    """A venue that answers no question about an order."""

    def lookup(self, order: Order) -> Receipt | None:
        """See `Venue.lookup`."""
        raise StoreUnavailable(f"timed out asking for {order.client_order_id}")


def order_unknown(stand: Stand) -> None:
    """Sent, its worker lost, and the venue answers no lookup until the bound has passed."""
    lose_worker(stand)
    long_ago = dict.fromkeys(("lease_until_ms", "submitted_ms", "accept_until_ms", "give_up_ms"), "1000")
    stand.client.hset(stand.keys.record("plan-1"), mapping=cast("Any", long_ago | {"venue": "paper"}))
    execute_once(replace(stand.parts, venue=Speechless(stand.parts.venue)), intent_of())

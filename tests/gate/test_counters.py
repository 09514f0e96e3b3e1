"""The counters on the real server: each decision counts once, in its own step, and a count never stops a plan."""

from collections.abc import Callable
from typing import Any

import pytest
import redis

from tasks.act import execute_once
from tasks.by_hand import Refused, Resolved, resolve
from tasks.consume import Abandoned, Consumed
from tasks.dispatch import dispatch
from tasks.errors import InvalidIntent
from tasks.intent import ExecuteIntent, parse_intent
from tasks.judge import Ready, Stands, judge
from tasks.keys import Keys
from tasks.outcome import Ending, Outcome
from tasks.parts import Parts
from tasks.reasons import Reason
from tasks.refuse import refuse
from tasks.settings import Settings
from tasks.stats import Ended, Stats, read_stats
from tests.helpers import grant, hold, intent_of, record_of, results_of, run_to_outcome, texts

MakeParts = Callable[[Settings], Parts]


@pytest.fixture
def counted(client: redis.Redis, keys: Keys) -> Callable[[], Stats]:
    """Reads the counters as they are now."""
    return lambda: read_stats(texts(client.hgetall(keys.stats)))  # type: ignore[arg-type] # bytes, as this client answers


def ready_of(parts: Parts, intent: ExecuteIntent, token: str) -> Ready:
    """What the judge says about permits that lie there."""
    stands = parts.gate.look(intent, token)
    assert isinstance(stands, Stands)
    ready = judge(stands, intent, parts.rules, parts.venue.step(intent.symbol))
    assert isinstance(ready, Ready)
    return ready


def kinds(stats: Stats) -> dict[str, int]:
    """Every kind of end and how often it was counted."""
    return {":".join(ended): count for ended, count in stats.ended.items()}


def test_an_executed_plan_counts_once_in_every_figure(
    client: redis.Redis, keys: Keys, parts: Parts, counted: Callable[[], Stats]
) -> None:
    """Taken up, consumed after its wait, ended: one each, with the very wait and times of the record."""
    hold(client, keys)
    execute_once(parts, intent_of())
    grant(client, keys, "plan-1")
    outcome = run_to_outcome(parts, intent_of())
    record, stats = record_of(client, keys, "plan-1"), counted()

    assert outcome.executed
    assert 1 == stats.taken_up
    assert ((outcome.wait_ms, 1),) == stats.ok_waits.counts
    assert () == stats.blocked_waits.counts
    assert {"BTCUSDT:executed:": 1} == kinds(stats)
    assert outcome.attempts == stats.attempts == 2
    assert (int(record["taken_up_ms"]), int(record["consumed_ms"])) == (stats.first_taken_up_ms, stats.first_ok_ms)
    assert (0, 0, 0, {}) == (stats.qty_not_positive, stats.orders_doubled, stats.repeats, stats.set_aside)
    assert () == stats.unreadable


def test_the_first_of_all_stays_the_first(
    client: redis.Redis, keys: Keys, parts: Parts, counted: Callable[[], Stats]
) -> None:
    """When the first plan was taken up and the first permits consumed does not move with later ones."""
    hold(client, keys)
    for number in range(3):
        grant(client, keys, f"plan-{number}")
        run_to_outcome(parts, intent_of(f"plan-{number}"))
    first, stats = record_of(client, keys, "plan-0"), counted()

    assert (int(first["taken_up_ms"]), int(first["consumed_ms"])) == (stats.first_taken_up_ms, stats.first_ok_ms)
    assert (3, 3, {"BTCUSDT:executed:": 3}) == (stats.taken_up, stats.ok_waits.total, kinds(stats))


def test_a_blocked_plan_counts_its_reason_and_its_wait(
    client: redis.Redis, keys: Keys, settings: Settings, make_parts: MakeParts, counted: Callable[[], Stats]
) -> None:
    """A plan without permits counts as its reason, and its wait among those of blocked plans."""
    parts = make_parts(settings.model_copy(update={"permit_wait_ms": 50, "permit_step_ms": 10}))
    client.set(keys.permit("governor", "plan-1"), "{}", ex=60)
    outcomes = [run_to_outcome(parts, intent_of(plan_id)) for plan_id in ("plan-1", "plan-2")]
    stats = counted()

    assert {"BTCUSDT:blocked:invalid_governor_permit": 1, "BTCUSDT:blocked:missing_both": 1} == kinds(stats)
    assert sorted(outcome.wait_ms for outcome in outcomes) == [ms for ms, _ in stats.blocked_waits.counts]
    assert (2, 0, None) == (stats.taken_up, stats.ok_waits.total, stats.first_ok_ms)


def test_what_is_sent_twice_counts_once(
    client: redis.Redis, keys: Keys, parts: Parts, counted: Callable[[], Stats]
) -> None:
    """Look, consumption and end, each re-sent with its token, and a takeover: the same figures as once."""
    grant(client, keys, "plan-1")
    ready = ready_of(parts, intent_of(), "first")
    again = [parts.gate.look(intent_of(), "first"), *(parts.gate.consume(intent_of(), "first", ready) for _ in "12")]
    client.hset(keys.record("plan-1"), "lease_until_ms", "1000")
    taken_over = parts.gate.look(intent_of(), "second")
    ending = Ending(decision="BLOCKED", plan_id="plan-1", symbol="BTCUSDT", reason=Reason.INTERRUPTED)
    for _ in range(2):
        parts.gate.finish(ending, "second", "consumed")
    parts.gate.finish(ending, "third", "consumed")
    stats = counted()

    assert [Stands, Consumed, Consumed, Abandoned] == [type(answer) for answer in (*again, taken_over)]
    assert (1, 1, 1) == (stats.taken_up, stats.ok_waits.total, stats.attempts)
    assert {"BTCUSDT:blocked:interrupted": 1} == kinds(stats)
    assert () == stats.blocked_waits.counts


def test_a_repeat_counts_as_a_repeat_only(
    client: redis.Redis, keys: Keys, parts: Parts, counted: Callable[[], Stats]
) -> None:
    """A finished plan that is sent again moves no figure but the one of repeats."""
    hold(client, keys)
    grant(client, keys, "plan-1")
    first = run_to_outcome(parts, intent_of())
    before, record = counted(), record_of(client, keys, "plan-1")
    again = [execute_once(parts, intent_of()) for _ in range(2)]

    assert [first, first] == again
    assert record == record_of(client, keys, "plan-1")
    assert 2 == counted().repeats
    assert before == Stats(**(vars(counted()) | {"repeats": 0}))


def test_a_symbol_that_is_not_allowed_makes_no_counter(parts: Parts, counted: Callable[[], Stats]) -> None:
    """However many symbols somebody sends, they are one counter."""
    for number in range(20):
        run_to_outcome(parts, intent_of(f"plan-{number}", symbol=f"ANY{number}USDT"))

    assert {"other:blocked:symbol_not_allowed": 20} == kinds(counted())


def test_messages_set_aside_count_by_reason(
    client: redis.Redis, keys: Keys, parts: Parts, counted: Callable[[], Stats]
) -> None:
    """As many as there are in the stream, by reason; those that got a result entry also as an end."""
    parts.gate.look(intent_of(), "first")
    execute_once(parts, intent_of(action="PARTIAL_50"))
    for message, task_id in ((None, "task-1"), (None, "task-1"), ({"plan_id": "plan-1", "symbol": 5}, "plan-1")):
        with pytest.raises(InvalidIntent) as found:
            parse_intent(message)
        refuse(parts, found.value, task_id, message)
    parts.gate.keep_junk("execute", b"{", "not JSON")
    stats = counted()

    assert {"plan_conflict": 1, "invalid_intent": 3, "undecodable": 1} == stats.set_aside
    assert sum(stats.set_aside.values()) == client.xlen(keys.rejected)
    assert {"other:blocked:invalid_intent": 1} == kinds(stats)
    assert len(results_of(client, keys)) == sum(stats.ended.values())


def test_a_quantity_that_is_not_positive_shows(
    client: redis.Redis, keys: Keys, parts: Parts, counted: Callable[[], Stats]
) -> None:
    """The judge never lets one through; should another caller, the counters say so."""
    for plan_id, quantity in (("plan-1", "0.000"), ("plan-2", "0.0000000000000000000000000001")):
        grant(client, keys, plan_id)
        ready = ready_of(parts, intent_of(plan_id), "first")
        keys_and_args = parts.gate._call(intent_of(plan_id), "first", "consume", quantity, ready.judged)
        assert b"consumed" == parts.store.run("consume_permits", *keys_and_args)[0]

    assert (1, 2) == (counted().qty_not_positive, counted().ok_waits.total)


def test_a_doubled_order_shows(client: redis.Redis, keys: Keys, parts: Parts, counted: Callable[[], Stats]) -> None:
    """The paper venue does not hide a second order under one client order id: journal and counters show it."""
    hold(client, keys)
    grant(client, keys, "plan-1")
    consumed = parts.gate.consume(intent_of(), "first", ready_of(parts, intent_of(), "first"))
    assert isinstance(consumed, Consumed)
    receipts = [dispatch(parts, intent_of(), consumed).answer]
    once = counted().orders_doubled
    receipts.append(dispatch(parts, intent_of(), consumed).answer)

    assert ["accepted", "accepted"] == receipts
    assert (0, 1) == (once, counted().orders_doubled)


def test_an_unknown_order_that_is_resolved_counts_once(
    client: redis.Redis, keys: Keys, parts: Parts, counted: Callable[[], Stats]
) -> None:
    """It stays counted as unknown, and beside that as what an operator found; said again it is not counted again."""
    grant(client, keys, "plan-1")
    assert isinstance(parts.gate.consume(intent_of(), "first", ready_of(parts, intent_of(), "first")), Consumed)
    unknown = Ending(decision="UNKNOWN", plan_id="plan-1", symbol="BTCUSDT", reason=Reason.ORDER_UNKNOWN)
    parts.gate.finish(unknown, "first", "consumed")
    said = [resolve(parts, "plan-1", None, "operator", "the venue has none") for _ in range(2)]

    assert [Resolved, Refused] == [type(answer) for answer in said]
    assert {"BTCUSDT:unknown:order_unknown": 1} == kinds(counted())
    assert {"not_executed": 1} == counted().resolved


@pytest.mark.parametrize(
    ("wait_ms", "first_ms", "last_ms"),
    [
        (1500, 1500, 1999),
        (2010, 2000, 2000),
        (59_910, 59_900, 59_900),
        (61_000, 60_000, 60_000),
        (10**9, 60_000, 60_000),
    ],
)
def test_long_waits_are_counted_in_steps(
    client: redis.Redis,
    keys: Keys,
    parts: Parts,
    counted: Callable[[], Stats],
    wait_ms: int,
    first_ms: int,
    last_ms: int,
) -> None:
    """Exact below two seconds, to 100 ms below a minute, one counter above: an outage makes no endless list."""
    grant(client, keys, "plan-1")
    ready = ready_of(parts, intent_of(), "first")
    now_ms = int(parts.store.now_s() * 1000)
    client.hset(keys.record("plan-1"), mapping={"taken_up_ms": now_ms - wait_ms, "deadline_ms": now_ms + 60_000})
    consumed = parts.gate.consume(intent_of(), "first", ready)
    assert isinstance(consumed, Consumed)
    ((counted_ms, count),) = counted().ok_waits.counts

    assert 1 == count
    assert first_ms <= counted_ms <= last_ms
    assert counted_ms in {consumed.claim.wait_ms, first_ms}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda client, key: client.set(key, "text"),
        lambda client, key: client.xadd(key, {"a": "b"}, maxlen=5),
        lambda client, key: client.hset(
            key, mapping=dict.fromkeys(("taken_up", "attempts", "ended:BTCUSDT:executed:"), "many")
        ),
    ],
    ids=["string", "stream", "no numbers"],
)
def test_a_count_never_stops_a_plan(
    client: redis.Redis, keys: Keys, parts: Parts, spoil: Callable[[redis.Redis, str], Any]
) -> None:
    """Where nothing can be counted, plans are executed, blocked, repeated and set aside as ever, once each."""
    spoil(client, keys.stats)
    hold(client, keys)
    grant(client, keys, "plan-1")
    outcomes = [run_to_outcome(parts, intent_of()), execute_once(parts, intent_of())]
    parts.gate.look(intent_of("plan-2"), "first")
    conflict = execute_once(parts, intent_of("plan-2", action="PARTIAL_50"))
    client.set(keys.kill_switch, "true")
    blocked = run_to_outcome(parts, intent_of("plan-2"))
    parts.gate.keep_junk("execute", b"{", "not JSON")

    assert outcomes[0] == outcomes[1]
    assert isinstance(outcomes[0], Outcome)
    assert (True, "kill_switch") == (outcomes[0].executed, blocked.reason)
    assert isinstance(conflict, Outcome)
    assert "plan_conflict" == conflict.reason
    assert 2 == len(results_of(client, keys)) == client.xlen(keys.rejected)
    client.delete(keys.stats)


def test_counters_are_stored_as_a_table(client: redis.Redis, keys: Keys, parts: Parts) -> None:
    """From the first plan on Redis keeps them hashed: a count does not walk over all others."""
    parts.gate.look(intent_of(), "first")

    assert b"hashtable" == client.object("encoding", keys.stats)


def test_a_plan_that_nobody_took_up_waited_for_nothing(
    client: redis.Redis, keys: Keys, parts: Parts, counted: Callable[[], Stats]
) -> None:
    """Ended from its registration by the sweep: it counts as blocked, and in no histogram."""
    client.hset(keys.record("plan-1"), mapping={"state": "registered", "content": intent_of().content})
    ending = Ending(decision="BLOCKED", plan_id="plan-1", symbol="BTCUSDT", reason=Reason.PLAN_EXPIRED)
    parts.gate.finish(ending, "sweep", "registered")
    stats = counted()

    assert {Ended("BTCUSDT", "blocked", "plan_expired"): 1} == stats.ended
    assert (0, ()) == (stats.taken_up, stats.blocked_waits.counts)

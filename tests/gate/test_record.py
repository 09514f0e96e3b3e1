"""The record of a plan on the real server: one deadline, one claim, one outcome, whatever is sent twice or lost."""

from collections.abc import Callable
from typing import cast

import pytest
import redis

from tasks.act import Again, execute_once
from tasks.consume import Abandoned, Answer, Busy, Claim, Conflict, Consumed, Finished
from tasks.dispatch import dispatch, dry_run_ending, order_of
from tasks.errors import InvalidIntent
from tasks.intent import ExecuteIntent, parse_intent
from tasks.judge import Ready, Stands, judge
from tasks.keys import Keys, client_order_id
from tasks.outcome import Ending, Outcome
from tasks.parts import Parts
from tasks.reasons import Reason
from tasks.refuse import refuse
from tasks.settings import Settings
from tests.helpers import grant, hold, intent_of, orders_of, record_of, results_of, run_to_outcome, stream

MakeParts = Callable[[Settings], Parts]


def consume(parts: Parts, intent: ExecuteIntent, token: str) -> Answer:
    """Look, judge and consume as one attempt does, and stop there."""
    stands = parts.gate.look(intent, token)
    assert isinstance(stands, Stands)
    ready = judge(stands, intent, parts.rules, parts.venue.step(intent.symbol))
    assert isinstance(ready, Ready)
    return parts.gate.consume(intent, token, ready)


def claim_of(parts: Parts, plan_id: str = "plan-1", token: str = "first") -> Claim:  # noqa: S107 - a claim's token
    """A claim on a plan whose permits lie there."""
    consumed = consume(parts, intent_of(plan_id), token)
    assert isinstance(consumed, Consumed)
    return consumed.claim


def blocked(plan_id: str = "plan-1", reason: Reason = Reason.MISSING_BOTH) -> Ending:
    """An end without an order."""
    return Ending(decision="BLOCKED", plan_id=plan_id, symbol="BTCUSDT", reason=reason)


def end_lease(client: redis.Redis, keys: Keys, plan_id: str = "plan-1") -> None:
    """The claimant's lease is over, on Redis' own clock."""
    client.hset(keys.record(plan_id), "lease_until_ms", "1000")


def events(client: redis.Redis, keys: Keys, plan_id: str = "plan-1") -> list[str]:
    """What happened to a plan, in order."""
    return [entry["event"] for entry in stream(client, keys.timeline(plan_id))]


def is_open(client: redis.Redis, keys: Keys, plan_id: str = "plan-1") -> bool:
    """Whether the plan is in the open index."""
    return client.zscore(keys.open, plan_id) is not None


@pytest.mark.fault("F11")
def test_the_deadline_is_set_once(client: redis.Redis, keys: Keys, settings: Settings, make_parts: MakeParts) -> None:
    """A second executor with another wait, and any number of looks, leave the deadline where the first one put it."""
    patient = make_parts(settings.model_copy(update={"permit_wait_ms": 50_000}))
    first = make_parts(settings).gate.look(intent_of(), "first")
    record = record_of(client, keys, "plan-1")
    second = patient.gate.look(intent_of(), "second")

    assert isinstance(first, Stands)
    assert isinstance(second, Stands)
    assert (first.taken_up_ms, first.deadline_ms) == (second.taken_up_ms, second.deadline_ms)
    assert first.deadline_ms == first.taken_up_ms + settings.permit_wait_ms
    assert str(first.deadline_ms) == record["deadline_ms"] == record_of(client, keys, "plan-1")["deadline_ms"]
    assert (1, 2) == (first.attempts, second.attempts)


@pytest.mark.fault("F17")
def test_a_look_sent_twice_is_one_attempt(parts: Parts) -> None:
    """A look that is re-sent with its token counts once and tells the same."""
    first, second = (parts.gate.look(intent_of(), "first") for _ in range(2))

    assert isinstance(first, Stands)
    assert isinstance(second, Stands)
    assert (1, first.deadline_ms) == (second.attempts, second.deadline_ms)


@pytest.mark.fault("F17")
def test_a_consumption_sent_twice_is_one(client: redis.Redis, keys: Keys, parts: Parts) -> None:
    """The same token asked again gets the same claim, and fresh permits that came meanwhile are not touched."""
    grant(client, keys, "plan-1")
    stands = parts.gate.look(intent_of(), "first")
    assert isinstance(stands, Stands)
    ready = judge(stands, intent_of(), parts.rules, parts.venue.step("BTCUSDT"))
    assert isinstance(ready, Ready)
    first = parts.gate.consume(intent_of(), "first", ready)
    grant(client, keys, "plan-1")
    second = parts.gate.consume(intent_of(), "first", ready)

    assert isinstance(first, Consumed)
    assert first == second
    assert 2 == client.exists(keys.permit("governor", "plan-1"), keys.permit("p33", "plan-1"))
    assert ["taken_up", "consumed"] == events(client, keys)


@pytest.mark.parametrize("leaving", ["waiting", "consumed"])
@pytest.mark.fault("F17")
def test_an_end_sent_twice_is_one(client: redis.Redis, keys: Keys, parts: Parts, leaving: str) -> None:
    """The same end sent again is recorded once and told the same; another token's is told what was stored."""
    grant(client, keys, "plan-1")
    claim_of(parts) if leaving == "consumed" else parts.gate.look(intent_of(), "first")
    first, second = (parts.gate.finish(blocked(), "first", leaving) for _ in range(2))
    third = parts.gate.finish(blocked(reason=Reason.KILL_SWITCH), "other", leaving)

    assert first is not None
    assert first == second
    assert (True, "missing_both") == (first.fresh, first.outcome.reason)
    assert Finished(first.outcome, fresh=False) == third
    assert 1 == len(results_of(client, keys))
    assert 1 == events(client, keys).count("ended")


@pytest.mark.fault("F5")
def test_a_claim_excludes_others(client: redis.Redis, keys: Keys, parts: Parts) -> None:
    """While a claim stands every other attempt is told how long at most, and the plan stays with its claimant."""
    grant(client, keys, "plan-1")
    claim_of(parts)
    answers = [parts.gate.look(intent_of(), token) for token in ("second", "third")]

    assert all(isinstance(answer, Busy) and 0 < answer.lease_left_ms <= 10_000 for answer in answers)
    assert isinstance(execute_once(parts, intent_of()), Again)
    assert parts.gate.finish(blocked(), "second", "consumed") is None
    assert parts.gate.finish(blocked(), "first", "waiting") is None
    assert "consumed" == record_of(client, keys, "plan-1")["state"]


@pytest.mark.fault("F1", "F4")
def test_an_abandoned_claim_passes_to_one(client: redis.Redis, keys: Keys, parts: Parts) -> None:
    """After the lease exactly one attempt takes the claim over; the former claimant can neither order nor end."""
    hold(client, keys)
    grant(client, keys, "plan-1")
    claim = claim_of(parts)
    end_lease(client, keys)
    answers = [parts.gate.look(intent_of(), token) for token in ("second", "third", "first")]
    again = parts.gate.look(intent_of(), "second")
    receipts = [dispatch(parts, intent_of(), Consumed(held)) for held in (claim, cast("Abandoned", answers[0]).claim)]

    assert [Abandoned, Busy, Busy] == [type(answer) for answer in answers]
    assert answers[0] == again
    assert ["claim_lost", "claim_lost"] == [receipt.answer for receipt in receipts]
    assert parts.gate.finish(blocked(), "first", "consumed") is None
    assert [] == orders_of(client, keys)
    assert [] == results_of(client, keys)
    assert 1 == events(client, keys).count("claim_taken_over")


@pytest.mark.fault("F2")
def test_an_order_of_a_lost_claimant_is_adopted(client: redis.Redis, keys: Keys, parts: Parts) -> None:
    """A claimant lost after its order was accepted: the plan ends as executed, with the same facts as otherwise."""
    hold(client, keys)
    grant(client, keys, "plan-1")
    grant(client, keys, "plan-2")
    dispatch(parts, intent_of(), Consumed(claim_of(parts)))
    end_lease(client, keys)
    adopted = execute_once(parts, intent_of())
    usual = execute_once(parts, intent_of("plan-2"))

    assert isinstance(adopted, Outcome)
    assert isinstance(usual, Outcome)
    assert "done" == record_of(client, keys, "plan-1")["state"]
    assert (
        usual.model_copy(
            update={
                "plan_id": "plan-1",
                "client_order_id": client_order_id("plan-1"),
                "steps_results": [usual.steps_results[0] | {"order_id": "paper-1"}],
                "wait_ms": adopted.wait_ms,
                "timestamp": adopted.timestamp,
            }
        )
        == adopted
    )
    assert 2 == len(orders_of(client, keys))


def test_a_dry_run_does_not_deny_an_order(
    client: redis.Redis, keys: Keys, settings: Settings, make_parts: MakeParts
) -> None:
    """A worker that was restarted in dry run, and takes over a plan that was ordered before, adopts that order too."""
    parts = make_parts(settings)
    hold(client, keys)
    grant(client, keys, "plan-1")
    dispatch(parts, intent_of(), Consumed(claim_of(parts)))
    end_lease(client, keys)
    outcome = execute_once(make_parts(settings.model_copy(update={"mode": "dry_run"})), intent_of())

    assert isinstance(outcome, Outcome)
    assert ("EXECUTE", True) == (outcome.decision, outcome.executed)
    assert 1 == len(orders_of(client, keys))


@pytest.mark.fault("F1")
def test_a_lost_claimant_without_an_order_is_interrupted(client: redis.Redis, keys: Keys, parts: Parts) -> None:
    """A claimant lost before its order: the plan ends as interrupted, and fresh permits do not revive it."""
    hold(client, keys)
    grant(client, keys, "plan-1")
    claim = claim_of(parts)
    grant(client, keys, "plan-1")
    end_lease(client, keys)
    outcome = execute_once(parts, intent_of())

    assert isinstance(outcome, Outcome)
    assert ("BLOCKED", "interrupted", False, "0.008") == (
        outcome.decision,
        outcome.reason,
        outcome.executed,
        outcome.safe_qty,
    )
    assert parts.venue.lookup(order_of(intent_of(), claim)) is None
    assert outcome == execute_once(parts, intent_of())
    assert 1 == len(results_of(client, keys))


def test_a_dry_run_consumes_and_orders_nothing(
    client: redis.Redis, keys: Keys, settings: Settings, make_parts: MakeParts
) -> None:
    """A dry run goes through the whole gate: permits are gone, nothing is ordered, and it says it would have."""
    hold(client, keys)
    grant(client, keys, "plan-1")
    outcome = run_to_outcome(make_parts(settings.model_copy(update={"mode": "dry_run"})), intent_of())
    entry = results_of(client, keys)[0]

    assert ("EXECUTE", False, True, "", "0.008") == (
        outcome.decision,
        outcome.executed,
        outcome.would_execute,
        outcome.reason,
        outcome.safe_qty,
    )
    assert ("False", "True") == (entry["executed"], entry["would_execute"])
    assert [] == orders_of(client, keys)
    assert 0 == client.exists(keys.permit("governor", "plan-1"), keys.permit("p33", "plan-1"))
    assert b"0.062" == client.hget(keys.paper_position("BTCUSDT"), "position_amt")


@pytest.mark.parametrize("other", [{"symbol": "ETHUSDT"}, {"action": "PARTIAL_50"}])
@pytest.mark.parametrize("consumed", [False, True])
@pytest.mark.fault("F7")
def test_a_conflict_touches_nothing(
    client: redis.Redis,
    keys: Keys,
    settings: Settings,
    make_parts: MakeParts,
    other: dict[str, str],
    consumed: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """The same id with other content is put aside: record, permits and results stay, the plan's own message goes on."""
    parts = make_parts(settings.model_copy(update={"allowlist": ("BTCUSDT", "ETHUSDT")}))
    hold(client, keys)
    grant(client, keys, "plan-1")
    if consumed:
        claim_of(parts)
    else:
        parts.gate.look(intent_of(), "first")
    before = record_of(client, keys, "plan-1")
    outcome = execute_once(parts, intent_of(**other))
    aside = stream(client, keys.rejected)

    assert isinstance(outcome, Outcome)
    assert ("BLOCKED", "plan_conflict", False) == (outcome.decision, outcome.reason, outcome.executed)
    assert before == record_of(client, keys, "plan-1")
    assert [] == results_of(client, keys)
    assert [("plan-1", "plan_conflict")] == [(entry["plan_id"], entry["reason"]) for entry in aside]
    assert "set_aside" in events(client, keys)
    assert is_open(client, keys)
    assert isinstance(parts.gate.look(intent_of(**other), "other"), Conflict)
    if not consumed:
        assert run_to_outcome(parts, intent_of()).executed


@pytest.mark.fault("F7")
def test_the_stored_outcome_wins(client: redis.Redis, keys: Keys, parts: Parts) -> None:
    """A finished plan answers every message with its outcome, one with other content too; nothing is put aside."""
    hold(client, keys)
    grant(client, keys, "plan-1")
    first = run_to_outcome(parts, intent_of())
    client.set(keys.kill_switch, "true")
    again = [execute_once(parts, intent_of(**other)) for other in ({}, {"action": "PARTIAL_50"})]

    assert [first, first] == again
    assert [] == stream(client, keys.rejected)
    assert 1 == len(results_of(client, keys))


def refusal_of(parts: Parts, task_id: str, message: object) -> Outcome:
    """What becomes of a message that is not an intent."""
    with pytest.raises(InvalidIntent) as found:
        parse_intent(message)
    return refuse(parts, found.value, task_id, message)


@pytest.mark.parametrize("message", [{"plan_id": "plan-1", "symbol": 5}, {"symbol": "BTCUSDT"}, "text", None])
@pytest.mark.fault("F25", "F36")
def test_an_invalid_message_gets_one_result_entry(
    client: redis.Redis, keys: Keys, parts: Parts, message: object
) -> None:
    """An invalid message about no known plan gets one result entry under its task id, however often delivered."""
    outcomes = [refusal_of(parts, "task-1", message) for _ in range(3)]

    assert 1 == len({outcome.model_dump_json() for outcome in outcomes})
    assert [("task-1", "BLOCKED", "invalid_intent")] == [
        (entry["plan_id"], entry["decision"], entry["reason"]) for entry in results_of(client, keys)
    ]
    assert 3 == len(stream(client, keys.rejected))
    assert 0 == client.exists(keys.record("plan-1"), keys.record("task-1"))
    assert not is_open(client, keys)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"decision": "SKIP"}, "plan_conflict"),
        ({"symbol": 5}, "invalid_intent"),
        ({"kill_score": "x"}, "invalid_intent"),
    ],
)
@pytest.mark.fault("F36")
def test_an_invalid_message_does_not_touch_a_known_plan(
    client: redis.Redis, keys: Keys, parts: Parts, fields: dict[str, object], reason: str
) -> None:
    """An invalid message that names a known plan is put aside: no result entry, the plan goes on to its own outcome."""
    hold(client, keys)
    parts.gate.look(intent_of(), "first")
    before = record_of(client, keys, "plan-1")
    message = {"plan_id": "plan-1", "symbol": "BTCUSDT", "action": "PARTIAL_75", "decision": "EXECUTE"} | fields
    outcome = refusal_of(parts, "plan-1", message)

    assert ("BLOCKED", reason, "plan-1") == (outcome.decision, outcome.reason, outcome.plan_id)
    assert before == record_of(client, keys, "plan-1")
    assert [] == results_of(client, keys)
    assert [("plan-1", reason)] == [(entry["plan_id"], entry["reason"]) for entry in stream(client, keys.rejected)]
    assert "set_aside" == events(client, keys)[-1]
    grant(client, keys, "plan-1")
    assert run_to_outcome(parts, intent_of()).executed


def test_open_holds_exactly_the_unfinished(client: redis.Redis, keys: Keys, parts: Parts) -> None:
    """The open index holds waiting and consumed plans with the time they fall due, and never finished ones."""
    grant(client, keys, "consumed")
    grant(client, keys, "dispatched")
    hold(client, keys)
    parts.gate.look(intent_of("waiting"), "first")
    claim_of(parts, "consumed")
    execute_once(parts, intent_of("dispatched"))
    client.set(keys.permit("p33", "denied"), '{"allow": false, "symbol": "BTCUSDT"}', ex=60)
    execute_once(parts, intent_of("denied"))
    due = dict(cast("list[tuple[bytes, float]]", client.zrange(keys.open, 0, -1, withscores=True)))

    assert {b"waiting", b"consumed"} == set(due)
    assert int(record_of(client, keys, "waiting")["deadline_ms"]) + 2_000 == due[b"waiting"]
    assert int(record_of(client, keys, "consumed")["lease_until_ms"]) + 2_000 == due[b"consumed"]


def test_only_finished_records_expire(
    client: redis.Redis, keys: Keys, settings: Settings, make_parts: MakeParts
) -> None:
    """A record lives without a limit until its plan ended, and from then on for APPLY_RECORD_TTL_S."""
    parts = make_parts(settings.model_copy(update={"record_ttl_s": 70}))
    hold(client, keys)
    grant(client, keys, "plan-1")
    parts.gate.look(intent_of(), "first")
    waiting = client.ttl(keys.record("plan-1"))
    claim_of(parts)
    claimed = client.ttl(keys.record("plan-1"))
    parts.gate.finish(dry_run_ending(intent_of(), Claim("first", "0.008", 0, 0, 1)), "first", "consumed")
    ended = [client.ttl(key) for key in (keys.record("plan-1"), keys.timeline("plan-1"))]

    assert (-1, -1) == (waiting, claimed)
    assert all(60 < seconds <= 70 for seconds in ended)

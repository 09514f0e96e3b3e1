"""What an operator may do to a plan: cancel one that waits, settle one whose order nobody knows of; each once."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest
import redis

from ops.ledger import gather, set_ledger
from tasks import governor, position
from tasks.act import execute_once
from tasks.by_hand import Cancelled, Refused, Resolved, cancel, resolve
from tasks.consume import Claim, Consumed
from tasks.intent import ExecuteIntent
from tasks.judge import Ready, Stands, judge
from tasks.keys import Keys
from tasks.outcome import Ending, Fill
from tasks.parts import Parts
from tasks.reasons import Reason
from tasks.settings import Settings
from tasks.submit import _register
from tests.helpers import grant, hold, intent_of, orders_of, record_of, results_of, run_to_outcome, stream
from tests.judges.desk import figures_of, limits
from tests.judges.position_bed import NO_REST, Watched, ledger_of

FILL = Fill(order_id="4711", side="SELL", qty="0.046")
WHO = ("alice", "wrong size")


@pytest.fixture
def patient(make_parts: Callable[..., Parts], settings: Settings) -> Parts:
    """An executor with time enough, in front of 0.062 BTCUSDT."""
    made = make_parts(settings.model_copy(update={"permit_wait_ms": 60_000}), position=NO_REST)
    made.gate.meet_server()
    hold(made.store.client, made.gate.keys)
    return replace(made, name="celery@one")


def judged(parts: Parts, intent: ExecuteIntent) -> None:
    """Both of our judges allow it."""
    governor.evaluate(parts, limits(), intent)
    position.evaluate(parts, NO_REST, intent)


def consumed(parts: Parts) -> Claim:
    """The plan's permits are consumed, and nothing was sent."""
    judged(parts, intent_of())
    token = parts.token()
    stands = parts.gate.look(intent_of(), token)
    assert isinstance(stands, Stands)
    ready = judge(stands, intent_of(), parts.rules, parts.venue.step("BTCUSDT"))
    assert isinstance(ready, Ready)
    answer = parts.gate.consume(intent_of(), token, ready)
    assert isinstance(answer, Consumed)
    return answer.claim


def unknown(parts: Parts) -> None:
    """The plan's order was sent and never known again."""
    claim = consumed(parts)
    ending = Ending(
        decision="UNKNOWN", reason=Reason.ORDER_UNKNOWN, plan_id="plan-1", symbol="BTCUSDT", safe_qty=claim.safe_qty
    )
    assert parts.gate.finish(ending, claim.token, "consumed")


def audit(client: redis.Redis, keys: Keys) -> list[dict[str, str]]:
    """What operators did."""
    return stream(client, keys.audit)


@pytest.mark.parametrize("state", ["registered", "waiting"])
def test_a_plan_that_waits_can_be_cancelled(client: redis.Redis, keys: Keys, patient: Parts, state: str) -> None:
    """It ends once, blocked as cancelled; who and why stand in record, timeline and audit; its message gets it."""
    _register(intent_of(), patient.settings, [])
    if state == "waiting":
        execute_once(patient, intent_of())
    done = cancel(patient, "plan-1", *WHO)
    record = record_of(client, keys, "plan-1")
    grant(client, keys, "plan-1")

    assert isinstance(done, Cancelled)
    assert ("BLOCKED", "cancelled") == (done.outcome.decision, done.outcome.reason)
    assert WHO == (record["ended_who"], record["ended_why"])
    assert "alice: wrong size" in stream(client, keys.timeline("plan-1"))[-1]["detail"]
    assert [("cancel", "plan-1", *WHO)] == [
        (entry["action"], entry["plan_id"], entry["who"], entry["why"]) for entry in audit(client, keys)
    ]
    assert done.outcome == run_to_outcome(patient, intent_of())
    assert ["cancelled"] == [entry["reason"] for entry in results_of(client, keys)]
    assert ([], 0) == (orders_of(client, keys), client.zcard(keys.open))


def test_a_cancelled_plan_gives_back_what_it_held(client: redis.Redis, keys: Keys, patient: Parts) -> None:
    """Its share of the Governor's limits, and its symbol."""
    execute_once(patient, intent_of())
    judged(patient, intent_of())
    cancel(patient, "plan-1", *WHO)

    assert {} == figures_of(client, keys)["granted"]
    assert 0 == client.exists(keys.position_live("BTCUSDT"), keys.governor_reservation("plan-1"))


def test_a_consumed_plan_is_never_cancelled(client: redis.Redis, keys: Keys, patient: Parts) -> None:
    """Not while its claim runs, not after its lease, not while it is looked up."""
    consumed(patient)
    before = record_of(client, keys, "plan-1")
    refused = [cancel(patient, "plan-1", *WHO)]
    client.hset(keys.record("plan-1"), "lease_until_ms", "1000")
    refused.append(cancel(patient, "plan-1", *WHO))
    client.hset(keys.record("plan-1"), "recovering", "1")
    refused.append(cancel(patient, "plan-1", *WHO))

    assert all(isinstance(each, Refused) and "is consumed" in each.why for each in refused)
    assert before.items() - {("lease_until_ms", before["lease_until_ms"])} <= record_of(client, keys, "plan-1").items()
    assert ([], []) == (audit(client, keys), results_of(client, keys))


@pytest.mark.parametrize("plan_id", ["plan-1", "never-seen"])
def test_what_has_ended_or_never_was_is_not_cancelled(
    client: redis.Redis, keys: Keys, patient: Parts, plan_id: str
) -> None:
    """The answer says what there is."""
    grant(client, keys, "plan-1")
    run_to_outcome(patient, intent_of())
    refused = cancel(patient, plan_id, *WHO)

    assert isinstance(refused, Refused)
    assert {"plan-1": "has ended: EXECUTE", "never-seen": "is not known"}[plan_id] in refused.why
    assert 1 == len(results_of(client, keys))
    assert 0 == client.exists(keys.record("never-seen"))


def test_an_unknown_order_that_was_executed(client: redis.Redis, keys: Keys, patient: Parts) -> None:
    """The ledger moves once, the limits stay used, the symbol is free; the outcome stays unknown, once."""
    unknown(patient)
    first = run_to_outcome(patient, intent_of())
    done, again = (resolve(patient, "plan-1", FILL, *WHO) for _ in range(2))
    record = record_of(client, keys, "plan-1")

    assert Resolved("executed", None, "0.016") == done
    assert isinstance(again, Refused)
    assert "was resolved before: executed, by alice" in again.why
    assert ("0.016", "4711") == tuple(ledger_of(client, keys)[name] for name in ("last_known_amt", "last_order_id"))
    assert {"plan-1"} == figures_of(client, keys)["granted"].keys()
    assert 0 == client.exists(keys.position_live("BTCUSDT"), keys.snapshot("BTCUSDT"))
    assert ("executed", *WHO, "4711") == tuple(record[f"resolved_{name}"] for name in ("as", "by", "why", "order_id"))
    assert ["order_unknown"] == [entry["reason"] for entry in results_of(client, keys)]
    assert first == run_to_outcome(patient, intent_of())
    assert [("resolve", "executed", "4711")] == [
        (entry["action"], entry["detail"], entry["order_id"]) for entry in audit(client, keys)
    ]
    assert "resolved" in [entry["event"] for entry in stream(client, keys.timeline("plan-1"))]


def test_an_unknown_order_that_was_not_executed(client: redis.Redis, keys: Keys, patient: Parts) -> None:
    """The limits are given back, the ledger stays, the symbol is free."""
    unknown(patient)
    done = resolve(patient, "plan-1", None, *WHO)

    assert Resolved("not_executed", None) == done
    assert "0.062" == ledger_of(client, keys)["last_known_amt"]
    assert {} == figures_of(client, keys)["granted"]
    assert 0 == client.exists(keys.position_live("BTCUSDT"))


def test_a_ledger_taken_from_the_exchange_since_is_not_moved_again(
    client: redis.Redis, keys: Keys, patient: Parts
) -> None:
    """What an operator has set after the plan's end contains the order already."""
    unknown(patient)
    client.delete(keys.position_live("BTCUSDT"))
    hold(client, keys, "0.016")
    assert "set" == set_ledger(patient, gather(patient, NO_REST, "BTCUSDT"))

    assert Resolved("executed", None, "") == resolve(patient, "plan-1", FILL, *WHO)
    assert "0.016" == ledger_of(client, keys)["last_known_amt"]


@pytest.mark.parametrize(
    ("record", "answer"),
    [
        ("", Refused),
        ("lease_until_ms=1000", Resolved),
        ("recovering=1", Resolved),
        ("recovering=1 accept_until_ms=99999999999999", Refused),
        ("lease_until_ms=1000 accept_until_ms=99999999999999", Refused),
    ],
)
@pytest.mark.parametrize("fill", [FILL, None])
def test_a_consumed_plan_is_settled_only_when_nobody_can_submit(
    client: redis.Redis, keys: Keys, patient: Parts, record: str, answer: type, fill: Fill | None
) -> None:
    """Not while its claimant may submit, nor while what was sent may still be accepted; then it is its one outcome."""
    consumed(patient)
    for field in record.split():
        name, value = field.split("=")
        client.hset(keys.record("plan-1"), name, value)
    may, done = answer is Resolved, resolve(patient, "plan-1", fill, *WHO)
    results = [(entry["decision"], entry["reason"]) for entry in results_of(client, keys)]

    assert isinstance(done, answer)
    assert ([("EXECUTE", "") if fill else ("BLOCKED", "interrupted")] if may else []) == results
    assert (["resolve"] if may else []) == [entry["action"] for entry in audit(client, keys)]
    assert ("0.016" if fill and may else "0.062") == ledger_of(client, keys)["last_known_amt"]


def test_a_claimant_that_wakes_up_after_a_resolution_orders_nothing(
    client: redis.Redis, keys: Keys, patient: Parts
) -> None:
    """Its lease was over, an operator said that there is no order: there is none afterwards either."""
    judged(patient, intent_of())

    def settle(_: object) -> None:
        client.hset(keys.record("plan-1"), "lease_until_ms", "1000")
        assert isinstance(resolve(patient, "plan-1", None, *WHO), Resolved)

    outcome = run_to_outcome(replace(patient, venue=Watched(patient.venue, before_submit=settle)), intent_of())

    assert ("BLOCKED", "interrupted") == (outcome.decision, outcome.reason)
    assert ([], 1) == (orders_of(client, keys), len(results_of(client, keys)))


def test_a_late_settlement_does_not_move_a_ledger_taken_since(client: redis.Redis, keys: Keys, patient: Parts) -> None:
    """A plan stuck for so long that its symbol was free again, and the ledger set from the exchange meanwhile."""
    consumed(patient)
    client.hset(keys.record("plan-1"), "lease_until_ms", "1000")
    client.delete(keys.position_live("BTCUSDT"))
    hold(client, keys, "0.016")
    assert "set" == set_ledger(patient, gather(patient, NO_REST, "BTCUSDT"))
    done = resolve(patient, "plan-1", FILL, *WHO)

    assert isinstance(done, Resolved)
    assert done.outcome
    assert done.outcome.executed
    assert "0.016" == ledger_of(client, keys)["last_known_amt"]


@pytest.mark.parametrize("state", ["registered", "waiting", "blocked", "done", "none"])
def test_a_plan_without_a_lost_order_is_not_resolved(
    client: redis.Redis, keys: Keys, patient: Parts, state: str
) -> None:
    """Where nothing was consumed, or the order is known, nothing is changed."""
    if state != "none":
        _register(intent_of(), patient.settings, [])
    if state == "waiting":
        execute_once(patient, intent_of())
    if state == "blocked":
        cancel(patient, "plan-1", *WHO)
    if state == "done":
        grant(client, keys, "plan-1")
        run_to_outcome(patient, intent_of())
    before, told = record_of(client, keys, "plan-1"), len(audit(client, keys))

    assert isinstance(resolve(patient, "plan-1", None, *WHO), Refused)
    assert isinstance(resolve(patient, "plan-1", FILL.model_copy(update={"qty": "0.001"}), *WHO), Refused)
    assert (before, told) == (record_of(client, keys, "plan-1"), len(audit(client, keys)))


def test_more_than_was_permitted_is_refused(client: redis.Redis, keys: Keys, patient: Parts) -> None:
    """An order above the quantity that the permits were consumed for cannot be this plan's."""
    unknown(patient)
    refused = resolve(patient, "plan-1", FILL.model_copy(update={"qty": "0.0461"}), *WHO)

    assert isinstance(refused, Refused)
    assert "0.0461 is more than" in refused.why
    assert "0.062" == ledger_of(client, keys)["last_known_amt"]
    assert isinstance(resolve(patient, "plan-1", FILL.model_copy(update={"qty": "0.01"}), *WHO), Resolved)
    assert Decimal("0.052") == Decimal(ledger_of(client, keys)["last_known_amt"])


def test_a_ledger_that_is_not_ours_is_left_alone(
    client: redis.Redis, keys: Keys, patient: Parts, make_parts: Callable[..., Parts]
) -> None:
    """Where another service is the Position judge, a resolution settles everything but the ledger."""
    unknown(patient)
    outside = make_parts(patient.settings.model_copy(update={"issuers": ("governor",)}))

    assert Resolved("executed", None, "") == resolve(outside, "plan-1", FILL, *WHO)
    assert "0.062" == ledger_of(client, keys)["last_known_amt"]

"""The rules of "the right outcome": what was granted, denied, switched off or lost decides how a plan may end."""

import json
from collections.abc import Iterator
from decimal import Decimal

from tasks.reasons import Reason, every_missing_reason
from tests.chaos.evidence import Evidence, Fields
from tests.chaos.journal import STORE_LOST, SWITCH, Fate, Written
from tests.chaos.load import FOREIGN_SYMBOL, HELD, SMALL_SYMBOL, UNSUPPORTED_ACTION, Plan
from tests.chaos.once import Violation
from tests.chaos.permits import TTL_S, Verdict, reason_for

_MISSING = every_missing_reason()
#: A wait that came to its end.
_WAITED = _MISSING | {Reason.DEADLINE_PASSED, Reason.REDIS_UNAVAILABLE}
#: A worker that lives notices another server at its next sweep; all of them may have to start first.
_NOTICED_WITHIN_MS = 20_000


def only_granted(evidence: Evidence) -> Iterator[Violation]:
    """Consumed and ordered was only what both issuers had granted."""
    for plan_id, plan in evidence.plans.items():
        for event in evidence.happened(plan_id, "consumed"):
            if not _granted_by(evidence, plan, event.at_ms):
                yield Violation(plan_id, f"consumed at {event.at_ms}; the issuers say {_said(evidence, plan)}")
        for order in evidence.orders_of.get(plan_id, ()):
            if _content_reason(plan) or not _granted_by(evidence, plan, order.at_ms):
                yield Violation(plan_id, f"ordered at {order.at_ms}; the issuers say {_said(evidence, plan)}")
            if (order.symbol, order.qty) != (plan.symbol, plan.ordered):
                yield Violation(plan_id, f"ordered {order.qty} {order.symbol}, granted {plan.ordered} {plan.symbol}")


def one_story(evidence: Evidence) -> Iterator[Violation]:
    """Record, outcome and venue tell the same."""
    for plan_id, plan in evidence.plans.items():
        record = evidence.records.get(plan_id, {})
        if record and record.get("content") != plan.content:
            yield Violation(plan_id, f"recorded as {record.get('content')}, sent as {plan.content}")
        for result in evidence.results_of.get(plan_id, ()):
            different = {name for name, value in result.items() if record.get(name) != value}
            if different:
                yield Violation(plan_id, f"record and result differ in {', '.join(sorted(different))}")
            executed = sum(order.executed for order in evidence.orders_of.get(plan_id, ()))
            if (result.get("executed") == "True") != (executed > 0) and result.get("decision") != "UNKNOWN":
                yield Violation(plan_id, f"executed={result.get('executed')}, the venue has executed {executed}")


def right_reason(evidence: Evidence) -> Iterator[Violation]:
    """The reason of every outcome fits what was granted, denied or broken."""
    for plan_id, plan in evidence.plans.items():
        for result in evidence.results_of.get(plan_id, ()):
            reason = result.get("reason", "")
            if result.get("executed") == "True":
                if reason or result.get("decision") != "EXECUTE":
                    yield Violation(plan_id, f"executed as {result.get('decision')} with reason {reason!r}")
            elif not _fits(evidence, plan, reason, evidence.records.get(plan_id, {})):
                yield Violation(plan_id, f"ended as {reason!r}; the issuers say {_said(evidence, plan)}")


def _fits(evidence: Evidence, plan: Plan, reason: str, record: Fields) -> bool:
    """Whether a plan that did not execute may have ended for this reason."""
    ended_ms = int(record.get("ended_ms", 0))
    began_ms = int(record.get("registered_ms") or record.get("taken_up_ms") or 0)
    consumed = evidence.happened(plan.plan_id, "consumed")
    if reason == Reason.KILL_SWITCH:
        return evidence.maybe(SWITCH, began_ms, ended_ms)
    if reason == Reason.SERVER_CHANGED:
        # The change is dated by the worker that notices it, and concerns what was made before that.
        said_ms = (permit.sent_ms for permit in evidence.written_for.get(plan.plan_id, ()))
        return evidence.maybe(STORE_LOST, min(_made_ms(record), began_ms, *said_ms) - _NOTICED_WITHIN_MS, ended_ms)
    if reason == Reason.PLAN_EXPIRED:
        return ended_ms - _made_ms(record) >= evidence.bounds.max_age_ms
    if reason == Reason.INTERRUPTED:
        return bool(consumed)
    if reason == Reason.ORDER_REJECTED:
        submitted = (*evidence.refused, *evidence.orders_of.get(plan.plan_id, ()))
        refused = any(order.plan_id == plan.plan_id and not order.executed for order in submitted)
        return bool(consumed) and (refused or plan.symbol == SMALL_SYMBOL)
    if reason == Reason.ORDER_UNKNOWN:
        return bool(consumed)
    if consumed:
        return False
    if _content_reason(plan) or reason in {Reason.UNSUPPORTED_ACTION, Reason.SYMBOL_NOT_ALLOWED}:
        return reason == _content_reason(plan)
    if reason in _WAITED:
        return _waited_in_vain(evidence, plan, reason, record)
    said = [reason_for(permit.issuer, permit.verdict) for permit in evidence.written_for.get(plan.plan_id, ())]
    return bool(reason) and reason in said


def _waited_in_vain(evidence: Evidence, plan: Plan, reason: str, record: Fields) -> bool:
    """Whether nothing that was surely there at the deadline says otherwise."""
    deadline_ms, ended_ms = int(record.get("deadline_ms", 0)), int(record.get("ended_ms", 0))
    there = [
        permit
        for permit in evidence.written_for.get(plan.plan_id, ())
        if 0 < permit.until_ms < deadline_ms and ended_ms < permit.sent_ms + TTL_S * 1000
    ]
    if any(reason_for(permit.issuer, permit.verdict) for permit in there):
        return False
    found = {permit.issuer for permit in there}
    if reason == Reason.MISSING_BOTH:
        return not found
    if reason in {Reason.MISSING_GOVERNOR, Reason.MISSING_P33}:
        return str(reason).removeprefix("missing_") not in found
    return True


def _made_ms(record: Fields) -> float:
    """When the plan was made, by its own word or by its registration."""
    stated = json.loads(record.get("intent", "{}")).get("created_at")
    moments = [float(stated) * 1000] if stated else []
    return min([*moments, float(record.get("registered_ms", "inf"))])


def _content_reason(plan: Plan) -> Reason | None:
    if plan.action == UNSUPPORTED_ACTION:
        return Reason.UNSUPPORTED_ACTION
    return Reason.SYMBOL_NOT_ALLOWED if plan.symbol == FOREIGN_SYMBOL else None


def _granted_by(evidence: Evidence, plan: Plan, at_ms: int) -> bool:
    written = evidence.written_for.get(plan.plan_id, ())
    granted = {permit.issuer for permit in written if permit.verdict is Verdict.GRANT and permit.sent_ms <= at_ms}
    return granted == {"governor", "p33"} and all(permit.verdict is Verdict.GRANT for permit in written)


def _said(evidence: Evidence, plan: Plan) -> str:
    def told(permit: Written) -> str:
        return f"{permit.issuer} {permit.verdict} {permit.sent_ms}-{permit.until_ms or '?'}"

    return "; ".join(told(permit) for permit in evidence.written_for.get(plan.plan_id, ())) or "nothing"


def switch_obeyed(evidence: Evidence) -> Iterator[Violation]:
    """Nothing was consumed or submitted while the kill switch was set."""
    for plan_id in evidence.timelines:
        for event in evidence.happened(plan_id, "consumed"):
            if evidence.window(SWITCH, event.at_ms):
                yield Violation(plan_id, f"consumed at {event.at_ms} under the kill switch")
    for order in evidence.orders:
        # An order that is on its way is not recalled.
        window = evidence.window(SWITCH, order.at_ms)
        if window and order.at_ms > window.from_ms + evidence.bounds.wire_ms:
            yield Violation(order.plan_id, f"ordered at {order.at_ms} under the kill switch")


def positions_add_up(evidence: Evidence) -> Iterator[Violation]:
    """Positions are what they were, less every order."""
    for symbol, before in HELD.items():
        expected = before - sum((order.qty for order in evidence.orders if order.symbol == symbol), Decimal(0))
        if evidence.held and evidence.held.get(symbol) != expected:
            yield Violation("", f"{symbol}: {evidence.held.get(symbol)} held, {expected} by the journal")


def others_set_aside(evidence: Evidence) -> Iterator[Violation]:
    """What contradicts a plan or holds none was set aside, and no plan."""
    for conflict in evidence.load.conflicts:
        reply = evidence.replies.get(conflict.task_id)
        # The stored outcome goes before the conflict, once there is one.
        allowed = {
            Reason.PLAN_CONFLICT,
            *(result["reason"] for result in evidence.results_of.get(conflict.plan_id, ())),
        }
        if reply is not None and reply.get("reason") not in allowed:
            yield Violation(conflict.plan_id, f"{conflict.task_id} was answered {reply.get('reason')}")
    fates = {sent.task_id: sent.fate for sent in evidence.sent}
    for junk in evidence.load.junk:
        results = evidence.results_of.get(junk.task_id, ())
        if any(result.get("reason") != Reason.INVALID_INTENT for result in results) or len(results) > 1:
            yield Violation(junk.task_id, f"{len(results)} results: {[result.get('reason') for result in results]}")
        if results and junk.raw:
            yield Violation(junk.task_id, f"a result for an entry that is no message ({fates.get(junk.task_id)})")
        if junk.task_id in evidence.records:
            yield Violation(junk.task_id, "a record for what holds no plan")


def acknowledged(evidence: Evidence) -> int:
    """Plans with at least one sending that was acknowledged."""
    return sum(any(sent.fate is Fate.ACKNOWLEDGED for sent in sendings) for sendings in evidence.sent_for.values())

"""The rules of "nothing twice, nothing lost": each looks through the evidence and yields what breaks it."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from tasks.keys import client_order_id
from tasks.reasons import Reason
from tests.chaos.evidence import Evidence
from tests.chaos.journal import Fate


@dataclass(frozen=True)
class Violation:
    """A promise that was broken; `plan_id` is empty where it is nobody's alone."""

    plan_id: str
    found: str


def one_order(evidence: Evidence) -> Iterator[Violation]:
    """At most one order per plan was submitted, under the plan's own id."""
    for plan_id, number in Counter(order.plan_id for order in (*evidence.orders, *evidence.refused)).items():
        if number > 1:
            yield Violation(plan_id, f"{number} orders were submitted")
    for order_id, number in Counter(order.client_order_id for order in evidence.orders).items():
        if number > 1:
            yield Violation("", f"{number} orders with the id {order_id}")
    for order in evidence.orders:
        if order.client_order_id != client_order_id(order.plan_id):
            yield Violation(order.plan_id, f"an order with the id {order.client_order_id}")


def one_outcome(evidence: Evidence) -> Iterator[Violation]:
    """Every plan that was known has exactly one outcome, any other none."""
    for plan_id, plan in evidence.plans.items():
        number = len(evidence.results_of.get(plan.plan_id, ()))
        record = evidence.records.get(plan_id)
        if number > 1:
            yield Violation(plan_id, f"{number} result entries")
        elif record is not None and number != 1:
            yield Violation(plan_id, f"no result entry; its record is {record.get('state')}")
        elif record is None and number:
            yield Violation(plan_id, "a result entry, and no record")
        elif record is None and _registered(evidence, plan_id):
            yield Violation(plan_id, "submit() returned, and there is no record")


def one_consumption(evidence: Evidence) -> Iterator[Violation]:
    """Permits were consumed at most once, and before every order."""
    for plan_id in evidence.timelines:
        number = len(evidence.happened(plan_id, "consumed"))
        if number > 1:
            yield Violation(plan_id, f"consumed {number} times")
    for order in evidence.orders:
        consumed = evidence.happened(order.plan_id, "consumed")
        if not any(event.at_ms <= order.at_ms for event in consumed):
            yield Violation(order.plan_id, f"an order at {order.at_ms} without a consumption before it")


def nothing_late(evidence: Evidence) -> Iterator[Violation]:
    """Nothing was consumed after a deadline, nothing ordered after a lease."""
    bounds = evidence.bounds
    for plan_id, record in evidence.records.items():
        for event in evidence.happened(plan_id, "consumed"):
            deadline_ms = int(record.get("taken_up_ms", 0)) + bounds.wait_ms
            if event.at_ms >= deadline_ms:
                yield Violation(plan_id, f"consumed {event.at_ms - deadline_ms} ms after the deadline")
            for order in evidence.orders_of.get(plan_id, ()):
                late_ms = order.at_ms - event.at_ms - bounds.lease_ms
                if late_ms >= 0:
                    yield Violation(plan_id, f"ordered {late_ms} ms after the lease")


def nothing_left(evidence: Evidence) -> Iterator[Violation]:
    """No plan is open, no message left, no worker alive and idle."""
    for name, number in evidence.left.items():
        if number:
            yield Violation("", f"{number} left in {name}")
    for name in evidence.idle:
        yield Violation("", f"worker {name} lives, and takes no plan")


def nothing_trimmed(evidence: Evidence) -> Iterator[Violation]:
    """The journals that are counted are whole."""
    for name, number in evidence.trimmed.items():
        if number:
            yield Violation("", f"{name} has lost {number} entries: a shorter run is needed")


def nothing_unknown(evidence: Evidence) -> Iterator[Violation]:
    """Orders, records and outcomes belong to what was sent."""
    known = {*evidence.plans, *(junk.task_id for junk in evidence.load.junk)}
    for what, ids in (
        ("order", evidence.orders_of),
        ("record", evidence.records),
        ("result", evidence.results_of),
    ):
        for plan_id in ids:
            if plan_id not in known:
                yield Violation(plan_id, f"{what} of a plan that was never sent")
    for sent in evidence.sent:
        if sent.fate is Fate.REFUSED:
            yield Violation(sent.plan_id, f"{sent.by} of {sent.task_id} was refused: {sent.said}")


def one_answer(evidence: Evidence) -> Iterator[Violation]:
    """Whoever sent a plan again was told the outcome it has."""
    for plan_id, sendings in evidence.sent_for.items():
        results = evidence.results_of.get(plan_id, ())
        heard = {sent.task_id for sent in sendings if sent.fate is Fate.ACKNOWLEDGED}
        for task_id in {sent.task_id for sent in sendings if results}:
            reply = evidence.replies.get(task_id)
            if reply is None:
                if task_id in heard:
                    yield Violation(plan_id, f"{task_id} was not answered")
                continue
            told = {name: str(reply.get(name)) for name in ("decision", "reason", "executed", "safe_qty", "plan_id")}
            if told != {name: results[0].get(name) for name in told}:
                yield Violation(plan_id, f"{task_id} was answered {told}")


def lost_messages(evidence: Evidence) -> Iterator[Violation]:
    """Every message that the broker acknowledged has reached a worker."""
    conflicts = {conflict.task_id for conflict in evidence.load.conflicts}
    junk = {entry.task_id: entry for entry in evidence.load.junk}
    aside = {entry.get("plan_id") for entry in evidence.set_aside if entry.get("reason") == Reason.PLAN_CONFLICT}
    texts = [entry.get("message", "") for entry in evidence.set_aside]
    for sent in evidence.sent:
        if sent.fate is not Fate.ACKNOWLEDGED:
            continue
        if sent.task_id in conflicts:
            arrived = sent.plan_id in aside or sent.task_id in evidence.replies
        elif sent.task_id in junk and junk[sent.task_id].raw:
            arrived = sent.task_id in evidence.logged or any(sent.task_id in text for text in texts)
        elif sent.task_id in junk:
            arrived = sent.task_id in evidence.results_of
        elif sent.task_id == sent.plan_id:
            arrived = sent.plan_id in evidence.records
        else:
            arrived = sent.task_id in evidence.replies
        if not arrived:
            yield Violation(sent.plan_id, f"{sent.task_id} was acknowledged ({sent.by}) and reached nobody")


def _registered(evidence: Evidence, plan_id: str) -> bool:
    sendings = evidence.sent_for.get(plan_id, ())
    return any(sent.by == "submit" and sent.fate is Fate.ACKNOWLEDGED for sent in sendings)

"""The counter of the chaos run can fail: each promise, broken in fabricated journals, is found, and nothing else is."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from tests.chaos import fabricated as fake
from tests.chaos.counter import RULES, broken, count
from tests.chaos.evidence import Evidence
from tests.chaos.fabricated import OUTCOME, PLAN_ID, RECORD, blocked, executed
from tests.chaos.journal import STORE_LOST, SWITCH, Fate, Sent, Window, Written
from tests.chaos.load import FOREIGN_SYMBOL, HELD, SMALL_SYMBOL, Conflict, Junk, Load
from tests.chaos.permits import Verdict
from tests.chaos.report import details, table

AGAIN = Sent("plan-1-again", PLAN_ID, "plain", Fate.ACKNOWLEDGED, 5_000, 5_001)
LATE_ORDER = replace(fake.ORDER, at_ms=fake.CONSUMED + fake.BOUNDS.lease_ms)
OTHER_ID = replace(fake.ORDER, client_order_id="pw-other")
JUNK = Junk(0.0, "junk-1", raw=b"junk-1")
INVALID = Junk(0.0, "junk-2", kwargs={"intent": 1})


def with_plan(**changes: Any) -> Load:
    return Load((fake.plan(**changes),), (), ())


def with_junk(junk: Junk) -> dict[str, Any]:
    sent = Sent(junk.task_id, "", "plain", Fate.ACKNOWLEDGED, 1, 2)
    return {"load": Load((fake.plan(),), (), (junk,)), "sent": (fake.SENDING, sent)}


def result_of(task_id: str, reason: str) -> dict[str, str]:
    return dict(OUTCOME) | {"plan_id": task_id, "decision": "BLOCKED", "executed": "False", "reason": reason}


def window(what: str, from_ms: int, until_ms: int) -> dict[str, Any]:
    return {"windows": (Window(what, from_ms - 1, from_ms, until_ms, until_ms + 1),)}


def halved() -> dict[str, Decimal]:
    return HELD | {fake.SYMBOL: HELD[fake.SYMBOL] - 2 * fake.QUANTITY}


def never_seen(**changes: Any) -> Evidence:
    facts: dict[str, Any] = {"orders": (), "results": (), "records": {}, "timelines": {}, "replies": {}}
    return executed(**{"held": HELD} | facts | changes)


def with_order() -> dict[str, Any]:
    return {"orders": (fake.ORDER,), "held": executed().held}


def with_conflict() -> dict[str, Any]:
    conflict = Conflict(1.0, PLAN_ID, fake.SYMBOL, "PARTIAL_50", "plan-1-other")
    sent = Sent(conflict.task_id, PLAN_ID, "plain", Fate.ACKNOWLEDGED, 2_000, 2_001)
    return {"load": Load((fake.plan(),), (conflict,), ()), "sent": (fake.SENDING, sent)}


def late(issuer: str) -> Written:
    deadline = fake.TAKEN_UP + fake.BOUNDS.wait_ms
    return next(
        replace(permit, sent_ms=deadline, until_ms=deadline) for permit in fake.written() if permit.issuer == issuer
    )


def unconfirmed() -> Written:
    return replace(fake.written()[0], until_ms=0)


def small_position() -> Evidence:
    evidence = blocked("order_rejected", (fake.CONSUMED,), load=with_plan(symbol=SMALL_SYMBOL))
    record = dict(evidence.records[PLAN_ID]) | {"content": f"{SMALL_SYMBOL}|PARTIAL_75|EXECUTE"}
    return replace(evidence, records={PLAN_ID: record})


SPOILED: dict[str, tuple[str, Callable[[], Evidence]]] = {
    "two orders": ("one_order", lambda: executed(orders=(fake.ORDER, fake.ORDER), held=halved())),
    "another client order id": ("one_order", lambda: executed(orders=(OTHER_ID,))),
    "two outcomes": ("one_outcome", lambda: executed(results=(OUTCOME, OUTCOME))),
    "no outcome": ("one_outcome", lambda: blocked("", results=())),
    "submitted and not recorded": (
        "one_outcome",
        lambda: never_seen(sent=(replace(fake.SENDING, by="submit"),)),
    ),
    "a result without a record": ("one_outcome", lambda: never_seen(results=(OUTCOME,))),
    "consumed twice": (
        "one_consumption",
        lambda: executed(timelines={PLAN_ID: fake.timeline(fake.CONSUMED, fake.CONSUMED + 1)}),
    ),
    "ordered without consuming": ("one_consumption", lambda: executed(timelines={PLAN_ID: fake.timeline()})),
    "ordered before consuming": (
        "one_consumption",
        lambda: executed(timelines={PLAN_ID: fake.timeline(fake.ORDERED + 1)}),
    ),
    "consumed at the deadline": (
        "nothing_late",
        lambda: blocked("interrupted", consumptions=(fake.TAKEN_UP + fake.BOUNDS.wait_ms,)),
    ),
    "ordered at the end of the lease": ("nothing_late", lambda: executed(orders=(LATE_ORDER,))),
    "a message left": ("nothing_left", lambda: executed(left={"unacked": 1})),
    "a plan left open": ("nothing_left", lambda: executed(left={"open": 1})),
    "a worker that does nothing": ("nothing_left", lambda: executed(idle=("w1",))),
    "a trimmed journal": ("nothing_trimmed", lambda: executed(trimmed={"results": 1})),
    "a strange order": (
        "nothing_unknown",
        lambda: executed(load=Load((), (), ()), sent=(), written=(), timelines=fake.executed().timelines),
    ),
    "refused as a conflict": (
        "nothing_unknown",
        lambda: executed(sent=(fake.SENDING, replace(AGAIN, task_id=PLAN_ID, fate=Fate.REFUSED))),
    ),
    "answered otherwise": (
        "one_answer",
        lambda: executed(sent=(fake.SENDING, AGAIN), replies={AGAIN.task_id: fake.replied(result_of(PLAN_ID, "x"))}),
    ),
    "not answered": ("one_answer", lambda: executed(replies={})),
    "answered with a failure": (
        "one_answer",
        lambda: executed(sent=(fake.SENDING, AGAIN), replies={AGAIN.task_id: {"status": "FAILURE"}}),
    ),
    "a lost plan": ("lost_messages", never_seen),
    "a lost repeat": ("lost_messages", lambda: executed(sent=(fake.SENDING, AGAIN))),
    "lost junk": ("lost_messages", lambda: executed(**with_junk(JUNK))),
    "a lost invalid message": ("lost_messages", lambda: executed(**with_junk(INVALID))),
    "a lost conflict": ("lost_messages", lambda: executed(**with_conflict())),
    "ordered although denied": ("only_granted", lambda: executed(written=fake.written(p33=Verdict.DENY))),
    "ordered before the grant": (
        "only_granted",
        lambda: executed(written=tuple(replace(permit, sent_ms=fake.ORDERED + 1) for permit in fake.written())),
    ),
    "ordered with one permit": ("only_granted", lambda: executed(written=fake.written()[:1])),
    "consumed although malformed": (
        "only_granted",
        lambda: blocked("interrupted", (fake.CONSUMED,), written=fake.written(governor=Verdict.MALFORMED)),
    ),
    "more than granted": ("only_granted", lambda: executed(load=with_plan(quantity=Decimal("0.007")))),
    "a symbol that is not allowed": (
        "only_granted",
        lambda: executed(
            load=with_plan(symbol=FOREIGN_SYMBOL),
            records={PLAN_ID: dict(RECORD) | {"content": f"{FOREIGN_SYMBOL}|PARTIAL_75|EXECUTE"}},
        ),
    ),
    "recorded otherwise": ("one_story", lambda: executed(records={PLAN_ID: dict(RECORD) | {"content": "other"}})),
    "record and result differ": ("one_story", lambda: executed(results=(dict(OUTCOME) | {"safe_qty": "9"},))),
    "executed without an order": ("one_story", lambda: executed(orders=(), held=HELD)),
    "blocked with an order": ("one_story", lambda: blocked("interrupted", (fake.CONSUMED,), **with_order())),
    "missing although there": ("right_reason", lambda: blocked("missing_p33")),
    "missing although denied": (
        "right_reason",
        lambda: blocked("missing_p33", written=fake.written(governor=Verdict.DENY)[:1]),
    ),
    "denied although granted": ("right_reason", lambda: blocked("governor_denied")),
    "expired although young": ("right_reason", lambda: blocked("plan_expired")),
    "interrupted without a consumption": ("right_reason", lambda: blocked("interrupted")),
    "rejected although held": ("right_reason", lambda: blocked("order_rejected", (fake.CONSUMED,))),
    "switched off although on": ("right_reason", lambda: blocked("kill_switch")),
    "server changed although not": ("right_reason", lambda: blocked("server_changed")),
    "no reason": ("right_reason", lambda: blocked("")),
    "consumed under the switch": ("switch_obeyed", lambda: executed(**window(SWITCH, 1_450, 1_505))),
    "ordered under the switch": ("switch_obeyed", lambda: executed(**window(SWITCH, 1_505, 1_600))),
    "a position that does not add up": ("positions_add_up", lambda: executed(held=HELD)),
    "junk with a result": (
        "others_set_aside",
        lambda: executed(
            **with_junk(JUNK), results=(OUTCOME, result_of("junk-1", "invalid_intent")), logged=frozenset({"junk-1"})
        ),
    ),
    "an invalid message with two results": (
        "others_set_aside",
        lambda: executed(**with_junk(INVALID), results=(OUTCOME, *[result_of("junk-2", "invalid_intent")] * 2)),
    ),
    "a conflict that was answered otherwise": (
        "others_set_aside",
        lambda: executed(**with_conflict(), replies={"plan-1-other": {"reason": "kill_switch"}}),
    ),
}


GOOD: dict[str, Callable[[], Evidence]] = {
    "executed": executed,
    "sent again": lambda: executed(
        sent=(fake.SENDING, AGAIN), replies=dict.fromkeys((PLAN_ID, AGAIN.task_id), fake.replied(OUTCOME))
    ),
    "unknown, never seen": lambda: never_seen(sent=(replace(fake.SENDING, fate=Fate.UNKNOWN),)),
    "denied": lambda: blocked("p33_denied", written=fake.written(p33=Verdict.DENY)),
    "missing": lambda: blocked("missing_p33", written=fake.written()[:1]),
    "missing, because late": lambda: blocked("missing_governor", written=(late("governor"), fake.written()[1])),
    "missing, because unconfirmed": lambda: blocked("missing_governor", written=(unconfirmed(), fake.written()[1])),
    "too late": lambda: blocked("deadline_passed", written=(late("governor"), late("p33"))),
    "interrupted": lambda: blocked("interrupted", (fake.CONSUMED,)),
    "rejected": small_position,
    "switched off": lambda: blocked("kill_switch", **window(SWITCH, fake.TAKEN_UP, fake.ENDED)),
    "server changed": lambda: blocked("server_changed", **window(STORE_LOST, fake.TAKEN_UP, fake.ENDED)),
    "junk in the log": lambda: executed(**with_junk(JUNK), logged=frozenset({"junk-1"})),
    "junk set aside": lambda: executed(**with_junk(JUNK), set_aside=({"message": "b'junk-1'"},)),
    "an invalid message": lambda: executed(
        **with_junk(INVALID), results=(OUTCOME, result_of("junk-2", "invalid_intent"))
    ),
    "a conflict": lambda: executed(
        **with_conflict(), replies=dict(executed().replies) | {"plan-1-other": {"reason": "plan_conflict"}}
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_what_is_right_is_not_complained_about(name: str) -> None:
    """Journals in which every promise held pass every rule."""
    findings = count(GOOD[name]())

    assert {} == {finding.rule: finding.violations for finding in findings if finding.violations}
    assert not broken(findings)


@pytest.mark.parametrize("name", SPOILED)
def test_what_is_wrong_is_found(name: str) -> None:
    """Journals in which one promise was broken fail its rule, and with it the run."""
    rule, spoil = SPOILED[name]
    findings = count(spoil())

    assert rule in {finding.rule for finding in findings if finding.violations}
    assert broken(findings)


def test_every_rule_is_shown_to_fail() -> None:
    """No rule of the counter is without journals that break it."""
    assert {rule.__name__ for rule in RULES} == {rule for rule, _ in SPOILED.values()}


def test_a_promise_fits_into_its_line() -> None:
    """The table of a run is 80 columns wide."""
    lines = list(table(executed(), {}, count(executed())))

    assert [] == [line for line in lines if len(line) > 80]


def test_a_broken_promise_is_told_with_its_story() -> None:
    """A violation is shown with the plan's sendings, permits, timeline and orders, in order of time."""
    evidence = executed(orders=(fake.ORDER, fake.ORDER))
    told = "\n".join(details(evidence, count(evidence)))

    assert f"one_order: {PLAN_ID}: 2 orders were submitted" in told
    parts = [f"{fake.SENT} sent plain", f"{fake.GRANTED} governor grants", f"{fake.CONSUMED} event=consumed", "ORDER"]
    assert sorted(parts, key=told.index) == parts

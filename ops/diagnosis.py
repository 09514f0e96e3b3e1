"""What happened to a plan, why, and what to do now: three short texts from everything that is known about it."""

from dataclasses import dataclass
from typing import Final

from ops.advice import ADVICE
from ops.advice_words import Said, age, at, sentence
from ops.case import Case
from ops.timeline import who
from tasks.reasons import Reason, missing_reason

#: A consumed plan this long after its lease is one that no worker looks after.
_STUCK_MS: Final = 30_000


@dataclass(frozen=True)
class Diagnosis:
    """One paragraph in three parts, and the commands that belong to the last."""

    what: str
    why: str
    todo: str
    commands: tuple[str, ...] = ()

    @property
    def paragraph(self) -> str:
        """The parts as one text."""
        return " ".join(part for part in (self.what, self.why, self.todo) if part)


def diagnose(case: Case) -> Diagnosis:
    """Of a plan in any state, or of a message that was no plan."""
    if case.outcome:
        return _ended(case)
    state = case.record.get("state", "")
    if state == "registered":
        return _registered(case)
    if state == "waiting":
        return _waiting(case)
    if state == "consumed":
        return _consumed(case)
    return _message(case)


def _ended(case: Case) -> Diagnosis:
    outcome, reason = case.outcome, case.reason
    after = f"after {outcome.get('wait_ms', '?')} ms and {_count(outcome.get('attempts', '0'), 'attempt')}"
    if reason is None:
        return _executed(case, after)
    if outcome.get("decision") == "UNKNOWN":
        what = f"Unknown: {reason.meaning}"
    elif outcome.get("decision") == "REJECTED":
        what = f"Rejected by the venue: {reason.meaning}"
    elif outcome.get("safe_qty"):
        what = f"Blocked {after}, its permits used up, nothing ordered: {reason.meaning}"
    else:
        what = f"Blocked {after}, nothing ordered: {reason.meaning}"
    return _advised(case, reason, what)


def _executed(case: Case, after: str) -> Diagnosis:
    outcome, ended = case.outcome, case.last("ended")
    if outcome.get("executed") != "True":
        return Diagnosis(
            f"Dry run: every permit was there and consumed {after}, for {outcome.get('safe_qty')}; no order was made.",
            "",
            "Nothing to do. To have orders made, start the workers with APPLY_MODE=paper.",
        )
    order = (
        f" as order {ended.facts['order_id']} ({ended.facts.get('side')})"
        if ended and "order_id" in ended.facts
        else ""
    )
    return Diagnosis(f"Executed: {outcome.get('safe_qty')} {case.symbol}{order}, {after}.", "", "Nothing to do.")


def _advised(case: Case, reason: Reason, what: str) -> Diagnosis:
    advice = ADVICE[reason.value]
    said = advice.look(case)
    return Diagnosis(what, said.why, said.todo or advice.todo, said.commands)


def _registered(case: Case) -> Diagnosis:
    since = age(case.now_ms - (case.ms("registered_ms") or case.now_ms))
    return Diagnosis(
        f"Registered {since} ago; no worker has taken it up yet.",
        "Its message waits in the queue `execute`, or was lost.",
        "If nothing takes it up it ends as plan_expired, by itself. See that a worker runs and answers:",
        ("celery -A workers inspect ping",),
    )


def _waiting(case: Case) -> Diagnosis:
    deadline = case.ms("deadline_ms") or case.now_ms
    left_ms = deadline - case.now_ms
    missing = [seen.name for seen in case.last_look() if seen.state == "missing"]
    names = " and ".join(missing) if missing else "its next attempt: every permit is there"
    if left_ms <= 0:
        return Diagnosis(
            f"Its wait for {names} is over since {age(-left_ms)}, and nobody has ended it yet.",
            "A running worker ends it within seconds.",
            "See that one runs and answers:",
            ("celery -A workers inspect ping",),
        )
    code = missing_reason(frozenset(missing), case.settings.permits).value if missing else "deadline_passed"
    return Diagnosis(
        f"It waits for {names}, for {age(left_ms)} more (until {at(deadline)}); then it blocks as {code}.",
        "",
        "Nothing to do; to end it now:",
        (f"permitwait open --cancel {case.plan_id}",),
    )


def _consumed(case: Case) -> Diagnosis:
    record = case.record
    lease_ms = (case.ms("lease_until_ms") or case.now_ms) - case.now_ms
    claimant = who(record.get("token", ""))
    if "recovering" in record:
        lookups = _count(record.get("lookups", "0"), "lookup")
        what = f"Its permits are consumed, and its order is being looked up ({lookups} so far), now by {claimant}."
    else:
        what = f"Its permits are consumed for {record.get('safe_qty')}; {claimant} holds the claim to order."
    if lease_ms > 0:
        return Diagnosis(
            what, f"That claim ends in {age(lease_ms)}.", "Nothing to do: its order is placed, or looked up."
        )
    why = f"That claim is over since {age(-lease_ms)}: the next worker looks the order up and never submits."
    if lease_ms > -_STUCK_MS:
        return Diagnosis(what, why, "Nothing to do: a running worker does that within seconds.")
    return Diagnosis(
        what,
        why,
        "No worker has done so. See that one runs and answers, or look the order up at the venue and tell.",
        ("celery -A workers inspect ping", f"permitwait open --resolve {case.plan_id} --not-executed"),
    )


def _message(case: Case) -> Diagnosis:
    told = case.set_aside[0] if case.set_aside else {}
    reason = case.reason
    if reason is None:
        what = f"No plan: a message under this id was set aside: {told.get('reason', 'unknown')}."
        return Diagnosis(what, sentence(told.get("detail", "")), "Correct whatever sends it.")
    return _advised(case, reason, f"No plan: a message under this id was set aside: {reason.meaning}")


def aside(case: Case) -> Said:
    """What is to be said of messages that were set aside under the id of a plan that goes its own way."""
    if not case.record or not case.set_aside:
        return Said()
    newest = case.set_aside[0]
    many = _count(str(len(case.set_aside)), "message")
    try:
        todo = ADVICE[Reason(newest.get("reason", "")).value].todo
    except ValueError:
        todo = "Correct whatever sends it."
    return Said(
        f"{many} under this id set aside, the newest: {newest.get('reason')}. {sentence(newest.get('detail', ''))}",
        todo,
    )


def _count(number: str, of: str) -> str:
    return f"{number} {of}" if number == "1" else f"{number} {of}s"

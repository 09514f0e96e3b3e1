"""Advice where a permit is missing, malformed, for something else, or for too much."""

from ops.advice_words import Said, again, age, found
from ops.case import Case
from ops.timeline import Event
from tasks.issuers import TASKS
from tasks.reasons import PERMIT_NAMES, Reason

#: Names of our judges in the timeline.
_JUDGES = {"governor": "governor", "p33": "position"}


def missing(case: Case) -> Said:
    """For each missing permit: who should have written it, and what is known of that."""
    names = missing_names(case.reason, case.settings.permits)
    told = [_absence(case, name) for name in names]
    commands = tuple(dict.fromkeys(command for _, command in told if command))
    why = " ".join(sentence for sentence, _ in told)
    if commands:
        return Said(why, "Start a worker that reads the queue, then send a new plan.", (*commands, *again(case)))
    ours = [name for name in names if name in case.settings.issuers]
    if not ours:
        todo = "Start the service, or find out what keeps it; then send a new plan."
    else:
        todo = (
            "Look for [ISSUER] lines in the workers' logs. Where the judges are only slow, give them workers of "
            "their own, or raise APPLY_PERMIT_WAIT_MS. Then send a new plan."
        )
    return Said(why, todo, again(case))


def missing_names(reason: Reason | None, required: tuple[str, ...]) -> list[str]:
    """The permits that a reason of absence names."""
    code = "" if reason is None else reason.value
    if code in {"missing_both", "missing_all"}:
        return list(required)
    return [name for name in PERMIT_NAMES if name in code.removeprefix("missing_").split("_")]


def _absence(case: Case, name: str) -> tuple[str, str]:
    """What is known about why a permit never came, and the command that helps, "" where none is known to."""
    key = case.keys.permit(name, case.plan_id)
    last_look = {seen.name: seen for seen in case.last_look()}
    came = case.first_seen(name)
    if came and name in last_look and last_look[name].state == "missing":
        return (
            f"{name}: it was there at {_relative(case, came)} and gone before the others came (expired, or deleted).",
            "",
        )
    if name not in case.settings.issuers or name not in TASKS:
        return f"{name}: nothing wrote {key}; that is a service of yours (APPLY_ISSUERS does not name it here).", ""
    late = case.last(_JUDGES[name], verdict="late")
    if late:
        return f"{name}: our judge came {age(late.at_ms - (case.ms('ended_ms') or late.at_ms))} after the end.", ""
    judged = case.last(_JUDGES[name])
    if judged:
        return f"{name}: our judge answered at {_relative(case, judged)}, too late to be used, or it was deleted.", ""
    if name not in case.alive:
        queue = TASKS[name][1]
        return f"{name}: no worker gives a sign of life on its queue, {queue}.", f"celery -A workers worker -Q {queue}"
    return f"{name}: our judge runs now, and has not answered this plan.", ""


def _relative(case: Case, event: Event) -> str:
    after = case.after_take_up_ms(event.at_ms)
    return "an unknown time" if after is None else f"{after:+d} ms"


def malformed(case: Case) -> Said:
    """What was found in the permit, and where it stands."""
    name = (case.reason or "").removeprefix("invalid_").removesuffix("_permit")
    key = case.keys.permit(name, case.plan_id)
    return Said(f"{found(case)} It stood in {key}.", _correct(case, name), again(case))


def mismatch(case: Case) -> Said:
    """Whose permit names what."""
    name = case.detail.partition(" ")[0]
    where = f" It stood in {case.keys.permit(name, case.plan_id)}." if name in PERMIT_NAMES else ""
    todo = "The service put another plan's permit under this plan's key. Correct it, then send a new plan."
    return Said(found(case) + where, todo, again(case))


def time_to_live(case: Case) -> Said:
    """What its life was, what is allowed."""
    name = case.detail.partition(" ")[0]
    limit_s = case.settings.permit_max_ttl_ms // 1000
    key = case.keys.permit(name if name in PERMIT_NAMES else "governor", "PLAN_ID")
    todo = f"Have the service write it with a life of at most {limit_s} s (SET {key} … EX 60), then send a new plan."
    return Said(found(case), todo, again(case))


def safe_qty(case: Case) -> Said:
    """The quantity that is none."""
    if "rounding down" in case.detail:
        todo = "Send a plan that closes more, or leave a rest smaller than the step where it is."
        return Said(found(case), todo, again(case, action="FULL_CLOSE_PROPOSED", close_qty=None))
    return Said(found(case), _correct(case, "p33"), again(case))


def above_governor(case: Case) -> Said:
    """More was asked for than the action's part of the position."""
    asked = case.intent.get("close_qty")
    if asked is None:
        todo = "The two permits were computed from different positions. Send a new plan: both are asked again."
        return Said(found(case), todo, again(case))
    return Said(
        f"{found(case)} The plan's close_qty, {asked}, is more than its action stands for.",
        "Send a new plan whose close_qty is not above what the Governor computed, or without one:",
        again(case, close_qty=None),
    )


def deadline_passed(case: Case) -> Said:
    """Which permit came last, and when."""
    came = {name: case.first_seen(name) for name in case.settings.permits}
    told = [f"{name} at {_relative(case, event)}" for name, event in came.items() if event]
    first_seen = f" First seen: {', '.join(told)}." if told else ""
    todo = (
        "Send a new plan. If it repeats: the judges are too slow or the workers too busy; start more of them, or raise "
        "APPLY_PERMIT_WAIT_MS."
    )
    return Said(found(case) + first_seen, todo, again(case))


def _correct(case: Case, name: str) -> str:
    if name in case.settings.issuers:
        return (
            f"This shell's settings say that {name} is our own issuer: find out what else writes this key. Then send "
            "a new plan."
        )
    return "Correct the service that writes it (what it must say: docs/permits.md); then send a new plan."

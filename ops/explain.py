"""`permitwait explain PLAN_ID`: the whole timeline of one plan, then what happened, why, and what to do now."""

from textwrap import wrap
from typing import Any

from ops import screen
from ops.advice_words import at
from ops.case import Case, gather
from ops.diagnosis import Diagnosis, aside, diagnose
from ops.timeline import Event, in_words
from tasks.address import RedisAddress
from tasks.settings import Settings
from tasks.store import Store, connect

#: Columns: of the time, of the word, of a terminal.
_TIME, _WORD, _ALL = 10, 12, 80


def run(settings: Settings, plan_id: str, *, as_json: bool) -> int:
    """Explain one plan; exit code 0, or 1 where nothing is known of it.

    Raises:
        StoreUnavailable: Redis gave no answer.
    """
    store = Store(connect(RedisAddress.parse(settings.redis_url), timeout_ms=2_000))
    case = gather(store, settings, plan_id)
    if not case.found:
        _tell_unknown(case, as_json=as_json)
        return 1
    diagnosis = diagnose(case)
    if as_json:
        screen.data(_document(case, diagnosis))
    else:
        for line in lines_of(case, diagnosis):
            screen.out.print(line, markup=False)
    return 0


def lines_of(case: Case, diagnosis: Diagnosis) -> list[str]:
    """Everything, as lines of at most 80 columns, but for commands and ids that are longer."""
    lines = [*_head(case), ""]
    if case.events:
        lines += _timeline(case)
    else:
        kept = "its result entry" if case.outcome else "the messages set aside"
        lines.append(f"no timeline (any more): told from {kept}")
    lines += ["", *wrap(screen.printable(diagnosis.paragraph), _ALL)]
    for command in diagnosis.commands:
        lines += ["", *(f"    {line}" for line in screen.printable(command, keep="\n").split("\n"))]
    beside = aside(case)
    if beside.why:
        lines += ["", *wrap(screen.printable(f"{beside.why} {beside.todo}"), _ALL)]
    return lines


def _head(case: Case) -> list[str]:
    intent, outcome = case.intent, case.outcome
    lines = [f"plan {case.plan_id}  {case.symbol or '-'}  {intent.get('action', '-')}"]
    if outcome:
        decision = outcome.get("decision", "")
        executed = "" if decision != "EXECUTE" else " executed" if outcome.get("executed") == "True" else " (dry run)"
        lines.append(f"{decision}{executed} {outcome.get('reason', '')}".rstrip())
    else:
        lines.append(case.record.get("state", "no plan"))
    sent = [f"source {intent['source']}"] if intent.get("source") else []
    if intent.get("created_at") is not None:
        sent.append(f"created {at(int(float(intent['created_at']) * 1000))}")
    if sent:
        lines.append(", ".join(sent))
    return [part for line in lines for part in wrap(screen.printable(line), _ALL)]


def _timeline(case: Case) -> list[str]:
    taken_up_ms = case.ms("taken_up_ms")
    zero = case.events[0].at_ms if taken_up_ms is None else taken_up_ms
    name = "first entry" if taken_up_ms is None else "taken up"
    lines = [f"{'time':>{_TIME}}  what happened (0 = {name} {at(zero)}, Redis clock)"]
    told = 0
    for event in case.events:
        attempt = int(event.facts.get("attempt", "0"))
        if attempt - told > 1 and told:
            lines += _row("", "", f"({_looks(attempt - told - 1)} in between saw the same)")
        told = max(told, attempt)
        if event.kind == "ended":
            lines += _unseen(case, told, zero)
            told = int(case.record.get("attempts", told))
        word, text = in_words(event, case.keys, case.plan_id)
        lines += _row(relative(event.at_ms - zero), word, text)
    if "ended_ms" not in case.record:
        lines += _unseen(case, told, zero)
    return lines


def _unseen(case: Case, told: int, zero: int) -> list[str]:
    """The looks after the last one that saw something new: how many, when the last, and the lives left then."""
    more = int(case.record.get("attempts", "0")) - told
    last_ms = case.ms("last_look_ms")
    if more <= 0 or last_ms is None or "consumed_ms" in case.record:
        return []
    ttls = zip(case.settings.permits, case.record.get("last_look_ttls_ms", "").split(","), strict=False)
    lives = ", ".join(f"{name} {int(ttl) / 1000:.1f} s" for name, ttl in ttls if ttl.isdigit())
    left = f", {lives} left" if lives else ""
    return _row(relative(last_ms - zero), "looked", f"{_looks(more)} saw the same, this was the last{left}")


def _looks(number: int) -> str:
    return "1 more look" if number == 1 else f"{number} more looks"


def _row(time: str, word: str, text: str) -> list[str]:
    indent = " " * (_TIME + _WORD + 3)
    first = f"{time:>{_TIME}}  {word:<{_WORD}} "
    return wrap(screen.printable(text), _ALL, initial_indent=first, subsequent_indent=indent) or [first.rstrip()]


def relative(ms: int) -> str:
    """A time from the take-up on, with its sign: in ms, and in s or min where that is long."""
    if abs(ms) < 10_000:  # noqa: PLR2004 - four digits are read at a glance
        return f"{ms:+d} ms" if ms else "0 ms"
    return f"{ms / 1000:+.1f} s" if abs(ms) < 600_000 else f"{ms / 60_000:+.0f} min"  # noqa: PLR2004 - ten minutes


def _document(case: Case, diagnosis: Diagnosis) -> dict[str, Any]:
    return {
        "plan_id": case.plan_id,
        "found": True,
        "found_in": "record" if case.record else "results" if case.outcome else "set_aside",
        "state": case.record.get("state", ""),
        "intent": {name: str(value) for name, value in case.intent.items()},
        "outcome": case.outcome or None,
        "record": case.record or None,
        "timeline": [_entry(case, event) for event in case.events],
        "set_aside": list(case.set_aside),
        "diagnosis": {
            "what": diagnosis.what,
            "why": diagnosis.why,
            "todo": diagnosis.todo,
            "commands": list(diagnosis.commands),
        },
        "beside": {"why": aside(case).why, "todo": aside(case).todo},
    }


def _entry(case: Case, event: Event) -> dict[str, Any]:
    word, text = in_words(event, case.keys, case.plan_id)
    after_ms = case.after_take_up_ms(event.at_ms)
    told = {"at_ms": event.at_ms, "after_take_up_ms": after_ms, "event": event.kind, "word": word, "text": text}
    return told | {"facts": event.facts}


def _tell_unknown(case: Case, *, as_json: bool) -> None:
    searched, keys = case.searched, case.keys
    oldest = at(searched.results_since.partition("-")[0]) if searched.results_since else ""
    looked_in = {
        keys.record(case.plan_id): "no record",
        keys.timeline(case.plan_id): "no timeline",
        keys.results: f"not among {searched.results} results" + (f" since {oldest}" if oldest else ""),
        keys.rejected: f"not among {searched.set_aside} messages set aside",
    }
    if as_json:
        screen.data({"plan_id": case.plan_id, "found": False, "looked_in": looked_in})
        return
    screen.out.print(screen.printable(f"nothing is known of {case.plan_id}; looked in"), markup=False)
    for key, answer in looked_in.items():
        screen.out.print(screen.printable(f"  {key}\n      {answer}", keep="\n"), markup=False)
    screen.out.print(f"records are kept {case.settings.record_ttl_s} s after a plan's end (APPLY_RECORD_TTL_S)")
    screen.out.print(f"is the namespace right? APPLY_NAMESPACE={case.settings.namespace}", markup=False)

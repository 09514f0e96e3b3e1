"""`permitwait submit`: intents as JSON lines become plans."""

import json
from collections.abc import Iterator
from typing import TextIO

from ops import screen
from tasks.errors import InvalidIntent, OutcomePending, PlanConflict
from tasks.intent import parse_intent
from tasks.outcome import Outcome
from tasks.settings import Settings
from tasks.submit import Handle, submit


def run(source: TextIO, settings: Settings, *, wait: bool, timeout_s: float, as_json: bool) -> int:
    """Submit every line, then print each outcome where `wait`. Returns the exit code.

    0: all submitted (with `wait`: all executed or would have), 1: with `wait`, one was not, 2: a line was bad.
    """
    handles: list[Handle] = []
    bad = 0
    for number, handle in _submitted(source, settings):
        if handle is None:
            bad += 1
            continue
        handles.append(handle)
        if not wait:
            _print_submitted(number, handle, as_json=as_json)
    if not handles and not bad:
        screen.say("no plan was given: nothing was submitted")
    executed = True
    if wait:
        for handle in handles:
            executed = _print_outcome(handle, timeout_s, as_json=as_json) and executed
    if bad:
        screen.say(f"{bad} bad line(s), {len(handles)} submitted")
        return 2
    return 0 if executed else 1


def _submitted(source: TextIO, settings: Settings) -> Iterator[tuple[int, Handle | None]]:
    for number, line in enumerate(source, start=1):
        if not line.strip():
            continue
        try:
            yield number, submit(parse_intent(json.loads(line)), settings=settings)
        except ValueError as error:
            said = f"{error.msg} at character {error.pos + 1}" if isinstance(error, json.JSONDecodeError) else error
            screen.say(f"line {number}: not JSON: {said}")
            yield number, None
        except RecursionError:
            screen.say(f"line {number}: not JSON: nested too deeply")
            yield number, None
        except (InvalidIntent, PlanConflict) as error:
            screen.say(f"line {number}: {error}")
            yield number, None


def _print_submitted(number: int, handle: Handle, *, as_json: bool) -> None:
    if as_json:
        screen.data_line({"line": number, "plan_id": handle.plan_id})
    else:
        screen.out.print(f"submitted plan={handle.plan_id}", markup=False)


def _print_outcome(handle: Handle, timeout_s: float, *, as_json: bool) -> bool:
    try:
        outcome = handle.result(timeout_s)
    except OutcomePending as error:
        if as_json:
            screen.data_line({"plan_id": handle.plan_id, "decision": None, "error": str(error)})
        else:
            screen.out.print(f"PENDING  plan={handle.plan_id} ({error})", markup=False)
        return False
    if as_json:
        screen.data_line(outcome.as_result())
    else:
        screen.out.print(one_line(outcome), markup=False)
    return outcome.decision == "EXECUTE"


def one_line(outcome: Outcome) -> str:
    """An outcome for a person: the word first, then what matters for that word."""
    facts = f"plan={outcome.plan_id} symbol={outcome.symbol} wait_ms={outcome.wait_ms} attempts={outcome.attempts}"
    if outcome.decision == "EXECUTE":
        done = "executed" if outcome.executed else "dry run, would execute"
        return f"EXECUTE  {facts} qty={outcome.safe_qty} ({done})"
    return f"{outcome.decision:8} {facts} reason={outcome.reason}"

"""What advice is made of: sentences with the facts of one plan, and commands that can be run as they are shown."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from ops.case import Case

#: Of an intent these are sent again; the others are records of a moment that has passed.
_SENT_AGAIN: Final = ("symbol", "action", "decision", "kill_score", "close_qty", "source")

_LONGEST_ID: Final = 64


@dataclass(frozen=True)
class Said:
    """Why, and what to do now; `todo` replaces the general advice where the facts allow better."""

    why: str = ""
    todo: str = ""
    commands: tuple[str, ...] = ()


def again(case: Case, **changes: Any) -> tuple[str, ...]:  # noqa: ANN401 - any field of an intent; None drops one
    """The command that sends the plan once more under a new id, with `changes`; none where the plan is not known."""
    intent = case.intent | {"decision": "EXECUTE"} | changes
    if not intent.get("symbol") or not intent.get("action"):
        return ()
    fields = {"plan_id": f"{case.plan_id[: _LONGEST_ID - 2]}-2"}
    fields |= {name: intent[name] for name in _SENT_AGAIN if intent.get(name) is not None}
    parts = [f"{json.dumps(name)}: {_json(value)}" for name, value in fields.items()]
    # Of free text, what a shell's echo would change is left out.
    parts = [part for part in parts if not {"\\", "'"} & set(part)]
    lines = [parts[0]]
    for part in parts[1:]:
        if len(lines[-1]) + len(part) < 58:  # noqa: PLR2004 - a terminal has 80 columns
            lines[-1] += f", {part}"
        else:
            lines.append(part)
    # echo joins its arguments with a space: one line of JSON, however many lines the terminal shows.
    quoted = ",' \\\n  '".join(lines)
    return (f"echo '{{{quoted}}}' \\\n  | permitwait submit - --wait",)


def _json(value: object) -> str:
    return f"{value:f}" if isinstance(value, Decimal) else json.dumps(value)


def at(epoch_ms: str | int | None) -> str:
    """A moment as a person reads it, UTC; to the second."""
    try:
        return datetime.fromtimestamp(int(epoch_ms or "") / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return "an unknown time"


def age(ms: int) -> str:
    """A length of time in the unit that fits it."""
    for unit, length in (("h", 3_600_000), ("min", 60_000), ("s", 1_000)):
        if abs(ms) >= 2 * length or (unit == "s" and abs(ms) >= length):
            return f"{ms / length:.{1 if unit == 's' and abs(ms) < 60_000 else 0}f} {unit}"  # noqa: PLR2004 - a minute
    return f"{ms} ms"


def sentence(text: str) -> str:
    """`text` with a capital and a full stop; empty stays empty."""
    text = text.strip().rstrip(".")
    return f"{text[0].upper()}{text[1:]}." if text else ""


def found(case: Case) -> str:
    """What stood in the way, in the gate's own words."""
    return sentence(f"Found: {case.detail}") if case.detail else ""

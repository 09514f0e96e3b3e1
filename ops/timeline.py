"""A plan's timeline in Redis, read and put into words; nothing here decides anything."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from tasks.keys import Keys
from tasks.permit import Defect, PositionPermit, read_permit, refusal_context
from tasks.reasons import PERMIT_NAMES
from tasks.store import Store

#: Entries that one timeline can hold: its cap is about 200, and the server trims whole blocks.
_MOST: Final = 1_000

#: A timeline keeps this many bytes of a permit (`lua/consume_permits.lua`); of a longer one the form is not known.
_TOLD_BYTES: Final = 512

#: What a claim's token begins with where nobody gave the process a name.
_UNNAMED: Final = "an unnamed process"


@dataclass(frozen=True)
class Event:
    """One entry: when (epoch ms, Redis clock), what, and its facts."""

    at_ms: int
    kind: str
    facts: dict[str, str]


@dataclass(frozen=True)
class Seen:
    """One permit as a look saw it: `state` is missing, granted, denied, malformed or a Redis type; TTL in ms."""

    name: str
    state: str
    ttl_ms: int
    said: str = ""

    def __str__(self) -> str:
        """For a line of the timeline."""
        life = "" if self.ttl_ms == -2 else ", never expires" if self.ttl_ms == -1 else f", {self.ttl_ms / 1000:.1f} s"  # noqa: PLR2004 - Redis' own figure
        return f"{self.name} {self.state}{life}" + (f" ({self.said})" if self.said else "")


def read_timeline(store: Store, keys: Keys, plan_id: str) -> tuple[Event, ...]:
    """Everything the timeline holds, oldest first.

    Raises:
        StoreUnavailable: Redis gave no answer.
    """
    return tuple(
        Event(int(entry_id.partition("-")[0]), facts.pop("event", "?"), facts)
        for entry_id, facts in store.entries(keys.timeline(plan_id), _MOST)
    )


def seen_at(event: Event, keys: Keys, plan_id: str) -> list[Seen]:
    """What a look saw of every permit that it looked for."""
    found = []
    for name in PERMIT_NAMES:
        told = event.facts.get(keys.permit(name, plan_id))
        if told is not None:
            ttl_ms, kind, raw = told.split(" ", 2)
            found.append(_seen(name, int(ttl_ms), kind, raw))
    return found


def _seen(name: str, ttl_ms: int, kind: str, text: str) -> Seen:
    if kind == "none":
        return Seen(name, "missing", ttl_ms)
    if kind.endswith(":before"):
        return Seen(name, "from before the server's change", ttl_ms)
    if kind != "string":
        return Seen(name, f"a Redis {kind}", ttl_ms)
    raw = text.encode()
    if len(raw) >= _TOLD_BYTES:
        return Seen(name, "there", ttl_ms)
    permit = read_permit(name, raw)
    if isinstance(permit, Defect):
        return Seen(name, "malformed", ttl_ms, permit.detail)
    if not permit.grants:
        return Seen(name, "denied", ttl_ms, refusal_context(raw))
    said = f"safe_close_qty {permit.safe_close_qty}" if isinstance(permit, PositionPermit) else ""
    return Seen(name, "granted", ttl_ms, said)


def who(token: str) -> str:
    """The name in a claim's token: a worker, or an operator's command."""
    return token.rpartition("/")[0] or _UNNAMED


def in_words(event: Event, keys: Keys, plan_id: str) -> tuple[str, str]:
    """An event as a word and a sentence; also of kinds that this version does not know."""
    if event.kind in {"taken_up", "look"}:
        return _look(event, keys, plan_id)
    if event.kind in _IN_WORDS:
        word, tell = _IN_WORDS[event.kind]
        return word, tell(event.facts)
    return event.kind.replace("_", " ")[:12], ", ".join(f"{name} {value}" for name, value in event.facts.items())


def _look(event: Event, keys: Keys, plan_id: str) -> tuple[str, str]:
    facts, found = event.facts, "; ".join(map(str, seen_at(event, keys, plan_id)))
    if "switch" in facts:
        found = f"kill switch set to {facts['switch']!a}; {found}"
    if "block" in facts:
        found = f"a block record of the Governor ({refusal_context(facts['block'].encode()) or 'unreadable'}); {found}"
    if event.kind == "taken_up":
        return "taken up", f"by {who(facts.get('by', ''))}, for {facts.get('left_ms')} ms at most: {found}"
    return f"look {facts.get('attempt')}", found


def _governor(facts: dict[str, str]) -> str:
    if facts.get("verdict") == "late":
        return "its judge came only now: the plan had ended"
    if facts.get("verdict") != "granted":
        return f"refused: {facts.get('reason')}{_counted(facts)}{_figures(facts.get('context', ''))}"
    permit = _document(facts.get("permit", ""))
    return f"granted: computed_qty {permit.get('computed_qty')}, {permit.get('computed_notional')} USD"


def _counted(facts: dict[str, str]) -> str:
    return f", {facts['counted']} against a limit of {facts['limit']}" if facts.get("limit") else ""


def _position(facts: dict[str, str]) -> str:
    if facts.get("verdict") == "late":
        return "its judge came only now: the plan had ended"
    permit = _document(facts.get("permit", ""))
    if permit.get("allow"):
        held = f"exchange {permit.get('exchange_position_amt')}, ledger {permit.get('ledger_amt')}"
        return f"allowed: safe_close_qty {permit.get('safe_close_qty')} ({held})"
    holder = f", held by plan {facts['holder']}" if "holder" in facts else ""
    return f"denied: {permit.get('reason')}{holder}{_figures(json.dumps(permit.get('context', {})))}"


def _ended(facts: dict[str, str]) -> str:
    order = f"order {facts['order_id']}, {facts.get('side')} {facts.get('qty')}" if facts.get("order_id") else ""
    found = "; ".join(part for part in (order, facts.get("detail", "")) if part)
    parts = [f"{facts.get('state')}{f': {found}' if found else ''}"]
    if "given_back" in facts:
        parts.append("its share of the Governor's limits given back")
    if facts.get("ledger_amt"):
        parts.append(f"ledger now {facts['ledger_amt']}")
    return "; ".join([*parts, f"by {who(facts.get('by', ''))}"])


def _resolved(facts: dict[str, str]) -> str:
    order = f" as order {facts['order_id']}: {facts.get('side')} {facts.get('qty')}" if facts.get("order_id") else ""
    moved = f"; ledger now {facts['ledger_amt']}" if facts.get("ledger_amt") else ""
    return f"{facts.get('as', '').replace('_', ' ')}{order}, by {facts.get('who')}: {facts.get('why')}{moved}"


def _figures(context: str) -> str:
    found = _document(context)
    return f" ({', '.join(f'{name} {value}' for name, value in found.items())})" if found else ""


def _document(text: str) -> dict[str, Any]:
    # Numbers are shown as they were written.
    try:
        found = json.loads(text, parse_float=str)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _seconds(ms: str | None) -> str:
    return f"{int(ms) / 1000:g} s" if ms and ms.isdigit() else "unknown length"


def _consumed(facts: dict[str, str]) -> str:
    claim = f"waited {facts.get('wait_ms')} ms; claim of {_seconds(facts.get('lease_ms'))}"
    return f"attempt {facts.get('attempt')} by {who(facts.get('by', ''))}: for {facts.get('safe_qty')}; {claim}"


#: The word in front, and what makes the sentence behind it.
_IN_WORDS: Final[dict[str, tuple[str, Callable[[dict[str, str]], str]]]] = {
    "submitted": ("registered", lambda facts: "by permitwait feed" if facts.get("via") == "feed" else "by submit()"),
    "governor": ("governor", _governor),
    "position": ("position", _position),
    "ledger_started": ("position", lambda facts: f"no ledger yet: it begins at what is held, {facts.get('amt')}"),
    "consumed": ("consumed", _consumed),
    "claim_taken_over": (
        "taken over",
        lambda facts: f"by {who(facts.get('by') or facts.get('token', ''))}: the claim was over, not ended",
    ),
    "sending": (
        "sending",
        lambda facts: f"to {facts.get('venue')}, to be accepted within {facts.get('window_ms')} ms",
    ),
    "unanswered": ("no answer", lambda facts: f"the order may exist: {facts.get('detail')}"),
    "looked_up": (
        "looked up",
        lambda facts: f"{facts.get('found')} ({facts.get('misses', '0')} misses): {facts.get('detail')}",
    ),
    "ended": ("recorded", _ended),
    "resolved": ("resolved", _resolved),
    "repeat": ("repeat", lambda facts: f"repeated message {facts.get('number')}, answered with the stored outcome"),
    "set_aside": ("set aside", lambda facts: f"another message, {facts.get('reason')}: {facts.get('detail')}"),
}

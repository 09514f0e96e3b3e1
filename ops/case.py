"""Everything that is known about one plan, gathered in one place before anything is said about it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from ops.timeline import Event, Seen, read_timeline, seen_at
from tasks.issuers import TASKS
from tasks.judge import SWITCH_OFF
from tasks.keys import Keys
from tasks.reasons import Reason
from tasks.settings import Settings
from tasks.store import Store

#: Entries read in one go from a stream that is searched.
_PAGE: Final = 1_000

Entry = dict[str, str]


@dataclass(frozen=True)
class Searched:
    """Where was looked for a plan, and how far: for the answer that it is not known."""

    results: int
    results_since: str
    set_aside: int


@dataclass(frozen=True)
class Case:
    """One plan, or message, as Redis knows it now.

    Attributes:
        record: the plan's record, empty where there is none (any more).
        outcome: the fields of its outcome from the record, else from the result stream; empty without one.
        set_aside: messages under this id that were put aside, newest first.
        switch: what the kill switch is set to now, "" where it is off; `switch_info` who, why, when.
        halts: what set or cleared the switch, newest first: who, why, when.
        alive: our issuers that gave a sign of life within seconds.
    """

    plan_id: str
    now_ms: int
    keys: Keys
    settings: Settings
    record: Entry
    outcome: Entry
    events: tuple[Event, ...]
    set_aside: tuple[Entry, ...]
    switch: str
    switch_info: Entry
    halts: tuple[Entry, ...]
    alive: frozenset[str]
    searched: Searched

    @property
    def found(self) -> bool:
        """Whether anything at all is known."""
        return bool(self.record or self.outcome or self.set_aside or self.events)

    @property
    def reason(self) -> Reason | None:
        """Why the plan did not become an order; None where it did, or has not ended."""
        told = self.outcome or (self.set_aside[0] if self.set_aside and not self.record else {})
        try:
            return Reason(told.get("reason", ""))
        except ValueError:
            return None

    @property
    def intent(self) -> dict[str, Any]:
        """The intent as it was kept, numbers exact; at least what record and outcome tell."""
        symbol, _, rest = self.record.get("content", "").partition("|")
        known = {"plan_id": self.plan_id, "symbol": symbol or self.outcome.get("symbol", "")}
        if rest:
            known["action"] = rest.partition("|")[0]
        try:
            kept = json.loads(self.record.get("intent", "{}"), parse_float=Decimal)
        except ValueError:
            kept = {}
        return known | (kept if isinstance(kept, dict) else {})

    @property
    def symbol(self) -> str:
        """The plan's symbol, "" where it is not known."""
        return str(self.intent.get("symbol") or "")

    @property
    def detail(self) -> str:
        """What was found when the plan ended."""
        if "detail" in self.record:
            return self.record["detail"]
        told = [entry["detail"] for entry in self.set_aside if entry.get("detail")]
        return told[0] if told else ""

    def ms(self, field: str) -> int | None:
        """A time of the record, epoch ms."""
        text = self.record.get(field, "")
        return int(text) if text.isdigit() else None

    def after_take_up_ms(self, at_ms: int | None) -> int | None:
        """Milliseconds from the moment a worker took the plan up; None where one of the two is not known."""
        taken_up_ms = self.ms("taken_up_ms")
        return None if at_ms is None or taken_up_ms is None else at_ms - taken_up_ms

    def last(self, kind: str, **facts: str) -> Event | None:
        """The newest event of a kind with these facts."""
        fitting = (
            event for event in reversed(self.events) if event.kind == kind and facts.items() <= event.facts.items()
        )
        return next(fitting, None)

    def last_look(self) -> list[Seen]:
        """What the newest told look saw of each permit."""
        looks = [event for event in self.events if event.kind in {"taken_up", "look"}]
        return seen_at(looks[-1], self.keys, self.plan_id) if looks else []

    def first_seen(self, name: str) -> Event | None:
        """The look that first saw a permit."""
        for event in self.events:
            if event.kind in {"taken_up", "look"}:
                for seen in seen_at(event, self.keys, self.plan_id):
                    if seen.name == name and seen.state != "missing":
                        return event
        return None


def gather(store: Store, settings: Settings, plan_id: str) -> Case:
    """Read everything about a plan id, or the id of a message that was no plan.

    Raises:
        StoreUnavailable: Redis gave no answer.
    """
    keys = Keys(settings.namespace)
    record = store.hash(keys.record(plan_id))
    outcome, results, since = record if "ended_ms" in record else {}, 0, ""
    if not record:
        outcome, results, since = _search_results(store, keys, plan_id)
    messages = [entry for _, entry in newest(store, keys.rejected)]
    switch = store.text(keys.kill_switch)
    return Case(
        plan_id=plan_id,
        now_ms=int(store.now_s() * 1000),
        keys=keys,
        settings=settings,
        record=record,
        outcome=outcome,
        events=read_timeline(store, keys, plan_id),
        set_aside=tuple(entry for entry in messages if plan_id in {entry.get("plan_id"), entry.get("task_id")}),
        switch="" if switch in SWITCH_OFF else switch.decode(errors="replace"),
        switch_info=store.hash(keys.kill_switch_info),
        halts=_halts(store, keys),
        alive=frozenset(issuer for issuer in TASKS if store.hash(keys.heartbeat(issuer))),
        searched=Searched(results, since, len(messages)),
    )


def _search_results(store: Store, keys: Keys, plan_id: str) -> tuple[Entry, int, str]:
    """The plan's result entry, how many were looked at, and the id of the oldest of them."""
    looked_at, oldest = 0, ""
    for entry_id, entry in newest(store, keys.results):
        looked_at, oldest = looked_at + 1, entry_id
        if entry.get("plan_id") == plan_id:
            return entry, looked_at, oldest
    return {}, looked_at, oldest


def newest(store: Store, stream: str) -> Iterator[tuple[str, Entry]]:
    """Every entry of a stream with its id, newest first.

    Raises:
        StoreUnavailable: Redis gave no answer.
    """
    beyond = ""
    while page := store.entries(stream, _PAGE, newest_first=True, beyond=beyond):
        yield from page
        beyond = page[-1][0]


def _halts(store: Store, keys: Keys) -> tuple[Entry, ...]:
    """What set or cleared the switch, newest first: operators' commands and the Governor's own."""
    by_hand = [
        entry
        for _, entry in store.entries(keys.audit, _PAGE, newest_first=True)
        if entry.get("action") in {"halt", "resume"}
    ]
    disarms = [
        {
            "action": "halt",
            "who": "governor",
            "why": f"auto-disarm: {entry.get('reason')} on {entry.get('symbol')}, plan {entry.get('plan_id')}",
            "when": entry.get("timestamp", "0"),
        }
        for _, entry in store.entries(keys.governor_events, _PAGE, newest_first=True)
        if entry.get("event") == "AUTO_DISARM"
    ]
    return tuple(sorted(by_hand + disarms, key=lambda entry: float(entry.get("when", 0)), reverse=True))

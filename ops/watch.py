"""`permitwait watch`: decisions as they fall, messages set aside, and the kill switch when it changes."""

import re
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NoReturn, cast

import redis

from ops import screen
from ops.case import Entry
from tasks.address import RedisAddress
from tasks.errors import StoreUnavailable
from tasks.judge import SWITCH_OFF
from tasks.keys import Keys
from tasks.outcome import outcome_from_fields
from tasks.settings import Settings
from tasks.store import Store, connect

#: The switch is looked at this often while nothing else happens, and Redis asked again while it is silent.
_BLOCK_MS: Final = 1_000

_BATCH: Final = 200
_COLUMNS: Final = 80

_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}

#: The word in front says the same as the colour.
_COLOURS: Final = {"EXECUTE": "green", "DRY RUN": "green", "BLOCKED": "yellow", "REJECTED": "red", "UNKNOWN": "red"}


@dataclass(frozen=True)
class Filters:
    """What is shown of the decisions; empty shows all. The kill switch is always shown."""

    symbol: str = ""
    reason: str = ""
    decision: str = ""
    plan_id: str = ""

    def passes(self, entry: Entry) -> bool:
        """Whether a result, or a message that was set aside, is wanted."""
        wanted = {"symbol": self.symbol, "reason": self.reason, "decision": self.decision, "plan_id": self.plan_id}
        return all(entry.get(name, "") == value for name, value in wanted.items() if value)


@dataclass
class Watch:
    """The place in each stream, and the switch as it was seen last."""

    settings: Settings
    filters: Filters
    as_json: bool = False
    _at: dict[str, str] = field(default_factory=dict)
    _switch: tuple[str, Entry] | None = None
    _silent: bool = False

    def __post_init__(self) -> None:
        self._keys = Keys(self.settings.namespace)
        address = RedisAddress.parse(self.settings.redis_url)
        self._store = Store(connect(address, timeout_ms=_BLOCK_MS + 2_000))

    def begin(self, since: str) -> None:
        """Stand at the end of both streams, or at a moment before: a length of time (`10m`), or an ISO time.

        Raises:
            StoreUnavailable: Redis gave no answer.
            ValueError: `since` is neither.
        """
        start_ms = since_ms(since, int(self._store.now_s() * 1000)) if since else None
        for stream in (self._keys.results, self._keys.rejected):
            newest = self._store.entries(stream, 1, newest_first=True)
            self._at[stream] = (
                f"{max(0, start_ms - 1)}-0" if start_ms is not None else newest[0][0] if newest else "0-0"
            )

    def run(self) -> NoReturn:
        """Show what comes, for ever; waits out a Redis that does not answer, and goes on where it was."""
        while True:
            try:
                for kind, entry_id, entry in self._next():
                    self._show(kind, entry_id, entry)
                self._look_at_switch()
            except (StoreUnavailable, redis.RedisError) as error:
                self._wait_out(error)
            else:
                if self._silent:
                    screen.say("Redis answers again; nothing that it kept was missed")
                self._silent = False

    def _next(self) -> Iterator[tuple[str, str, Entry]]:
        reply = self._store.client.xread(cast("Any", self._at), count=_BATCH, block=_BLOCK_MS)
        for name, entries in cast("list[tuple[bytes, list[tuple[bytes, dict[bytes, bytes]]]]]", reply or []):
            stream = name.decode()
            for entry_id, fields in entries:
                self._at[stream] = entry_id.decode()
                kind = "result" if stream == self._keys.results else "set_aside"
                yield kind, entry_id.decode(), {_text(key): _text(value) for key, value in fields.items()}

    def _wait_out(self, error: Exception) -> None:
        unreachable = error.__cause__ if isinstance(error, StoreUnavailable) else error
        if not isinstance(unreachable, redis.ConnectionError | redis.TimeoutError):
            raise StoreUnavailable(str(error)) from error
        if not self._silent:
            screen.say(f"Redis gives no answer, asking again every second: {error}")
        self._silent = True
        time.sleep(_BLOCK_MS / 1000)

    def _look_at_switch(self) -> None:
        value = self._store.text(self._keys.kill_switch)
        found = "" if value in SWITCH_OFF else _text(value), self._store.hash(self._keys.kill_switch_info)
        if found == self._switch:
            return
        first, self._switch = self._switch is None, found
        # That it is off is news only where it was set before.
        if found[0] or not first:
            self._show("switch", "", {"value": found[0], **found[1]})

    def _show(self, kind: str, entry_id: str, entry: Entry) -> None:
        if kind != "switch" and not self.filters.passes(entry):
            return
        if self.as_json:
            screen.data_line(_document(kind, entry_id, entry))
            return
        style, line = _line(kind, entry_id, entry)
        screen.out.print(screen.printable(line, keep="\n"), markup=False, style=style or None)


def since_ms(text: str, now_ms: int) -> int:
    """Epoch ms of a moment: so long before now (`30s`, `10m`, `2h`, `1d`), or an ISO time (UTC unless it says more).

    Raises:
        ValueError: it is neither.
    """
    length = re.fullmatch(r"([0-9]{1,6})([smhd])", text)
    if length:
        return now_ms - int(timedelta(**{_UNITS[length[2]]: int(length[1])}).total_seconds() * 1000)
    moment = datetime.fromisoformat(text)
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def _document(kind: str, entry_id: str, entry: Entry) -> dict[str, Any]:
    if kind == "switch":
        return {"kind": kind, "set": bool(entry["value"]), **entry}
    facts: dict[str, Any] = dict(entry)
    if kind == "result":
        try:
            facts = outcome_from_fields(entry).as_result()
        except (KeyError, ValueError):
            facts["unreadable"] = True
    return {"kind": kind, "id": entry_id, **facts}


def _line(kind: str, entry_id: str, entry: Entry) -> tuple[str, str]:
    """The style, which only repeats the word in front, and the line; a second one where the plan's id is long."""
    if kind == "switch":
        return _switch_line(entry)
    clock = _clock(int(entry_id.partition("-")[0]) / 1000)
    if kind == "set_aside":
        about = entry.get("plan_id") or entry.get("task_id") or "no plan"
        return "", f"{clock} ASIDE    {entry.get('reason', ''):16} {about}: {entry.get('detail', '')}"[:_COLUMNS]
    decision, reason = entry.get("decision", "?"), entry.get("reason", "")
    word = "DRY RUN" if decision == "EXECUTE" and entry.get("executed") != "True" else decision
    what = reason or f"qty {entry.get('safe_qty', '')}"
    line = f"{clock} {word:8} {entry.get('symbol') or '-':9} {entry.get('wait_ms', '?'):>5} ms  {what:24} "
    plan_id = entry.get("plan_id", "")
    fits = len(line + plan_id) <= _COLUMNS
    return _COLOURS.get(word, ""), line + plan_id if fits else f"{line.rstrip()}\n{' ' * 9}plan={plan_id}"


def _switch_line(entry: Entry) -> tuple[str, str]:
    if not entry["value"]:
        return "green", f"{_clock(None)} SWITCH   cleared: plans may execute again"
    by = f"by {entry.get('who', 'unknown')}: {entry.get('why', 'no reason given')}"
    return "red", f"{_clock(_seconds(entry.get('when', '')))} SWITCH   set {by}"


def _clock(epoch_s: float | None) -> str:
    moment = datetime.now(UTC) if epoch_s is None else datetime.fromtimestamp(epoch_s, UTC)
    return moment.strftime("%H:%M:%S")


def _seconds(text: str) -> float | None:
    return float(text) if re.fullmatch(r"[0-9]{1,11}(\.[0-9]+)?", text) else None


def _text(raw: bytes) -> str:
    return raw.decode(errors="replace")


def run(settings: Settings, filters: Filters, since: str, *, as_json: bool) -> int:
    """Watch until Ctrl-C or TERM; exit code 0.

    Raises:
        StoreUnavailable: Redis gives no answer at the start, or answers with an error.
        ValueError: `since` is no moment.
    """
    watch = Watch(settings, filters, as_json=as_json)
    watch.begin(since)
    # Also where a shell that put it into the background has it ignore Ctrl-C.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    screen.say("watching; times are UTC; stop: Ctrl-C")
    try:
        watch.run()
    except KeyboardInterrupt:
        return 0

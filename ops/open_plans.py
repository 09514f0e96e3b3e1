"""`permitwait open`: plans without an outcome, orders that nobody knows of, and messages that were set aside."""

from dataclasses import asdict, dataclass
from textwrap import wrap
from typing import Final

from ops import screen
from ops.advice_words import age
from ops.case import Entry, newest
from ops.timeline import Event, Seen, seen_at, who
from tasks.address import RedisAddress
from tasks.keys import Keys
from tasks.settings import Settings
from tasks.store import Store, connect

#: Newest entries of a timeline among which its last look stands.
_TAIL: Final = 20

#: Results among which unknown orders are looked for, newest first: as many as the stream keeps.
_RESULTS: Final = 20_000


@dataclass(frozen=True)
class Open:
    """One plan without an outcome; times in ms, `due_in_ms` negative where it is overdue, None where not known."""

    plan_id: str
    state: str
    symbol: str
    action: str
    age_ms: int | None
    due_in_ms: int
    waits_for: str
    claimant: str
    lease_left_ms: int | None
    lookups: int


@dataclass(frozen=True)
class Unknown:
    """One order that was sent and never known again, and that nobody has resolved."""

    plan_id: str
    symbol: str
    qty: str
    client_order_id: str
    age_ms: int


@dataclass(frozen=True)
class Found:
    """What `open` tells; `number` is that of all open plans, `plans` those that fall due first."""

    number: int
    plans: tuple[Open, ...]
    unknown: tuple[Unknown, ...]
    set_aside: tuple[Entry, ...]


def run(settings: Settings, *, most: int, as_json: bool) -> int:
    """List them; exit code 0.

    Raises:
        StoreUnavailable: Redis gave no answer.
    """
    found = look(Store(connect(RedisAddress.parse(settings.redis_url), timeout_ms=2_000)), settings, most)
    if as_json:
        screen.data(asdict(found))
    else:
        for line in lines_of(found):
            screen.out.print(line, markup=False)
    return 0


def look(store: Store, settings: Settings, most: int) -> Found:
    """Read at most so many of each kind.

    Raises:
        StoreUnavailable: Redis gave no answer.
    """
    keys, now_ms = Keys(settings.namespace), int(store.now_s() * 1000)
    due, number = store.scored(keys.open, most)
    messages = [entry for _, entry in store.entries(keys.rejected, most, newest_first=True)]
    plans = tuple(_open(store, keys, plan_id, due_ms, now_ms) for plan_id, due_ms in due)
    return Found(number, plans, _unknown(store, keys, now_ms, most), tuple(messages))


def _open(store: Store, keys: Keys, plan_id: str, due_ms: int, now_ms: int) -> Open:
    record = store.hash(keys.record(plan_id))
    symbol, _, rest = record.get("content", "").partition("|")
    began = next((record[name] for name in ("taken_up_ms", "registered_ms") if record.get(name, "").isdigit()), None)
    consumed = record.get("state") == "consumed"
    lease = record.get("lease_until_ms", "")
    return Open(
        plan_id=plan_id,
        state=record.get("state", "no record"),
        symbol=symbol,
        action=rest.partition("|")[0],
        age_ms=None if began is None else now_ms - int(began),
        due_in_ms=due_ms - now_ms,
        waits_for=_waits_for(store, keys, plan_id, record),
        claimant=who(record.get("token", "")) if consumed else "",
        lease_left_ms=int(lease) - now_ms if consumed and lease.isdigit() else None,
        lookups=int(record.get("lookups", "0")),
    )


def _waits_for(store: Store, keys: Keys, plan_id: str, record: Entry) -> str:
    state = record.get("state")
    if state == "registered":
        return "a worker"
    if state == "consumed":
        return "what the venue says of its order" if "recovering" in record else "its order being placed"
    if state != "waiting":
        return "nothing: its record is gone"
    seen = _last_look(store, keys, plan_id)
    missing = [each.name for each in seen if each.state == "missing"]
    return " and ".join(missing) if missing else "its next attempt"


def _last_look(store: Store, keys: Keys, plan_id: str) -> list[Seen]:
    for entry_id, facts in store.entries(keys.timeline(plan_id), _TAIL, newest_first=True):
        kind = facts.pop("event", "")
        if kind in {"taken_up", "look"}:
            return seen_at(Event(int(entry_id.partition("-")[0]), kind, facts), keys, plan_id)
    return []


def _unknown(store: Store, keys: Keys, now_ms: int, most: int) -> tuple[Unknown, ...]:
    found: list[Unknown] = []
    for number, (entry_id, entry) in enumerate(newest(store, keys.results)):
        if len(found) == most or number == _RESULTS:
            break
        if entry.get("decision") == "UNKNOWN":
            plan_id = entry.get("plan_id", "")
            if "resolved_as" not in store.hash(keys.record(plan_id)):
                symbol, qty, order_id = (entry.get(name, "") for name in ("symbol", "safe_qty", "client_order_id"))
                ended_ms = int(entry_id.partition("-")[0])
                found.append(Unknown(plan_id, symbol, qty, order_id, now_ms - ended_ms))
    return tuple(found)


def lines_of(found: Found) -> list[str]:
    """For a terminal of 80 columns; the id of a plan stands at a line's end, and is never cut."""
    lines = [_title(found.number, "unfinished plan", len(found.plans))]
    for plan in found.plans:
        since = "?" if plan.age_ms is None else age(plan.age_ms)
        due = f"due in {age(plan.due_in_ms)}" if plan.due_in_ms >= 0 else f"overdue {age(-plan.due_in_ms)}"
        lines.append(f"  {plan.state:10} {plan.symbol or '-':10} age {since:8} {due:16} {plan.plan_id}")
        lines += _indented(f"waits for {plan.waits_for}{_claim(plan)}")
    if found.unknown:
        lines += ["", _title(len(found.unknown), "unknown order", len(found.unknown))]
    for order in found.unknown:
        lines.append(
            f"  {'unknown':10} {order.symbol:10} age {age(order.age_ms):8} {f'qty {order.qty}':16} {order.plan_id}"
        )
        lines += _indented(f"client order id {order.client_order_id}; to settle it: --resolve, see --help")
    lines += ["", _title(len(found.set_aside), "message", len(found.set_aside), " set aside, newest first")]
    for entry in found.set_aside:
        about = entry.get("plan_id") or entry.get("task_id") or entry.get("queue") or "-"
        lines.append(f"  {entry.get('reason', '?'):16} {about}")
        lines += _indented(entry.get("detail", ""))
    return [screen.printable(line) for line in lines]


def _claim(plan: Open) -> str:
    if not plan.claimant:
        return ""
    left = plan.lease_left_ms or 0
    lease = f"ends in {age(left)}" if left > 0 else f"over since {age(-left)}"
    looked = f"; {plan.lookups} lookups" if plan.lookups else ""
    return f"; claim of {plan.claimant} {lease}{looked}"


def _title(number: int, what: str, shown: int, rest: str = "") -> str:
    counted = f"{number or 'no'} {what}{'' if number == 1 else 's'}{rest}"
    return counted if shown >= number else f"{counted}; the first {shown} to fall due (--most shows more)"


def _indented(text: str) -> list[str]:
    return wrap(screen.printable(text), 80, initial_indent=" " * 13, subsequent_indent=" " * 13)

"""`permitwait ledger SYMBOL`: does our ledger agree with the exchange? And, if the operator says so, make it agree."""

from dataclasses import asdict, dataclass
from decimal import Decimal

from ops import screen
from ops.switch import when
from tasks.outcome import plain
from tasks.parts import Parts, make_parts
from tasks.position import SMALLEST_POSITION, tolerance_of
from tasks.settings import LEDGER_TTL_S, PositionSettings, Settings, governor_settings, person, position_settings
from tasks.snapshot import Positions


@dataclass(frozen=True)
class Evidence:
    """What was found, as text: amounts are exact decimals, times epoch seconds; empty where there is none."""

    symbol: str
    venue: str
    exchange_amt: str
    ledger_amt: str
    difference: str
    tolerance: str
    agrees: bool
    ledger_updated_at: str
    ledger_origin: str
    last_plan: str
    last_order_id: str
    last_side: str
    last_executed_qty: str


def gather(parts: Parts, limits: PositionSettings, symbol: str) -> Evidence:
    """Ask the venue now, and read the ledger.

    Raises:
        StoreUnavailable: the venue or Redis could not be asked.
    """
    exchange = parts.venue.position(symbol).amt
    fields = parts.store.hash(parts.gate.keys.ledger(symbol))
    ledger = Positions(parts.store, parts.gate.keys).ledger(symbol)
    tolerance = tolerance_of(exchange, limits)
    held = None if ledger is None else ledger.amt
    difference = None if held is None else (exchange - held).copy_abs()
    same_side = held is not None and _side(exchange) == _side(held)
    return Evidence(
        symbol=symbol,
        venue=parts.venue.name,
        exchange_amt=plain(exchange),
        ledger_amt="" if ledger is None else ledger.amt_text,
        difference="" if difference is None else plain(difference),
        tolerance=plain(tolerance),
        agrees=same_side and difference is not None and difference <= tolerance,
        ledger_updated_at=fields.get("updated_at", ""),
        ledger_origin=fields.get("origin", ""),
        last_plan=fields.get("last_result_plan_id", ""),
        last_order_id=fields.get("last_order_id", ""),
        last_side=fields.get("last_side", ""),
        last_executed_qty=fields.get("last_executed_qty", ""),
    )


def run(settings: Settings, symbol: str, *, set_it: bool, yes: bool, as_json: bool) -> int:
    """Show the evidence; with `set_it`, set the ledger to the exchange's amount after it was confirmed.

    Returns 0 where ledger and exchange agree (afterwards), 1 where they do not or there is no ledger.

    Raises:
        StoreUnavailable: the venue or Redis could not be asked.
    """
    limits = position_settings()
    parts = make_parts(settings, governor_settings(), limits, timeout_ms=2_000)
    evidence = gather(parts, limits, symbol)
    if not as_json:
        _show(evidence)
    changed = False
    if set_it:
        if not yes and not screen.confirmed(f"Set the ledger of {symbol} to {evidence.exchange_amt}?"):
            screen.say("nothing was changed")
        else:
            word = set_ledger(parts, evidence)
            changed = word == "set"
            evidence = gather(parts, limits, symbol)
            screen.say(_NOT_SET.get(word, f"ledger of {symbol} is now {evidence.ledger_amt}"))
    if as_json:
        screen.data(asdict(evidence) | {"changed": changed})
    return 0 if evidence.agrees else 1


_NOT_SET = {
    "changed": "the ledger changed while you looked: nothing was changed; look again",
    "in_flight": "a plan is under way on this symbol, perhaps with an order that the ledger does not know yet: "
    "nothing was changed; look again when it has ended",
}


def _show(evidence: Evidence) -> None:
    lines = {
        f"{evidence.venue} holds": evidence.exchange_amt,
        "our ledger says": evidence.ledger_amt or "nothing yet (taken from the exchange at the next plan)",
        "difference": f"{evidence.difference or '-'} (allowed: {evidence.tolerance})",
        "ledger updated": when(evidence.ledger_updated_at) if evidence.ledger_updated_at else "-",
        "ledger began as": evidence.ledger_origin or "-",
        "last order": f"{evidence.last_side} {evidence.last_executed_qty} {evidence.last_order_id} by plan "
        f"{evidence.last_plan}"
        if evidence.last_order_id
        else "-",
    }
    agree = "agree" if evidence.agrees else f"DO NOT AGREE{'' if evidence.ledger_amt else ': there is no ledger yet'}"
    screen.out.print(f"{evidence.symbol}: ledger and exchange {agree}", markup=False)
    for name, value in lines.items():
        screen.out.print(f"  {name:16} {value}", markup=False)


def set_ledger(parts: Parts, evidence: Evidence) -> str:
    """Set the ledger, only if it still is what the operator saw; returns the script's word (`lua/set_ledger.lua`)."""
    answer = parts.store.run(
        "set_ledger",
        [
            parts.gate.keys.ledger(evidence.symbol),
            parts.gate.keys.snapshot(evidence.symbol),
            parts.gate.keys.position_live(evidence.symbol),
        ],
        [evidence.ledger_amt, evidence.exchange_amt, person(), LEDGER_TTL_S],
    )
    return str(answer[0].decode())


def _side(amount: Decimal) -> int:
    return 0 if amount.copy_abs() < SMALLEST_POSITION else 1 if amount > 0 else -1

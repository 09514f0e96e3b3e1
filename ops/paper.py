"""`permitwait paper SYMBOL`: show or set a position of the paper venue."""

from decimal import Decimal

from ops import screen
from tasks.outcome import plain
from tasks.parts import make_parts
from tasks.settings import Settings, governor_settings, position_settings
from tasks.snapshot import Positions


def run(
    settings: Settings,
    symbol: str,
    amount: Decimal | None,
    price: Decimal | None,
    step: Decimal | None,
    *,
    as_json: bool,
) -> int:
    """Set what is given, then show the position; exit code 0.

    Raises:
        StoreUnavailable: Redis gave no answer, or what stands there is no position.
    """
    parts = make_parts(settings, governor_settings(), position_settings(), timeout_ms=2_000)
    given = {"position_amt": amount, "mark_price": price, "step": step}
    facts = {name: plain(value) for name, value in given.items() if value is not None}
    if facts:
        parts.store.put(parts.gate.keys.paper_position(symbol), facts)
        # What Position knows of the venue may be some seconds old, and would deny the next plan.
        Positions(parts.store, parts.gate.keys).refresh(parts.venue, symbol)
    held = parts.venue.position(symbol)
    found = {
        "symbol": symbol,
        "position_amt": plain(held.amt),
        "mark_price": "" if held.mark_price is None else plain(held.mark_price),
        "step": plain(parts.venue.step(symbol)),
    }
    if as_json:
        screen.data(found)
    else:
        screen.out.print(
            f"paper holds {found['position_amt']} {symbol}, mark price {found['mark_price'] or 'unknown'}, "
            f"step {found['step']}",
            markup=False,
        )
    return 0

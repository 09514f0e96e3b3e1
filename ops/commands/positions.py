"""`ledger` and `paper`: what we hold."""

import re
from decimal import Decimal
from typing import Annotated

import typer

from ops.commands import AsJson, Yes, app
from tasks.intent import SYMBOL

Symbol = Annotated[str, typer.Argument(help="For example BTCUSDT.")]


@app.command()
def ledger(
    symbol: Symbol,
    *,
    set_it: Annotated[
        bool, typer.Option("--set-from-exchange", help="Set the ledger to what the exchange holds; asks first.")
    ] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Compare our ledger of a symbol with the exchange; exit 1 where they do not agree."""
    from ops.ledger import run
    from ops.reach import reachable_settings

    _symbol(symbol)
    raise typer.Exit(run(reachable_settings(), symbol, set_it=set_it, yes=yes, as_json=as_json))


@app.command()
def paper(
    symbol: Symbol,
    *,
    amount: Annotated[str | None, typer.Option(help="Set the position; negative is short.")] = None,
    price: Annotated[str | None, typer.Option(help="Set the mark price.")] = None,
    step: Annotated[str | None, typer.Option(help="Set the smallest quantity increment.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show or set a position of the paper venue: permitwait paper BTCUSDT --amount 0.062 --price 64000."""
    from ops.paper import run
    from ops.reach import reachable_settings

    _symbol(symbol)
    amounts = _decimal(amount, "amount"), _decimal(price, "price"), _decimal(step, "step")
    raise typer.Exit(run(reachable_settings(), symbol, *amounts, as_json=as_json))


def _symbol(text: str) -> None:
    if not re.fullmatch(SYMBOL[1:-1], text):
        raise typer.BadParameter(f"{text!r} is not a symbol (2 to 30 of A-Z and 0-9)")


def _decimal(text: str | None, what: str) -> Decimal | None:
    if text is None:
        return None
    if not re.fullmatch(r"-?[0-9]{1,15}(\.[0-9]{1,15})?", text):
        raise typer.BadParameter(f"{what} must be a plain decimal number, found {text!r}")
    return Decimal(text)

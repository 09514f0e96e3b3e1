"""The console script `permitwait`. Every command is one file beside this one, imported when it is called.

Exit codes: 0 good, 1 the answer is no, 2 usage or bad input, 3 Redis or broker unreachable.
"""

import re
import sys
from decimal import Decimal
from pathlib import Path
from typing import Annotated

import typer

from ops.server import EmbeddedServerError
from tasks.errors import BadSettings, PermitWaitError, StoreUnavailable
from tasks.intent import SYMBOL

BAD_INPUT = 2
UNREACHABLE = 3

app = typer.Typer(
    name="permitwait",
    help="Run, feed and inspect the permit gate. Data goes to stdout, messages to stderr.",
    rich_markup_mode=None,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable output on stdout.")]


@app.command()
def demo(*, as_json: AsJson = False) -> None:
    """Show the gate at work: server, worker, permits, paper orders, then the checklist."""
    from ops.demo import run  # noqa: PLC0415 - a command pays only for itself

    raise typer.Exit(run(as_json=as_json))


@app.command()
def up() -> None:
    """Run an embedded server and a worker until Ctrl-C; the data is kept."""
    from ops.up import run  # noqa: PLC0415 - a command pays only for itself

    raise typer.Exit(run())


@app.command()
def submit(
    file: Annotated[str, typer.Argument(help="Intents as JSON lines; - reads standard input.")],
    *,
    wait: Annotated[
        bool, typer.Option("--wait", help="Print every plan's outcome; exit 1 unless all execute.")
    ] = False,
    timeout_s: Annotated[float, typer.Option("--timeout", help="Seconds to wait for one outcome.", min=0)] = 30.0,
    as_json: AsJson = False,
) -> None:
    """Submit plans: validate each intent, register its plan, send its task."""
    from ops.reach import reachable_settings  # noqa: PLC0415 - a command pays only for itself
    from ops.submit import run  # noqa: PLC0415 - a command pays only for itself

    settings = reachable_settings()
    if file == "-":
        code = run(sys.stdin, settings, wait=wait, timeout_s=timeout_s, as_json=as_json)
    else:
        try:
            with Path(file).open(encoding="utf-8") as source:
                code = run(source, settings, wait=wait, timeout_s=timeout_s, as_json=as_json)
        except (OSError, UnicodeDecodeError) as error:
            raise typer.BadParameter(f"{file} cannot be read: {error}") from error
    raise typer.Exit(code)


@app.command()
def feed(*, as_json: AsJson = False) -> None:
    """Turn EXECUTE entries of the plan stream into tasks until Ctrl-C."""
    from ops.feed import run  # noqa: PLC0415 - a command pays only for itself
    from ops.reach import reachable_settings  # noqa: PLC0415 - a command pays only for itself

    raise typer.Exit(run(reachable_settings(), as_json=as_json))


@app.command()
def ledger(
    symbol: Annotated[str, typer.Argument(help="For example BTCUSDT.")],
    *,
    set_it: Annotated[
        bool, typer.Option("--set-from-exchange", help="Set the ledger to what the exchange holds; asks first.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Compare our ledger of a symbol with the exchange; exit 1 where they do not agree."""
    from ops.ledger import run  # noqa: PLC0415 - a command pays only for itself
    from ops.reach import reachable_settings  # noqa: PLC0415 - a command pays only for itself

    _symbol(symbol)
    raise typer.Exit(run(reachable_settings(), symbol, set_it=set_it, yes=yes, as_json=as_json))


@app.command()
def paper(
    symbol: Annotated[str, typer.Argument(help="For example BTCUSDT.")],
    *,
    amount: Annotated[str | None, typer.Option(help="Set the position; negative is short.")] = None,
    price: Annotated[str | None, typer.Option(help="Set the mark price.")] = None,
    step: Annotated[str | None, typer.Option(help="Set the smallest quantity increment.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show or set a position of the paper venue: permitwait paper BTCUSDT --amount 0.062 --price 64000."""
    from ops.paper import run  # noqa: PLC0415 - a command pays only for itself
    from ops.reach import reachable_settings  # noqa: PLC0415 - a command pays only for itself

    _symbol(symbol)
    amounts = _decimal(amount, "amount"), _decimal(price, "price"), _decimal(step, "step")
    raise typer.Exit(run(reachable_settings(), symbol, *amounts, as_json=as_json))


@app.command()
def halt(
    *,
    reason: Annotated[str, typer.Option(help="Why, for whoever comes next.")] = "no reason given",
    as_json: AsJson = False,
) -> None:
    """Set the kill switch: no order leaves until somebody resumes."""
    from ops.reach import reachable_settings  # noqa: PLC0415 - a command pays only for itself
    from ops.switch import halt as run  # noqa: PLC0415 - a command pays only for itself

    raise typer.Exit(run(reachable_settings(), reason, as_json=as_json))


@app.command()
def resume(*, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False, as_json: AsJson = False) -> None:
    """Clear the kill switch; shows who set it and why, and asks first."""
    from ops.reach import reachable_settings  # noqa: PLC0415 - a command pays only for itself
    from ops.switch import resume as run  # noqa: PLC0415 - a command pays only for itself

    raise typer.Exit(run(reachable_settings(), yes=yes, as_json=as_json))


@app.command()
def config(*, as_json: AsJson = False) -> None:
    """List every setting in force, with its meaning; secrets are masked."""
    from ops.config import show  # noqa: PLC0415 - a command pays only for itself

    show(as_json=as_json)


def _symbol(text: str) -> None:
    if not re.fullmatch(SYMBOL[1:-1], text):
        raise typer.BadParameter(f"{text!r} is not a symbol (2 to 30 of A-Z and 0-9)")


def _decimal(text: str | None, what: str) -> Decimal | None:
    if text is None:
        return None
    if not re.fullmatch(r"-?[0-9]{1,15}(\.[0-9]{1,15})?", text):
        raise typer.BadParameter(f"{what} must be a plain decimal number, found {text!r}")
    return Decimal(text)


def main() -> None:
    """Run the tool; an error becomes one line on stderr and the exit code that names its kind."""
    try:
        app()
    except StoreUnavailable as error:
        _end(f"Redis or the broker gave no answer: {error}", UNREACHABLE)
    except BadSettings as error:
        _end(error, BAD_INPUT)
    except (PermitWaitError, EmbeddedServerError) as error:
        _end(error, 1)
    except BrokenPipeError:
        # The reader of our output went away, for example `| head`.
        sys.stderr.close()
        sys.exit(1)


def _end(error: Exception | str, code: int) -> None:
    print(f"permitwait: {error}", file=sys.stderr)  # noqa: T201 - the one line a person gets
    sys.exit(code)

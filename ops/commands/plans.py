"""`submit` and `feed`: plans into the gate."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from ops.commands import AsJson, app


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
    from ops.reach import reachable_settings
    from ops.submit import run

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
    from ops.feed import run
    from ops.reach import reachable_settings

    raise typer.Exit(run(reachable_settings(), as_json=as_json))

"""`demo` and `up`: everything on this machine."""

from typing import Annotated

import typer

from ops.commands import AsJson, app


@app.command()
def demo(*, as_json: AsJson = False) -> None:
    """Show the gate at work: server, worker, permits, paper orders, then the checklist."""
    from ops.demo import run

    raise typer.Exit(run(as_json=as_json))


@app.command()
def up(
    *,
    flower: Annotated[bool, typer.Option("--flower", help="Also run the dashboard, on this machine only.")] = False,
    flower_port: Annotated[int, typer.Option(help="Where the dashboard listens.", min=1, max=65535)] = 5555,
) -> None:
    """Run an embedded server and a worker until Ctrl-C; the data is kept."""
    from ops.up import run

    raise typer.Exit(run(flower_port if flower else None))

"""`demo` and `up`: everything on this machine."""

import typer

from ops.commands import AsJson, app


@app.command()
def demo(*, as_json: AsJson = False) -> None:
    """Show the gate at work: server, worker, permits, paper orders, then the checklist."""
    from ops.demo import run

    raise typer.Exit(run(as_json=as_json))


@app.command()
def up() -> None:
    """Run an embedded server and a worker until Ctrl-C; the data is kept."""
    from ops.up import run

    raise typer.Exit(run())

"""`permitwait --version`."""

from typing import Annotated

import typer

from ops.commands import app


def _tell(wanted: bool) -> None:  # noqa: FBT001 - typer's own signature
    if wanted:
        from importlib.metadata import version

        typer.echo(version("permitwait"))
        raise typer.Exit


@app.callback(help=app.info.help if isinstance(app.info.help, str) else None)
def options(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_tell, is_eager=True)
    ] = False,
) -> None:
    """What can be said without a command."""
    _ = version

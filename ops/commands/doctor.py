"""`permitwait doctor`."""

from typing import Annotated

import typer

from ops.commands import AsJson, app

_FLOWER_URL = "http://127.0.0.1:5555"


@app.command()
def doctor(
    *,
    accept: Annotated[
        list[str] | None, typer.Option(help="A check whose danger is known and accepted; may be repeated.")
    ] = None,
    flower: Annotated[str, typer.Option(help="Where a Flower may listen.")] = _FLOWER_URL,
    as_json: AsJson = False,
) -> None:
    """Is this deployment safe to trade? Every finding with its fix; exit 0 safe, 1 not, 3 unreachable."""
    from ops.doctor.run import run
    from ops.reach import reachable_settings

    raise typer.Exit(run(reachable_settings(), accept or [], flower, as_json=as_json))

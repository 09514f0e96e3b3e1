"""`halt` and `resume`: the kill switch."""

from typing import Annotated

import typer

from ops.commands import AsJson, Yes, app


@app.command()
def halt(
    *,
    reason: Annotated[str, typer.Option(help="Why, for whoever comes next.")] = "no reason given",
    as_json: AsJson = False,
) -> None:
    """Set the kill switch: no order leaves until somebody resumes."""
    from ops.reach import reachable_settings
    from ops.switch import halt as run

    raise typer.Exit(run(reachable_settings(), reason, as_json=as_json))


@app.command()
def resume(*, yes: Yes = False, as_json: AsJson = False) -> None:
    """Clear the kill switch; shows who set it and why, and asks first."""
    from ops.reach import reachable_settings
    from ops.switch import resume as run

    raise typer.Exit(run(reachable_settings(), yes=yes, as_json=as_json))

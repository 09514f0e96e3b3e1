"""`status`: is this deployment validated, and what is it doing now?"""

from pathlib import Path
from typing import Annotated

import typer

from ops.commands import AsJson, Yes, app


@app.command()
def status(
    *,
    watch: Annotated[bool, typer.Option("--watch", help="Refresh in place until Ctrl-C.")] = False,
    every_s: Annotated[float, typer.Option("--every", help="Seconds between two looks of --watch.", min=0.2)] = 2.0,
    report: Annotated[
        Path | None, typer.Option("--report", help="Write the status document, Markdown.", dir_okay=False)
    ] = None,
    begin_anew: Annotated[bool, typer.Option("--reset", help="Set the counters aside and begin anew; asks.")] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Show the checklist and the figures behind it; exit 0 validated, 1 not."""
    from ops.reach import reachable_settings, readable_settings
    from ops.status.reset import run as reset
    from ops.status.run import Wishes, run

    if begin_anew:
        if watch or report:
            raise typer.BadParameter("--reset shows no status: not with --watch or --report")
        raise typer.Exit(reset(reachable_settings(), yes=yes, as_json=as_json))
    if watch:
        raise typer.Exit(run(reachable_settings(), Wishes(as_json, report, every_s)))
    with readable_settings() as settings:
        code = run(settings, Wishes(as_json, report))
    raise typer.Exit(code)

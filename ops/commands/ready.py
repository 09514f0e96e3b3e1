"""`ready`: a probe for whatever starts and watches our processes."""

from typing import Annotated

import typer

from ops.commands import AsJson, app


@app.command()
def ready(
    *,
    worker: Annotated[str | None, typer.Option(help="Ask about this worker only, e.g. celery@host.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say whether plans can be decided here now; exit 0 ready, 1 not and why, 3 unreachable."""
    from ops.reach import reachable_settings
    from ops.ready import run

    raise typer.Exit(run(reachable_settings(), worker, as_json=as_json))

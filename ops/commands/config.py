"""`config`: what is in force."""

from ops.commands import AsJson, app


@app.command()
def config(*, as_json: AsJson = False) -> None:
    """List every setting in force, with its meaning; secrets are masked."""
    from ops.config import show

    show(as_json=as_json)

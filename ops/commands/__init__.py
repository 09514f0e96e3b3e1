"""What each command is called and takes; what it does stands in `ops/`, imported when it is called.

Every file here is imported by `ops/cli.py` and adds its commands to `app`: a new command is a new file.
"""

from typing import Annotated

import typer
from typer.core import TyperGroup

#: Exit codes beside 0, good, and 1, the answer is no.
BAD_INPUT = 2
UNREACHABLE = 3


class _ByName(TyperGroup):
    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override] # typer's own class of context
        """In the order in which a person looks for them."""
        return sorted(super().list_commands(ctx))


app = typer.Typer(
    name="permitwait",
    cls=_ByName,
    help="Run, feed and inspect the permit gate. Data goes to stdout, messages to stderr.",
    rich_markup_mode=None,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable output on stdout.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]

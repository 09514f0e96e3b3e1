"""The console script `permitwait`: finds the commands in `ops/commands/`, and ends each with the promised exit code.

Exit codes: 0 good, 1 the answer is no, 2 usage or bad input, 3 Redis or broker unreachable.
"""

import sys
from importlib import import_module
from pkgutil import iter_modules

from ops import commands
from ops.commands import BAD_INPUT, UNREACHABLE, app
from ops.server import EmbeddedServerError
from tasks.errors import BadSettings, PermitWaitError, StoreUnavailable

for _module in iter_modules(commands.__path__):
    import_module(f"{commands.__name__}.{_module.name}")


def main() -> None:
    """Run the tool; an error becomes one line on stderr and the exit code that names its kind."""
    try:
        app()
    except StoreUnavailable as error:
        _end(f"Redis or the broker gave no answer: {error}", UNREACHABLE)
    except BadSettings as error:
        _end(error, BAD_INPUT)
    except (PermitWaitError, EmbeddedServerError) as error:
        _end(error, 1)
    except BrokenPipeError:
        # The reader of our output went away, for example `| head`.
        sys.stderr.close()
        sys.exit(1)


def _end(error: Exception | str, code: int) -> None:
    print(f"permitwait: {error}", file=sys.stderr)  # noqa: T201 - the one line a person gets
    sys.exit(code)

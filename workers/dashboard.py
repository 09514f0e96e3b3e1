"""Flower as it may run here: our settings wherever it is started, read-only, never without a login."""

import ast
import re
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import click
from celery import Celery, signals

from tasks.errors import BadSettings
from tasks.settings import settings_of_process

#: Flower slows nobody down who guesses.
PASSWORD_MIN: Final = 12

_LOGIN: Final = re.compile(rf"[^:\s]+:\S{{{PASSWORD_MIN},}}")

#: Characters of a result that a row of the task list can show; it cuts the rest.
_CELL: Final = 64

#: What a plan without a result does in a state of ours.
_WHY: Final = {"WAITING": "waits for its permits", "HELD": "another attempt has it, or it is asked again"}

_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")


def install(app: Celery) -> None:
    """Give `celery -A workers flower` our `flowerconfig.py`, from whatever folder, and refuse an open dashboard.

    Does nothing in any other process.
    """
    command = click.get_current_context(silent=True)
    if command is None or command.invoked_subcommand != "flower":
        return
    from flower.options import options  # noqa: PLC0415 - an extra, which is there where its command is

    found = find_spec("flowerconfig")
    if found is None or found.origin is None:
        sys.exit("permitwait: flowerconfig.py is not installed beside the program; install permitwait again")
    # Otherwise Flower looks for it where it was started, and runs open to everybody where it finds none.
    options.conf = found.origin
    # Sent once all options are read, and before anything listens.
    signals.import_modules.connect(_check, sender=app, weak=False)


def logins_of(path: str) -> list[str]:
    """The logins, `user:password`, in a file with one on each line; none where `path` is empty.

    Raises:
        BadSettings: the file cannot be read, or has no login in it.
    """
    if not path:
        return []
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadSettings(f"APPLY_FLOWER_AUTH_FILE={path} cannot be read: {type(error).__name__}") from None
    logins = [line.strip() for line in lines if line.strip()]
    if not logins:
        raise BadSettings(f"APPLY_FLOWER_AUTH_FILE={path} is empty: it needs a line with user:password")
    return logins


def refusal(options: Any) -> str:  # noqa: ANN401 - Flower's, untyped
    """Why Flower must not start with these options, in one line; empty where it may."""
    if not options.read_only:
        return "Flower must be read-only, as its API can start, revoke and stop tasks: leave read_only=True"
    if not (options.basic_auth or options.auth):
        return (
            "Flower needs a login: name a file with a line user:password in APPLY_FLOWER_AUTH_FILE, or set "
            "FLOWER_BASIC_AUTH=user:password in its environment, or use --auth with an OAuth provider"
        )
    for login in options.basic_auth or ():
        if not _LOGIN.fullmatch(login):
            return (
                "a login of Flower's is not allowed: it must be user:password, the password of at least "
                f"{PASSWORD_MIN} characters, without spaces (and without commas in FLOWER_BASIC_AUTH)"
            )
    return ""


def _check(**_: Any) -> None:  # noqa: ANN401 - Celery's signal arguments
    from flower.options import options  # noqa: PLC0415 - as above

    settings = settings_of_process()
    refused = refusal(options)
    if not settings.effective_broker_url:
        refused = "APPLY_REDIS_URL is not set; Flower watches the workers on the broker that they use"
    if refused:
        sys.exit(f"permitwait: {refused}")
    if not options.unix_socket and options.address not in _LOOPBACK and not options.certfile:
        # Not the program's to judge: in a container that is how a proxy reaches it.
        where = f"Flower listens on {options.address} without TLS"
        sys.stderr.write(f"permitwait: {where}: passwords pass in clear; put a proxy in front\n")


def as_shown(task: Any) -> Any:  # noqa: ANN401 - Flower's, untyped
    """A row of Flower's task list: which plan, and how it ended in words before all other facts."""
    plan = _literal(task.kwargs)
    if isinstance(plan, dict) and {"symbol", "action", "decision"} <= plan.keys():
        words = [plan["symbol"], plan["action"]]
        words += [plan["decision"]] * (plan["decision"] != "EXECUTE")
        words += [f"plan={plan.get('plan_id')}"] * (plan.get("plan_id") not in task.uuid)
        task.kwargs = " ".join(map(str, words))
    result = _literal(task.result)
    if isinstance(result, dict) and "decision" in result:
        task.result = _outcome(result)
    elif isinstance(result, str):
        task.result = result
    elif task.result is None:
        task.result = _WHY.get(task.state)
    return task


def _outcome(result: dict[str, Any]) -> str:
    dry = " (dry run)" if result.get("would_execute") and not result.get("executed") else ""
    said = result.get("reason") or result.get("safe_qty")
    headline = f"{result['decision']}{dry} {said} after {result.get('wait_ms')} ms"
    # The list shows the beginning, on one line, the plan's own page all lines: padding keeps the rest off the list.
    facts = [f"{name}: {value}" for name, value in result.items() if value not in ("", [])]
    return "\n".join([headline.ljust(_CELL, "\u00a0"), "", *facts])


def _literal(text: object) -> object:
    try:
        return ast.literal_eval(text) if isinstance(text, str) else None
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        # Cut off, or no literal: it is shown as it came.
        return None

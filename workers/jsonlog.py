"""The worker's log as JSON, one object per line, where APPLY_LOG_FORMAT=json: every line, Celery's own too.

The text of a line stays in it as `message`, so that what greps for `[PERMIT_WAIT]` keeps working.
"""

import json
import logging
import re
from datetime import UTC, datetime
from typing import Any, Final

from billiard.util import get_logger as pool_logger
from celery import signals
from celery._state import get_current_task

_HEAD: Final = re.compile(r"\[([A-Z_]+)\] ")

#: Where a worker's stock handlers hang: Celery puts one on each.
_WITH_HANDLERS: Final = ("", "celery.task")


class JsonFormatter(logging.Formatter):
    """One log record as one line of JSON.

    `timestamp` (UTC, ISO 8601, this host's clock), `level`, `logger`, `event` and `message` are always there; our own
    lines add their facts under the names of `tasks.log`, an attempt its `task_id`, a traceback is `exception`.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Never raises: what cannot be shown is shown as its `repr`."""
        facts: dict[str, Any] = getattr(record, "facts", {})
        message = record.getMessage()
        head = _HEAD.match(message)
        line: dict[str, Any] = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "event": head[1].lower() if head else "log",
            **facts,
            "message": message,
        }
        line |= _about(record)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=repr)


def _about(record: logging.LogRecord) -> dict[str, Any]:
    """The task that a line is about: the one that runs, or the one that Celery's own line tells of."""
    task: Any = get_current_task()
    if task is not None and task.request:
        return {"task_id": task.request.id, "task_name": task.name}
    data = getattr(record, "data", None)
    known = data if isinstance(data, dict) else {}
    return {f"task_{name}": known[name] for name in ("id", "name") if name in known}


def install() -> None:
    """Have every handler of this worker, and of its children, write JSON."""
    signals.after_setup_logger.connect(_everywhere, weak=False)
    signals.after_setup_task_logger.connect(_everywhere, weak=False)


def _everywhere(**_: Any) -> None:  # noqa: ANN401 - Celery's signal arguments
    for logger in (*map(logging.getLogger, _WITH_HANDLERS), pool_logger()):
        for handler in logger.handlers:
            handler.setFormatter(JsonFormatter())

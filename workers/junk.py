"""Queue entries that are no message: told from the broker's own troubles, set aside, and no end of the worker."""

import logging
from collections.abc import Callable
from typing import Final

from kombu.exceptions import OperationalError
from kombu.transport import pyamqp
from kombu.transport import redis as stock
from redis.exceptions import DataError

logger = logging.getLogger("permitwait")

#: Receives what was set aside: queue, the raw entry, why. Runs on the worker's event loop: be brief.
SetAside = Callable[[str, bytes, str], None]

_SHOWN_BYTES: Final = 200
_WHY_MAX_CHARS: Final = 200
# These speak of the broker, the pool or the machine, not of the entry: the worker's own handling of a lost
# connection must see them. kombu counts KeyError among connection errors, and redis-py raises DataError for
# an argument that it cannot send: both come from entries.
_NOT_THE_ENTRY: Final = (
    *(
        error
        for error in (*stock.Transport.connection_errors, *stock.Transport.channel_errors)
        if error not in {KeyError, DataError}
    ),
    *pyamqp.Transport.connection_errors,
    *pyamqp.Transport.channel_errors,
    OperationalError,
    RuntimeError,
    MemoryError,
)


class JunkError(ValueError):
    """Says why an entry can become no message; the channel handles it."""


def log_junk(queue: str, raw: bytes, why: str) -> None:
    """Log one WARNING with queue, size in bytes, reason and the first 200 bytes; the entry is kept nowhere."""
    logger.warning("[SET_ASIDE] queue=%s bytes=%d why=%s head=%r", queue, len(raw), why, raw[:_SHOWN_BYTES])


#: The hook in force; `on_junk` replaces it.
set_aside: SetAside = log_junk


def on_junk(callback: SetAside) -> None:
    """Have `callback` receive every entry set aside from now on in this process, instead of `log_junk`.

    What it raises is logged, and the entry then logged by `log_junk`.
    """
    global set_aside  # noqa: PLW0603 - one hook per process, as one `sys.excepthook`
    set_aside = callback


def blames_entry(error: Exception) -> bool:
    """Whether an error came from the entry, and not from the broker, the pool or the machine."""
    return isinstance(error, RecursionError) or not isinstance(error, _NOT_THE_ENTRY)


def why_of(error: Exception) -> str:
    """An error as a short text for a log line."""
    # Escaped: an error may quote the entry, and a log line must stay one line.
    return f"{type(error).__name__}: {str(error)!a}"[:_WHY_MAX_CHARS]


def hand_over(queue: str, raw: bytes, why: str) -> None:
    """Set an entry aside, by the hook in force; never raises."""
    try:
        set_aside(queue, raw, why)
    except Exception:
        logger.exception("[SET_ASIDE] the hook given to on_junk failed; the entry follows")
        log_junk(queue, raw, why)

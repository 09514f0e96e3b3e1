"""What the program itself did, one entry after the other: sendings, permits written, switches set, servers lost.

An intention is noted before the act, its confirmation after: what was never confirmed may have happened all the same.
"""

import json
import time
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from threading import Lock
from typing import Final

from tests.chaos.load import By
from tests.chaos.permits import Issuer, Verdict

#: Names of windows: the kill switch was set; the store was killed and not back yet.
SWITCH: Final = "switch"
STORE_LOST: Final = "store lost"


def now_ms() -> int:
    """The clock of this machine, which is the servers'."""
    return time.time_ns() // 1_000_000


class Fate(StrEnum):
    """What became of a sending: only the first is a promise that there is an answer."""

    ACKNOWLEDGED = "acknowledged"
    UNKNOWN = "unknown"
    REFUSED = "refused"


@dataclass(frozen=True)
class Sent:
    """One sending: of a plan, of a conflicting one, or of junk; `said` to it where it was refused."""

    task_id: str
    plan_id: str
    by: By
    fate: Fate
    from_ms: int
    until_ms: int
    said: str = ""


@dataclass(frozen=True)
class Written:
    """A permit: `sent_ms` before the first attempt to write it, `until_ms` when it was confirmed, 0 when never."""

    plan_id: str
    issuer: Issuer
    verdict: Verdict
    sent_ms: int
    until_ms: int = 0


@dataclass(frozen=True)
class Window:
    """A time in which something surely was so (`from_ms` to `until_ms`), within one in which it may have been."""

    what: str
    maybe_from_ms: int
    from_ms: int
    until_ms: int
    maybe_until_ms: int


class Journal:
    """Append-only, for every thread of the program; a copy goes to a file as JSON lines."""

    def __init__(self, path: Path) -> None:
        self._lock = Lock()
        self._file = path.open("w", encoding="utf-8")
        self._sent: list[Sent] = []
        self._written: list[Written] = []
        self._windows: list[Window] = []

    def note_sent(self, sent: Sent) -> None:
        """A sending and what became of it."""
        self._note(sent)
        self._sent.append(sent)

    def note_writing(self, written: Written) -> None:
        """A permit is about to be written."""
        self._note(written)
        with self._lock:
            self._written.append(written)

    def note_written(self, written: Written) -> None:
        """The server confirmed that permit."""
        confirmed = replace(written, until_ms=now_ms())
        self._note(confirmed)
        with self._lock:
            self._written[self._written.index(written)] = confirmed

    def note_window(self, window: Window) -> None:
        """Something was so for a while."""
        self._note(window)
        self._windows.append(window)

    @property
    def sent(self) -> tuple[Sent, ...]:
        """Every sending."""
        return tuple(self._sent)

    @property
    def written(self) -> tuple[Written, ...]:
        """Every permit that was written, or may have been."""
        return tuple(self._written)

    @property
    def windows(self) -> tuple[Window, ...]:
        """Every window."""
        return tuple(self._windows)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _note(self, entry: Sent | Written | Window) -> None:
        line = json.dumps({"entry": type(entry).__name__} | asdict(entry))
        with self._lock:
            self._file.write(f"{line}\n")
            self._file.flush()

"""Starts, scripts, kills and reads the test venue: everything that tests and the chaos program need of it.

::

    with VenueProcess() as venue:
        venue.script("plan-1", "accept_and_hang")
        with start_worker(server, application=VENUE_APP, **venue.env()) as worker:
            ...
        venue.accepted()  # every accepted order, in order
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Final, Self

from tests.venue.behaviour import BEHAVIOURS, Behaviour
from tests.venue.remote import RemoteVenue, ask

ROOT: Final = Path(__file__).parents[2]

#: For `celery -A`, in place of `workers`.
VENUE_APP: Final = "tests.venue.app"

_READY_WITHIN_S: Final = 30.0
_CALL_MS: Final = 5_000


class VenueProcess:
    """One venue in a process of its own; its journal is in `folder`, else it is gone with the process.

    Orders that no script names are treated by `mix` (`accept=9,hang=1`: names of `BEHAVIOURS` and their weights),
    each the same for the same `seed`.
    """

    def __init__(self, folder: Path | None = None, seed: str = "0", mix: str = "accept=1") -> None:
        # The path of a socket must be short, and a test's folder need not be.
        self._own = TemporaryDirectory(prefix="pw-venue-")
        self.socket: Final = Path(self._own.name) / "socket"
        self.journal: Final = (folder or Path(self._own.name)) / "venue.journal"
        self._options = ["--seed", seed, "--mix", mix]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self._own.cleanup()

    @property
    def pid(self) -> int:
        """Of the process, to stop or to kill it."""
        assert self._process is not None

        return self._process.pid

    def start(self) -> None:
        """Start, or start again on the same journal; returns when it answers."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.venue.server", str(self.socket), str(self.journal), *self._options],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            start_new_session=True,
        )
        give_up = time.monotonic() + _READY_WITHIN_S
        while True:
            try:
                ask(self.socket, _CALL_MS, op="position", symbol="BTCUSDT")
            except OSError:
                assert self._process.poll() is None, "the venue's process ended"
                assert time.monotonic() < give_up, "the venue did not answer"

                time.sleep(0.01)
            else:
                return

    def kill(self) -> None:
        """End the process at once; its journal stays."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def script(self, plan_id: str, behaviour: str | Behaviour) -> None:
        """Say how a plan's order will be treated: by name, or in detail. Forgotten by a restart."""
        wanted = BEHAVIOURS[behaviour] if isinstance(behaviour, str) else behaviour
        ask(self.socket, _CALL_MS, op="script", plan_id=plan_id, behaviour=wanted.as_dict())

    def hold(self, symbol: str, amt: str) -> None:
        """Set a position (signed). Until then the venue holds more than any test closes."""
        ask(self.socket, _CALL_MS, op="hold", symbol=symbol, amt=amt)

    def accepted(self) -> list[dict[str, Any]]:
        """Every accepted order: `at_ms`, `until_ms`, ids, `symbol`, `side`, `qty`, `executed_qty`, `status`."""
        return _lines(self.journal)

    def refused(self) -> list[dict[str, Any]]:
        """Every refused request: `at_ms`, `until_ms`, ids, `symbol`, `qty`, `code` (-1021 = after its window)."""
        return _lines(Path(f"{self.journal}.refused"))

    def adapter(self, **options: int) -> RemoteVenue:
        """The adapter, for tests without worker processes; `options` as `RemoteVenue` takes them."""
        return RemoteVenue(self.socket, **options)

    def env(self, **options: int) -> dict[str, str]:
        """Settings of a worker started with `VENUE_APP`; `options` as `RemoteVenue` takes them."""
        named = {f"VENUE_{name.upper()}": str(value) for name, value in options.items()}
        return {"VENUE_SOCKET": str(self.socket)} | named


def _lines(path: Path) -> list[dict[str, Any]]:
    # A line is written in one piece; the last one may be on its way.
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

"""A child process that ends with its owner, whatever ends the owner, and that Ctrl-C does not reach."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Final

# stdin is a leash: only the owner holds its other end. When that closes, the child gets a warm stop.
_GUARD: Final = """
exec 3<&0
"$@" </dev/null 3<&- &
child=$!
{ while read -r line; do :; done; kill -TERM "$child"; } <&3 3<&- >/dev/null 2>&1 &
wait "$child"
"""


class Child:
    """One process in a session of its own; every line it writes goes to `on_line`, from a thread."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str], on_line: Callable[[str], None]) -> None:
        # The child inherits what the shell has (PATH, locale) and gets our settings on top.
        self._process = subprocess.Popen(  # noqa: S603 - our own command
            ["/bin/sh", "-c", _GUARD, "permitwait-child", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **env},
            start_new_session=True,
            text=True,
            errors="replace",
        )
        self._on_line = on_line
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Process id of the guard, the child's parent."""
        return self._process.pid

    def running(self) -> bool:
        """Whether the process is alive."""
        return self._process.poll() is None

    def stop(self, within_s: float = 15.0) -> None:
        """Stop it warmly, after `within_s` by force; returns when it is gone."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._reader.join(timeout=5)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _read(self) -> None:
        if self._process.stdout is None:
            return
        for line in self._process.stdout:
            self._on_line(line.rstrip("\n"))


def celery_command(*arguments: str) -> list[str]:
    """`celery -A workers …` with this very interpreter."""
    return [sys.executable, "-m", "celery", "-A", "workers", *arguments]

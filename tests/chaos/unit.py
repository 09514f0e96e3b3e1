"""One worker as a service manager runs it: started, killed, frozen, and everything of it gone before the next start."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psutil

from tests.worker.nodes import celery_command, clean_environment

# $1 the log, then the worker's command. The guard leads a session, so that Ctrl-C reaches nobody in it, and says the
# worker's id. stdin is the leash: only the program holds its other end; when that closes, all ends, frozen or not.
# Orphaned pool children live on for a moment after their parent, as they do before a service manager notices.
_GUARD: Final = """
exec 3<&0 4>&1 >>"$1" 2>&1
shift
"$@" </dev/null 3<&- 4>&- &
worker=$!
{ while read -r line; do :; done; kill -KILL 0; } <&3 4>&- &
echo "$worker" >&4
exec 4>&-
wait "$worker"
sleep 0.3
kill -KILL 0
"""

#: From TERM or QUIT to SIGKILL; celeryconfig gives attempts in hand 5 s.
STOP_WITHIN_S: Final = 20.0
_POLL_S: Final = 0.05


class Unit:
    """A worker under one name; `options` go on its command line, `env` are its settings, `application` its `-A`."""

    def __init__(self, name: str, folder: Path, *options: str, application: str = "workers", **env: str) -> None:
        self.name: Final = name
        self._application = application
        self.log_path: Final = folder / f"{name}.log"
        self._folder, self._options, self._env = folder, options, env
        self._guard: subprocess.Popen[bytes] | None = None
        self._main = 0
        self._ready_before = 0
        #: When it was asked to end (monotonic); 0: it was not.
        self.stopping_since = 0.0

    def start(self) -> None:
        """Start the process; does nothing where it runs."""
        if self.running():
            return
        self._let_go()
        self._ready_before = self._ready_lines()
        self.stopping_since = 0.0
        command = celery_command(
            "worker",
            "--loglevel",
            "INFO",
            "--hostname",
            f"{self.name}@chaos",
            *self._options,
            application=self._application,
        )
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "chaos-guard", str(self.log_path), *command],
            cwd=self._folder,
            env=clean_environment(**self._env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._guard.stdout is not None
        with self._guard.stdout as told:
            self._main = int(told.readline())

    def _let_go(self) -> None:
        """Close what held the guard that has ended: another one may follow."""
        if self._guard is not None and self._guard.stdin is not None:
            self._guard.stdin.close()

    def running(self) -> bool:
        """Whether anything of it is alive."""
        return self._guard is not None and self._guard.poll() is None

    def ready(self) -> bool:
        """Whether it has said that it takes messages since it was started."""
        return self.running() and self._ready_lines() > self._ready_before

    def kill(self) -> None:
        """Kill -9 everything of it."""
        if self._guard is not None and self.running():
            os.killpg(self._guard.pid, signal.SIGKILL)
            self._guard.wait()

    def kill_main(self) -> None:
        """Kill -9 the main process; its pool children live a moment longer."""
        for process in self._processes()[:1]:
            process.kill()

    def kill_child(self) -> bool:
        """Kill -9 one pool child; false where there is none."""
        children = self._processes()[1:]
        for child in children[:1]:
            child.kill()
        return bool(children)

    def signal(self, number: signal.Signals) -> None:
        """Ask the main process to end."""
        self.stopping_since = self.stopping_since or time.monotonic()
        for process in self._processes()[:1]:
            process.send_signal(number)

    def freeze(self) -> None:
        """Stop every process of it where it stands."""
        for process in self._processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()

    def thaw(self) -> None:
        """Let them go on."""
        for process in self._processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()

    def end(self) -> None:
        """Return when it is gone, by force where it does not end by itself."""
        if self._guard is None:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._guard.wait(STOP_WITHIN_S)
        self.kill()
        self._let_go()

    def log_lines(self) -> Iterator[str]:
        """Everything it wrote, over all its lives."""
        if self.log_path.exists():
            yield from self.log_path.read_text(errors="replace").splitlines()

    def took(self, plan_part: str) -> bool:
        """Whether it has consumed the permits of a plan with this in its id."""
        return any("[PERMIT_WAIT] OK" in line and plan_part in line for line in self.log_lines())

    def _ready_lines(self) -> int:
        return sum(" ready." in line for line in self.log_lines())

    def _processes(self) -> list[psutil.Process]:
        """The main process, then its children; none where it is gone."""
        if not self.running():
            return []
        try:
            main = psutil.Process(self._main)
            return [main, *main.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

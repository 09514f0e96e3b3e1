"""The chaos run itself: a minute of everything, the seeds that once showed something, and nothing left alive."""

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import pytest

from tests.chaos.run import run
from tests.helpers import wait_until
from tests.worker.nodes import ROOT, clean_environment

#: Runs that showed something once: seed, seconds, whether one server did it all, and what it was. Load and schedule
#: come again as they were, their timing does not.
KEPT = [
    pytest.param(
        "t2", 60, False, id="t2: plans lost where the result backend was full, and answered FAILURE where it was gone"
    ),
]

SECONDS = 60
#: A minute, the start of the workers, and what must settle afterwards.
TIMEOUT_S = 400


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose path is short enough for sockets."""
    with TemporaryDirectory(prefix="pw-", ignore_cleanup_errors=True) as path:
        yield Path(path)


def check(seed: str, seconds: float, folder: Path, *, one_server: bool) -> None:
    verdict = run(seed, seconds, folder, print, one_server=one_server)

    assert verdict.good, "\n".join((f"seed {seed}", *verdict.lines))


@pytest.mark.long
@pytest.mark.timeout(TIMEOUT_S)
@pytest.mark.parametrize("one_server", [False, True], ids=["two servers", "one server"])
@pytest.mark.fault("F1", "F2", "F3", "F4", "F5", "F7", "F11", "F15", "F16", "F17", "F19", "F21", "F26", "F27")
def test_a_minute_of_chaos_breaks_no_promise(folder: Path, *, one_server: bool) -> None:
    """Workers, servers and ways between them break at random: nothing twice, nothing lost, nothing wrong."""
    check(secrets.token_hex(3), SECONDS, folder, one_server=one_server)


@pytest.mark.long
@pytest.mark.timeout(TIMEOUT_S)
@pytest.mark.parametrize(("seed", "seconds", "one_server"), KEPT)
@pytest.mark.fault("F19", "F21")
def test_what_once_failed_holds(seed: str, seconds: float, folder: Path, *, one_server: bool) -> None:
    """A seed that ever showed a broken promise shows none now."""
    check(seed, seconds, folder, one_server=one_server)


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_alive(folder: Path, number: signal.Signals) -> None:
    """Ctrl-C, TERM or kill -9 of the program ends every process that it started, frozen workers among them."""
    command = [sys.executable, "-m", "tests.chaos", "--seconds", "60", "--seed", "1", "--keep", str(folder)]
    with subprocess.Popen(
        command, cwd=ROOT, env=clean_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as program:
        wait_until(lambda: (folder / "w3.log").exists() and is_ready(folder), "the workers are there", within_s=60)
        assert alive(folder)
        os.kill(main_of("w1", folder), signal.SIGSTOP)
        program.send_signal(number)
        program.wait(60)

    wait_until(lambda: not alive(folder), f"nothing runs on: {alive(folder)}")


def is_ready(folder: Path) -> bool:
    return all(" ready." in (folder / f"{name}.log").read_text(errors="replace") for name in ("w1", "w2", "w3"))


def main_of(worker: str, folder: Path) -> int:
    """The worker's main process: the oldest that runs Python."""
    return min(
        pid for pid, line in alive(folder).items() if line.startswith(sys.executable) and f"{worker}@chaos" in line
    )


def alive(folder: Path) -> dict[int, str]:
    """Every process that works in this folder, by id, with its command line."""
    found = {}
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if process.cwd().startswith(str(folder)) and process.status() != psutil.STATUS_ZOMBIE:
                found[process.pid] = " ".join(process.cmdline())
    return found

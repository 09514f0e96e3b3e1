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

#: How a run can be set up: the keyword arguments of `run`.
TWO_SERVERS: dict[str, bool] = {}
ONE_SERVER = {"one_server": True}
FAR_VENUE = {"far_venue": True}

#: Seeds of runs that showed something once. Load and schedule come again as they were, their timing does not.
KEPT = [
    pytest.param(
        "t2", TWO_SERVERS, id="plans lost where the result backend was full, answered FAILURE where it was gone"
    ),
    pytest.param("e2", TWO_SERVERS, id="submit() raised an AttributeError of kombu's"),
    pytest.param("f3f", FAR_VENUE, id="a worker whose broker was forgotten by the network lived on and did nothing"),
]

SECONDS = 60
#: A minute, the start of the workers, and what must settle afterwards.
TIMEOUT_S = 400


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose path is short enough for sockets."""
    with TemporaryDirectory(prefix="pw-", ignore_cleanup_errors=True) as path:
        yield Path(path)


def check(seed: str, folder: Path, setup: dict[str, bool]) -> None:
    verdict = run(seed, SECONDS, folder, print, **setup)

    assert verdict.good, "\n".join((f"seed {seed}", *verdict.lines))


@pytest.mark.long
@pytest.mark.timeout(TIMEOUT_S)
@pytest.mark.parametrize("setup", [TWO_SERVERS, ONE_SERVER], ids=["two servers", "one server"])
@pytest.mark.fault("F1", "F2", "F3", "F4", "F5", "F7", "F11", "F15", "F16", "F17", "F19", "F21", "F26", "F27")
def test_a_minute_of_chaos_breaks_no_promise(folder: Path, setup: dict[str, bool]) -> None:
    """Workers, servers and ways between them break at random: nothing twice, nothing lost, nothing wrong."""
    check(secrets.token_hex(3), folder, setup)


@pytest.mark.long
@pytest.mark.timeout(TIMEOUT_S)
@pytest.mark.fault("F1", "F2", "F28", "F31", "F32", "F35")
def test_a_minute_of_chaos_at_a_far_venue_breaks_no_promise(folder: Path) -> None:
    """The same with a venue that is slow, late, silent or killed: no order twice, none adopted that is not there."""
    check(secrets.token_hex(3), folder, FAR_VENUE)


@pytest.mark.long
@pytest.mark.timeout(TIMEOUT_S)
@pytest.mark.parametrize(("seed", "setup"), KEPT)
@pytest.mark.fault("F19", "F21", "F26")
def test_what_once_failed_holds(seed: str, folder: Path, setup: dict[str, bool]) -> None:
    """A seed that ever showed a broken promise shows none now."""
    check(seed, folder, setup)


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

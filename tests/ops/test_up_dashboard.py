"""`permitwait up --flower`: the dashboard beside server and worker, as real processes."""

import re
import signal
import socket
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Final

import psutil
import pytest

from tests.helpers import wait_until
from tests.worker.nodes import clean_environment

pytestmark = pytest.mark.long

_WITHIN_S: Final = 60.0


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Up:
    """A running `permitwait up --flower`, and everything that it has said."""

    def __init__(self, folder: Path, port: int, **env: str) -> None:
        self.port: Final = port
        self.log: Final = folder / "log"
        settings = {"XDG_DATA_HOME": str(folder), "HOME": str(folder)} | env
        with self.log.open("wb") as log:
            self.process: Final = subprocess.Popen(
                [sys.executable, "-m", "ops", "up", "--flower", "--flower-port", str(port)],
                cwd=folder,
                env=clean_environment(**settings),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def said(self, pattern: str) -> re.Match[str]:
        """Wait until a line matches."""
        found: re.Match[str] = wait_until(
            lambda: re.search(pattern, self.log.read_text(errors="replace")),
            f"{pattern!r} said; so far:\n{self.log.read_text(errors='replace')}",
            within_s=_WITHIN_S,
        )
        return found

    def status(self, login: str) -> int:
        """What the dashboard answers to this login."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(
                "GET", "/tasks", headers={"Authorization": "Basic " + b64encode(login.encode()).decode()}
            )
            return connection.getresponse().status
        finally:
            connection.close()

    def children(self) -> list[psutil.Process]:
        """Every process below it."""
        return psutil.Process(self.process.pid).children(recursive=True)


@contextmanager
def up(folder: Path, port: int, **env: str) -> Iterator[Up]:
    """Started, and gone afterwards with all its children."""
    running = Up(folder, port, **env)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.process.send_signal(signal.SIGINT)
        running.process.wait(_WITHIN_S)


def test_the_dashboard_is_there_with_a_login_of_its_own(tmp_path: Path) -> None:
    """One line names address and login; it listens on this machine only; no process shows the password; all end."""
    with up(tmp_path, free_port()) as running:
        said = running.said(r"dashboard: (\S+) \(user (\w+), password (\S+)\)")
        children = running.children()
        commands = [" ".join(child.cmdline()) for child in children]
        places = {
            connection.laddr.ip
            for child in children
            for connection in child.net_connections(kind="inet")
            if connection.status == psutil.CONN_LISTEN
        }

        assert f"http://127.0.0.1:{running.port}/tasks" == said[1]
        assert (200, 401) == (running.status(f"{said[2]}:{said[3]}"), running.status(f"{said[2]}:wrong"))
        assert {"127.0.0.1"} == places
        assert [] == [command for command in commands if said[3] in command]

        running.process.send_signal(signal.SIGINT)

        assert 0 == running.process.wait(_WITHIN_S)
        assert [] == psutil.wait_procs(children, timeout=_WITHIN_S)[1]


def test_plans_go_on_without_the_dashboard(tmp_path: Path) -> None:
    """A dashboard that dies is reported once; the worker stays."""
    with up(tmp_path, free_port()) as running:
        running.said("dashboard: http")
        [flower] = [c for c in running.children() if "flower" in c.cmdline() and "celery" in c.cmdline()[:3]]
        flower.kill()
        running.said("the dashboard ended, plans go on without it")

        assert None is running.process.poll()
        assert [c for c in running.children() if "worker" in c.cmdline()]


def test_the_file_with_the_logins_is_used(tmp_path: Path) -> None:
    """Where the settings name logins no other is made, and no password is printed."""
    (tmp_path / "logins").write_text("night:another-twelve\n")
    with up(tmp_path, free_port(), APPLY_FLOWER_AUTH_FILE=str(tmp_path / "logins")) as running:
        running.said(r"dashboard: \S+ \(log in with APPLY_FLOWER_AUTH_FILE\)")

        assert (200, 401) == (running.status("night:another-twelve"), running.status("permitwait:another-twelve"))
        assert "another-twelve" not in running.log.read_text(errors="replace")


def test_a_port_in_use_is_reported(tmp_path: Path) -> None:
    """Another program on the port is not taken for our dashboard."""
    with socket.create_server(("127.0.0.1", 0)) as taken, up(tmp_path, taken.getsockname()[1]) as running:
        said = running.said("the dashboard ended, plans go on without it: (.*)")

        assert "Address already in use" in said[1]
        assert None is running.process.poll()
        assert "dashboard: http" not in running.log.read_text(errors="replace")

"""A deployment to be looked at: a real server and an environment, and the fixes of findings applied to them."""

import re
import shlex
from contextlib import suppress
from pathlib import Path
from socket import AF_INET, SOCK_STREAM, socket
from typing import Any, Final

import pytest
import redis

from ops.doctor import queues
from ops.doctor.checks import ALL
from ops.doctor.facts import Facts
from ops.doctor.finding import Finding, Severity
from ops.doctor.gather import gather
from ops.doctor.run import examine
from tasks.address import RedisAddress
from tasks.settings import GovernorSettings, PositionSettings, read_settings
from tasks.store import connect
from tests.helpers import wait_until
from tests.servers import RealServer

#: As in deploy/redis: what a server must say to pass.
HEALTHY: Final = {"maxmemory": "256mb", "no-appendfsync-on-rewrite": "no"}


class Patient:
    """A server with data on disk, the settings of a worker on it, and what doctor finds there."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, **config: str) -> None:
        self._monkeypatch = monkeypatch
        self.folder = folder / "data"
        self.server = RealServer(self.folder, appendfsync="always", config=HEALTHY | config)
        self.server.start()
        self.client: redis.Redis = connect(RedisAddress.parse(self.server.url), timeout_ms=5_000)
        self.setting("APPLY_REDIS_URL", self.server.url)
        #: Which worker reads which queues; asking real ones takes two seconds, and one test does.
        self.readers: dict[str, tuple[str, ...]] = {}
        monkeypatch.setattr(queues, "readers_of", lambda _settings: ("", self.readers))
        monkeypatch.chdir(folder)

    def setting(self, name: str, value: str) -> None:
        """Set a variable of the environment."""
        self._monkeypatch.setenv(name, value)

    def facts(self, **how: Any) -> Facts:
        """One look, as the command does it."""
        return gather(read_settings(), GovernorSettings(), PositionSettings(), **how)

    def findings(self, check: str, **how: Any) -> list[Finding]:
        """What one check finds now; no check finds worse than its line in the documents says."""
        found = examine(self.facts(**how))
        order = list(Severity)
        worst = {one.name: order.index(one.worst) for one in ALL}
        assert [] == [one for one in found if order.index(one.severity) < worst[one.check]]

        return [finding for finding in found if finding.check == check]

    def finding(self, check: str, **how: Any) -> Finding:
        """The one finding of a check."""
        found = self.findings(check, **how)
        assert 1 == len(found), found

        return found[0]

    def apply(self, finding: Finding) -> None:
        """Do what the fix says first: a server command, or a line of the environment."""
        said = re.search(r"`([^`]+)`", finding.fix)
        assert said, finding.fix

        fix = said[1]
        setting = re.fullmatch(r"([A-Z0-9_]+)=(\S*)", fix)
        if setting:
            self.setting(setting[1], setting[2])
        else:
            self.client.execute_command(*shlex.split(fix))  # type: ignore[no-untyped-call] # untyped in redis-py

    def ask(self, command: str) -> Any:
        """Send one command, as an administrator does."""
        return self.client.execute_command(*shlex.split(command))  # type: ignore[no-untyped-call] # as above

    def open_port(self) -> int:
        """A TCP port of this machine on which the server listens from now on."""
        with socket(AF_INET, SOCK_STREAM) as free:
            free.bind(("127.0.0.1", 0))
            port = int(free.getsockname()[1])
        self.ask("CONFIG SET bind 127.0.0.1")
        self.ask(f"CONFIG SET port {port}")
        return port

    def stop(self) -> None:
        """End the server, which refuses to while it writes its first AOF."""
        with suppress(redis.RedisError):
            wait_until(lambda: not self.client.info()["aof_rewrite_in_progress"], "no rewrite of the AOF")
        self.client.close()
        self.server.stop()

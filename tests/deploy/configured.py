"""A server that runs with the configuration we ship, in a folder of the test's own."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import copy
from typing import Any, Final, cast

import redis

from ops.server import server_binary
from tests.helpers import wait_until

DEPLOY: Final = Path(__file__).parents[2] / "deploy"

#: The password of every login in these tests.
SECRET: Final = "test-only"  # noqa: S105 - of a server that nobody else reaches

ROLES: Final = tuple(
    line.split()[1] for line in (DEPLOY / "redis" / "users.acl").read_text().splitlines() if line.startswith("user ")
)[1:]


class Configured:
    """The running server: an address per login, and an administrator who is in no file of ours."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "r.sock"
        self.admin = redis.Redis(unix_socket_path=str(self.socket), username="test-admin", password=SECRET)

    def url(self, role: str) -> str:
        """The address with this role's login."""
        return f"redis+socket://{role}:{SECRET}@{self.socket}"

    def client(self, role: str) -> redis.Redis:
        """A connection with this role's login."""
        return redis.Redis(unix_socket_path=str(self.socket), username=role, password=SECRET)

    def rules_of(self, user: str) -> dict[str, Any]:
        """What a login may, in the server's own words."""
        return cast("dict[str, Any]", self.admin.acl_getuser(user))

    def denials(self) -> list[str]:
        """What the server has refused to logins of ours: user, what, in which context."""
        log = self.admin.acl_log()
        return [f"{entry['username']}: {entry['reason']} {entry['object']} ({entry['context']})" for entry in log]


@contextmanager
def configured(folder: Path, program: str | None = None) -> Iterator[Configured]:
    """Start the server with our files, but for paths and port, which are the test's; every login has a password."""
    users = folder / "users.acl"
    copy(DEPLOY / "redis" / "users.acl", users)
    with users.open("a") as file:
        file.write(f"user test-admin on >{SECRET} ~* &* +@all\n")
    text = (DEPLOY / "redis" / "permitwait.conf").read_text()
    own = {"port": "0", "dir": str(folder), "aclfile": str(users), "unixsocket": str(folder / "r.sock")}
    for name, value in own.items():
        text, found = re.subn(rf"(?m)^{name} .*$", f"{name} {value}", text)
        assert 1 == found, name
    (folder / "redis.conf").write_text(text)
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [program or str(server_binary()), str(folder / "redis.conf")], stdout=output, stderr=output
        )
    server = Configured(folder)
    try:
        wait_until(lambda: _answers(server, process, log), "the configured server answers")
        for role in ROLES:
            server.admin.acl_setuser(role, enabled=True, passwords=[f"+{SECRET}"], keys=None, channels=None)
        yield server
    finally:
        server.admin.close()
        process.terminate()
        process.wait(20)


def _answers(server: Configured, process: "subprocess.Popen[bytes]", log: Path) -> bool:
    assert process.poll() is None, log.read_text()

    try:
        return bool(server.admin.ping())
    except redis.RedisError:
        return False

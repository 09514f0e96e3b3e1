"""A private RabbitMQ node for the tests: ports, files and epmd of its own; it never outlives this process."""

import base64
import http.client
import json
import os
import random
import socket
import subprocess
import time
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Self
from urllib.parse import quote

from tests.packages import need

#: A node is ready in 5 to 10 s where the machine has nothing else to do.
READY_WITHIN_S: Final = 90.0

#: Below the ports that Linux and macOS hand out by themselves.
_PORTS: Final = range(20_000, 30_000)
_POLL_S: Final = 0.1
_LOG_TAIL_LINES: Final = 20

# Guard, epmd and node are one process group. stdin is a leash: only this process holds its other end, and when that
# closes, whoever closed it, all of them are killed. What the virtual machine has started ends with it.
# $1 epmd, $2 its port, then the node's command.
_GUARD: Final = """
exec 3<&0
"$1" -port "$2" -address 127.0.0.1 </dev/null 3<&- &
shift 2
"$@" </dev/null 3<&- &
while read -r line <&3; do :; done
kill -KILL 0
"""

_numbers = count(1)


class RabbitNode:
    """One node on 127.0.0.1. `kill` and `start` are a crash and a restart: the address and all files stay.

    `config` are more lines of its configuration, `erl_args` more arguments of its virtual machine.
    """

    def __init__(self, config: str = "", erl_args: str = "") -> None:
        self._config, self._erl_args = config, erl_args
        self._programs = need("epmd"), need("rabbitmq-server")
        self._folder = TemporaryDirectory(prefix="pw-rabbit-")
        self._amqp, self._http, self._dist, self._epmd = _free_ports(4)
        self._guard: subprocess.Popen[bytes] | None = None

    def url(self, vhost: str) -> str:
        """Address of a virtual host, as Celery wants it."""
        return f"amqp://guest:guest@127.0.0.1:{self._amqp}/{vhost}"

    @property
    def pid(self) -> int:
        """Of the guard, whose children all processes of the node are."""
        assert self._guard is not None

        return self._guard.pid

    def start(self) -> None:
        """Start the node and return when it answers; does nothing where it runs."""
        if self._guard is not None:
            return
        epmd, node = self._programs
        folder = Path(self._folder.name)
        (folder / "enabled_plugins").write_text("[rabbitmq_management].\n")
        (folder / "rabbitmq.conf").write_text(self._configuration())
        with (folder / "log").open("ab") as log:
            self._guard = subprocess.Popen(
                ["/bin/sh", "-c", _GUARD, "permitwait-guard", epmd, str(self._epmd), node],
                env=os.environ | self._environment(folder),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        give_up = time.monotonic() + READY_WITHIN_S
        while not self._answers():
            assert time.monotonic() < give_up, f"the node was not ready in {READY_WITHIN_S} s:\n{self._log_tail()}"

            time.sleep(_POLL_S)

    def kill(self) -> None:
        """Kill the node with everything that belongs to it; its files stay."""
        guard, self._guard = self._guard, None
        if guard is not None and guard.stdin is not None:
            guard.stdin.close()
            guard.wait()

    def stop(self) -> None:
        """Kill the node and remove its files."""
        self.kill()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def version(self) -> str:
        """Of RabbitMQ."""
        return str(self._ask("GET", "overview")["rabbitmq_version"])

    def add_vhost(self) -> str:
        """Name of a new virtual host, empty and open to `guest`."""
        name = f"t{next(_numbers)}"
        self._ask("PUT", f"vhosts/{name}")
        return name

    def drop_vhost(self, name: str) -> None:
        """Remove a virtual host and close its connections."""
        self._ask("DELETE", f"vhosts/{name}")

    def messages(self, vhost: str, queue: str) -> tuple[int, int]:
        """How many messages of a queue wait, and how many are unacknowledged; none where there is no such queue."""
        # As the queue itself counts them: the plugin's own statistics are seconds old.
        for found in self._ask("GET", f"queues/{vhost}?disable_stats=true&enable_queue_totals=true"):
            if found["name"] == queue:
                return found["messages_ready"], found["messages_unacknowledged"]
        return 0, 0

    def cut(self, vhost: str) -> int:
        """Close every connection of a virtual host from the broker's side; return how many there were."""
        connections = self._ask("GET", f"vhosts/{vhost}/connections")
        for connection in connections:
            self._ask("DELETE", f"connections/{quote(connection['name'])}")
        return len(connections)

    def _ask(self, method: str, path: str) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self._http, timeout=30)
        try:
            login = base64.b64encode(b"guest:guest").decode()
            connection.request(method, f"/api/{path}", headers={"Authorization": f"Basic {login}"})
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        assert 200 <= answer.status < 300 or answer.status == 404, f"{method} {path}: {answer.status} {body!r}"

        return json.loads(body) if body else None

    def _answers(self) -> bool:
        try:
            self._ask("GET", "overview")
        except (OSError, http.client.HTTPException):
            return False
        return True

    def _configuration(self) -> str:
        return (
            f"listeners.tcp.default = 127.0.0.1:{self._amqp}\n"
            "management.tcp.ip = 127.0.0.1\n"
            f"management.tcp.port = {self._http}\n"
            # The default stops publishers on a disk that is merely full for its size.
            "disk_free_limit.absolute = 10MB\n"
            "log.file = false\n"
            "log.console = true\n"
            f"{self._config}\n"
        )

    def _environment(self, folder: Path) -> dict[str, str]:
        return {
            "HOME": str(folder),  # of the cookie
            "RABBITMQ_CONF_ENV_FILE": str(folder / "none"),  # the machine's own must not count
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_LOG_BASE": str(folder / "logs"),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_NODENAME": f"{folder.name}@localhost",
            "RABBITMQ_NODE_PORT": str(self._amqp),
            "RABBITMQ_DIST_PORT": str(self._dist),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": self._erl_args,
            "ERL_EPMD_PORT": str(self._epmd),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }

    def _log_tail(self) -> str:
        text = (Path(self._folder.name) / "log").read_text(errors="replace")
        return "\n".join(text.splitlines()[-_LOG_TAIL_LINES:])


def _free_ports(number: int) -> list[int]:
    """Ports on which nobody listens; somebody else may take one before we do, but hardly at random."""
    found: list[int] = []
    while len(found) < number:
        port = random.choice(_PORTS)
        with socket.socket() as probe:
            if port not in found and probe.connect_ex(("127.0.0.1", port)) != 0:
                found.append(port)
    return found

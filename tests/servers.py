"""The servers that a run of the tests is about: which Redis, and which broker. One choice per run.

`pytest --server=redis` takes the `redis-server` of this machine instead of the embedded Valkey, `--broker=rabbitmq` a
RabbitMQ node of our own instead of that Redis. Tests ask for a `RealServer` and do not care.
"""

from functools import cache
from pathlib import Path
from typing import Any, Final, Protocol

import redis

from ops.server import EmbeddedServer
from tests.packages import need
from tests.rabbitmq import RabbitNode

#: Of the permits and records; the first is the one that the package ships.
SERVERS: Final = ("valkey", "redis")

#: Of the messages; the first is the server itself.
BROKERS: Final = ("redis", "rabbitmq")

_QUEUE: Final = "execute"


class _Run:
    """What was chosen on the command line."""

    server = SERVERS[0]
    broker = BROKERS[0]


def choose(server: str, broker: str) -> None:
    """Say what this run is about, before the first server starts."""
    _Run.server, _Run.broker = server, broker


class Queue(Protocol):
    """The queue of the plans, as the broker sees it."""

    url: str

    def ready(self) -> int:
        """Messages that no worker has taken."""

    def unacknowledged(self) -> int:
        """Messages that a worker holds."""

    def close(self) -> None:
        """Let go of the broker."""


class RealServer(EmbeddedServer):
    """A server of the kind this run is about; `queue` leads to the broker that goes with it.

    That is the node all tests of this process share, or `rabbit`, one that a test may end.
    """

    def __init__(self, data_dir: Path | None = None, *, rabbit: RabbitNode | None = None, **options: Any) -> None:
        binary = Path(need("redis-server")) if _Run.server == "redis" else None
        super().__init__(data_dir, binary=binary, **options)
        self._queue: Queue | None = RabbitQueue(rabbit) if rabbit else None

    @property
    def queue(self) -> Queue:
        """The queue of the plans; nobody else uses it."""
        if self._queue is None:
            self._queue = RabbitQueue(node()) if _Run.broker == "rabbitmq" else RedisQueue(self)
        return self._queue

    @property
    def broker_url(self) -> str:
        """Where the messages of this server's plans go."""
        return self.queue.url

    def __exit__(self, *_: object) -> None:
        if self._queue is not None:
            self._queue.close()
        super().__exit__()


class RedisQueue:
    """The queue as Celery keeps it in Redis."""

    def __init__(self, server: EmbeddedServer) -> None:
        self.url = server.url
        self._client = redis.Redis(unix_socket_path=str(server.socket_path))

    def ready(self) -> int:
        """See `Queue`."""
        return int(self._client.llen(_QUEUE))

    def unacknowledged(self) -> int:
        """See `Queue`."""
        return int(self._client.hlen("unacked"))

    def close(self) -> None:
        """See `Queue`."""
        self._client.close()


class RabbitQueue:
    """The queue in a virtual host of its own."""

    def __init__(self, rabbit: RabbitNode) -> None:
        self.node, self.vhost = rabbit, rabbit.add_vhost()
        self.url = rabbit.url(self.vhost)

    def ready(self) -> int:
        """See `Queue`."""
        return self.node.messages(self.vhost, _QUEUE)[0]

    def unacknowledged(self) -> int:
        """See `Queue`."""
        return self.node.messages(self.vhost, _QUEUE)[1]

    def cut(self) -> int:
        """Close every connection from the broker's side; return how many there were."""
        return self.node.cut(self.vhost)

    def close(self) -> None:
        """See `Queue`."""
        self.node.drop_vhost(self.vhost)


@cache
def node() -> RabbitNode:
    """The RabbitMQ node of this process, started where it is asked for first."""
    made = RabbitNode()
    made.start()
    return made


def end_node() -> None:
    """Stop the node of this process, if there is one."""
    if node.cache_info().currsize:
        node().stop()
        node.cache_clear()

"""A consumer of our transport in this process, turned by hand; what it took and what still waits."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from queue import Empty
from typing import Any, Final, cast

import kombu
import redis

from tests.helpers import wait_until
from tests.servers import RealServer
from tests.worker.entries import message, raw

QUEUES: Final = ("execute", "governor", "position")


class Consumer:
    """A channel of ours that consumes these queues and keeps what it is given, unacknowledged."""

    def __init__(self, server: RealServer, prefetch: int = 0, names: Sequence[str] = QUEUES) -> None:
        # Its lock would be counted among the calls of the script.
        self.connection: Any = kombu.Connection(server.url, transport_options={"unacked_restore_throttle": 1_000_000})
        self.channel = cast("Any", self.connection.default_channel)
        self.channel.basic_qos(0, prefetch, False)  # noqa: FBT003 - kombu's own signature
        self.messages: list[Any] = []
        queues = [kombu.Queue(name, channel=self.channel) for name in names]
        self._consumer = kombu.Consumer(self.channel, queues, on_message=self.messages.append)
        self._consumer.consume()

    @property
    def ids(self) -> list[str]:
        """Task ids of what was delivered, in order."""
        return [got.headers["id"] for got in self.messages]

    def has(self, task_id: str) -> bool:
        """Whether this message was delivered."""
        return task_id in self.ids

    def turn(self, within_s: float = 0.05) -> None:
        """One turn of the poller."""
        with suppress(Empty):
            self.connection.transport.cycle.get(None, timeout=within_s)

    def turn_until(self, condition: Callable[[], Any], what: str) -> None:
        """Turn until the condition holds."""

        def turned() -> Any:
            self.turn()
            return condition()

        wait_until(turned, what)


@contextmanager
def consuming(server: RealServer, prefetch: int = 0, queues: Sequence[str] = QUEUES) -> Iterator[Consumer]:
    """A consumer, closed in good order afterwards."""
    consumer = Consumer(server, prefetch, queues)
    try:
        yield consumer
    finally:
        consumer.connection.release()


def send(client: redis.Redis, number: int, queue: str = "execute") -> list[str]:
    """Put messages into a queue; returns their ids."""
    entries = [message() for _ in range(number)]
    for entry in entries:
        client.lpush(queue, raw(entry))
    return [entry["headers"]["id"] for entry in entries]


def marked(client: redis.Redis) -> list[str]:
    """Ids of what is unacknowledged; fails where hash and index disagree."""
    both = client.pipeline()
    both.hgetall("unacked")
    both.zrange("unacked_index", 0, -1)
    kept, index = both.execute()

    assert set(kept) == set(index)
    return [json.loads(entry)[0]["headers"]["id"] for entry in kept.values()]


def queued(client: redis.Redis, queue: str = "execute") -> list[str]:
    """Ids of what waits in a queue, the next one first."""
    entries: Any = client.lrange(queue, 0, -1)
    return [json.loads(entry)["headers"]["id"] for entry in reversed(entries)]

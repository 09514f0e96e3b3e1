"""Reads the broker: who reads our queues, what waits in them, what workers hold."""

from collections.abc import Mapping
from typing import Any, Final, cast

import redis
from celery import Celery
from kombu import Connection
from kombu.exceptions import OperationalError

import celeryconfig
from ops.doctor.facts import Broker
from tasks.address import for_celery
from tasks.settings import Settings

#: Workers answer a broadcast within this time, or are taken for gone.
ANSWER_S: Final = 1.0

_CONNECT_S: Final = 3
_OURS: Final = tuple(queue.name for queue in celeryconfig.task_queues)
#: How kombu names the lists of a queue's priorities.
_PRIORITIES: Final = ("", "\x06\x163", "\x06\x166", "\x06\x169")


def redis_broker(client: "redis.Redis", settings: Settings) -> Broker:
    """The broker on this server; messages are marked on its clock.

    Raises:
        redis.RedisError: it gave no answer.
    """
    oldest = cast("list[tuple[bytes, float]]", client.zrange("unacked_index", 0, 0, withscores=True))
    seconds, micros = client.time()
    error, readers = readers_of(settings)
    return Broker(
        error=error,
        waiting={queue: _length(client, queue) for queue in _OURS},
        readers=readers,
        unacked=client.zcard("unacked_index"),
        oldest_unacked_s=max(0.0, seconds + micros / 1_000_000 - oldest[0][1]) if oldest else 0.0,
        visibility_s=float(cast("Any", celeryconfig.broker_transport_options).get("visibility_timeout", 3600)),
    )


def _length(client: "redis.Redis", queue: str) -> int:
    lengths: list[int] = [client.llen(queue + priority) for priority in _PRIORITIES]
    return sum(lengths)


def amqp_broker(settings: Settings) -> Broker:
    """The broker behind an amqp:// address."""
    error, readers = readers_of(settings)
    if error:
        return Broker(error=error)
    url, options = for_celery(settings.effective_broker_url)
    waiting = {}
    with Connection(url, connect_timeout=_CONNECT_S, transport_options=options) as connection:
        for queue in _OURS:
            try:
                waiting[queue] = int(cast("Any", connection.channel()).queue_declare(queue, passive=True).message_count)
            except connection.channel_errors:
                waiting[queue] = 0  # nobody has declared it yet
    return Broker(waiting=waiting, readers=readers)


def readers_of(settings: Settings) -> tuple[str, Mapping[str, tuple[str, ...]]]:
    """What went wrong, and which worker reads which queues."""
    url, options = for_celery(settings.effective_broker_url)
    app = Celery("permitwait-doctor", broker=url, set_as_current=False)
    app.conf.broker_transport_options = options
    try:
        with app.connection_for_write(connect_timeout=_CONNECT_S) as connection:
            connection.ensure_connection(max_retries=1, timeout=_CONNECT_S)
            found = app.control.inspect(timeout=ANSWER_S, connection=connection).active_queues() or {}
    except (OperationalError, redis.RedisError, OSError) as error:
        return f"{type(error).__name__}: {error}", {}
    finally:
        app.close()
    return "", {worker: tuple(queue["name"] for queue in queues) for worker, queues in found.items()}

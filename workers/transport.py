"""The worker's Redis transport: no entry of a queue is lost, and none ends the worker.

Entries are taken and marked in one step (`workers.take`), and each becomes a message or is set aside. Stock kombu
trusts what it pops: `LPUSH execute garbage` ends the worker process, an entry without `properties` makes it
reconnect, one without `id` makes it reconnect for ever. What a stock worker runs, acknowledges and could retry is
delivered here too, unless it is nested deeper than any plan.
"""

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from queue import Empty
from time import monotonic
from typing import Any, Final, cast

from kombu import transport as kombu_transports
from kombu.transport import redis as stock
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import loads
from redis import exceptions

from workers.envelope import NESTING_MAX, NOT_DECODED, envelope_fault, task_fault, too_deep
from workers.junk import JunkError, blames_entry, hand_over, why_of
from workers.poller import Poller
from workers.take import MOST, Taker
from workers.unacked import QoS

logger = logging.getLogger("permitwait")

_JSON: Final = "application/json"

#: An acknowledgement goes with the next call for messages, or alone after so long: alone it wakes the event loop for
#: its reply. Who takes the message up in between finds its plan ended.
_ACKNOWLEDGE_AFTER_S: Final = 0.05


def install() -> None:
    """Make `redis`, `rediss` (with `redis+socket`) and `sentinel` addresses of this process use these transports.

    For workers; producers never need it. Connections that were opened before keep theirs. May be called again.
    """
    for scheme, name in (("redis", "Transport"), ("rediss", "Transport"), ("sentinel", "SentinelTransport")):
        # kombu calls an alias that is not a string. `redis+socket://` is looked up as `redis`.
        kombu_transports.TRANSPORT_ALIASES[scheme] = f"{__name__}:{name}"
        # A scheme that was looked up before is remembered there, and the alias never read again.
        kombu_transports._transport_cache.pop(scheme, None)  # type: ignore[attr-defined]  # noqa: SLF001 - as above


class Channel(stock.Channel):
    """kombu's Redis channel that loses no entry and survives any.

    A message passes unchanged but for its way back (`_read`) and its delivery tag, which is the one it was taken under.
    """

    QoS = QoS
    _kept: Any = None

    # Attributes of upstream's that its type stubs leave out.
    _brpop_sent_at: float | None
    _closing: bool
    _in_listen: Any
    _in_poll: Any
    _active_queues: list[str]
    active_fanout_queues: set[str]
    _queue_cycle: Any
    connection_errors: tuple[type[Exception], ...]
    global_keyprefix: str
    unacked_key: str
    unacked_index_key: str
    _maybe_update_queues_expire: Callable[[Any, str], None]
    _q_for_pri: Callable[[str, int], str]
    _create_client: Callable[[], Any]

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - whatever kombu passes
        self._taker = Taker()
        self._asked: tuple[str, ...] = ()
        self._keys: dict[tuple[str, ...], list[str]] = {}
        self._acknowledged: list[str] = []
        self._acknowledged_at = 0.0
        super().__init__(*args, **options)

    @contextmanager
    def conn_or_acquire(self, client: Any = None) -> Iterator[Any]:  # noqa: ANN401 - kombu's own signature
        """Replaces upstream's, which builds a new `redis.Redis` for every call: 9 % of the CPU of a waiting plan."""
        if client is None:
            client = self._kept
            # A pool that was disconnected, or belongs to the parent of a fork, is replaced by a new one.
            if client is None or client.connection_pool is not self.pool:
                client = self._kept = self._create_client()
        yield client

    @property
    def standing(self) -> tuple[Any, ...]:
        """What its sockets wait for: while nothing of this changes, upstream's preparations of a turn do nothing."""
        subclient = self.__dict__.get("subclient")
        listening, polled = subclient.connection if subclient else None, self._in_poll
        return (
            polled and polled._sock,  # noqa: SLF001 - as kombu, which registers these very sockets
            listening and listening._sock,  # noqa: SLF001 - as above
            self._in_listen is listening,
            self.qos.can_consume(),
            len(self._active_queues),
            len(self.active_fanout_queues),
        )

    @property
    def due(self) -> bool:
        """Whether there is something to ask the queues, or too long a silence to wait on."""
        return (self._taker.due or self._taker.silent) and bool(self.active_queues)

    def _brpop_start(self, timeout: float | None = None) -> None:
        """Replaces upstream's: asks for as many entries as there is room for, where something may be there."""
        _ = timeout  # upstream's; nothing here waits at the server
        connection = self.client.connection
        if self._taker.silent:
            logger.warning("[TAKE] no reply from the broker; connecting again")
            self._taker.lose()
            connection.disconnect()
            return
        # Upstream pauses the socket of a full worker only where it believes that a reply is on its way, and drops
        # the connection if that takes too long.
        self._in_poll, self._brpop_sent_at = connection, None
        if not self._taker.ready(connection):
            return
        queues = tuple(self._queue_cycle.consume(len(self.active_queues)))
        if not queues:
            return
        room = self.qos.can_consume_max_estimate()
        acknowledged = self._acknowledged
        if self._taker.ask(connection, self._keys_of(queues), queues, MOST if room is None else room, acknowledged):
            self._acknowledged = []
            self._asked = queues
            self._queue_cycle.rotate(queues[0])

    def _keys_of(self, queues: tuple[str, ...]) -> list[str]:
        keys = self._keys.get(queues)
        if keys is None:
            names = (self.unacked_key, self.unacked_index_key)
            urgent_first = (self._q_for_pri(queue, step) for step in self.priority_steps for queue in queues)
            keys = self._keys[queues] = [self.global_keyprefix + key for key in (*names, *urgent_first)]
        return keys

    def _brpop_read(self, **options: Any) -> bool:  # noqa: ANN401 - kombu's own signature
        """Replaces upstream's, whose `loads` and delivery let any error in the entry end the worker."""
        _ = options
        try:
            taken = self._taker.read(self.client.connection)
        except self.connection_errors:
            # Disconnected, the next turn of the event loop connects again.
            self.client.connection.disconnect()
            raise
        if not taken:
            raise Empty
        delivered = cast("QoS", self.qos)._delivered  # noqa: SLF001 - see there
        delivered.update((entry.tag, None) for entry in taken)
        for entry in taken:
            self._take_in(self._asked[entry.queue % len(self._asked)], entry.raw, entry.tag)
        return True

    def acknowledge(self, tag: str) -> None:
        """Have the mark of a message removed, soon and with others; at once where no turn follows."""
        if not self._acknowledged:
            self._acknowledged_at = monotonic()
        self._acknowledged.append(tag)
        if self._closing:
            self._acknowledge_now()

    def flush_acknowledged(self, *, at_once: bool) -> None:
        """Send the acknowledgements that no call for messages took along in time, without waiting for replies."""
        if self._taker.unconfirmed:
            self._acknowledged += self._taker.unconfirmed
            self._taker.unconfirmed.clear()
        if not self._acknowledged:
            return
        if not self._in_poll:
            self._acknowledge_now()
        elif at_once or len(self._acknowledged) >= MOST or monotonic() > self._acknowledged_at + _ACKNOWLEDGE_AFTER_S:
            tags, self._acknowledged = self._acknowledged, []
            unacked, index = (self.global_keyprefix + key for key in (self.unacked_key, self.unacked_index_key))
            self._taker.acknowledge(self.client.connection, unacked, index, tags)

    def _acknowledge_now(self) -> None:
        tags, self._acknowledged = self._acknowledged, []
        with self.conn_or_acquire() as client:
            pipeline = client.pipeline(transaction=False)
            pipeline.hdel(self.unacked_key, *tags)
            pipeline.zrem(self.unacked_index_key, *tags)
            pipeline.execute()

    def _poll_error(self, type: str, **options: Any) -> None:  # noqa: A002, ANN401 - kombu's own signature
        """Extends upstream's, which would read with redis-py what is ours to read."""
        if type == "BRPOP":
            self._brpop_read()
        else:
            super()._poll_error(type, **options)  # type: ignore[misc]  # left out of the stubs

    def close(self) -> None:
        """Extends upstream's: what a call has taken whose reply is on its way goes back with the rest."""
        self._closing = True
        connection = getattr(self.__dict__.get("client"), "connection", None)
        if connection is not None:
            # A lost connection has no reply; this process asks again for what was taken.
            with suppress(*self.connection_errors):
                taken = self._taker.last(connection)
                cast("QoS", self.qos)._delivered.update((entry.tag, None) for entry in taken)  # noqa: SLF001 - as above
        self._taker.abandon()
        self._acknowledged += self._taker.unconfirmed
        # Unanswered, such a message comes again, and finds its plan ended.
        with suppress(*self.connection_errors):
            if self._acknowledged:
                self._acknowledge_now()
        self._in_poll = None
        super().close()

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:  # noqa: FBT001, FBT002 - kombu's own signature
        """Extends upstream's, which fails on a closed connection with an error that ends the worker.

        Closing a lost connection closes its channels, and each restores its messages through a new client.
        """
        if self.connection.client is None:
            raise exceptions.ConnectionError("the connection of this channel is closed")
        params: dict[str, Any] = super()._connparams(asynchronous)  # type: ignore[misc]  # left out of the stubs
        return params

    def _get(self, queue: str, timeout: float | None = None) -> dict[str, Any]:
        """Replaces upstream's (`basic_get`), which raises on an undecodable entry after popping it."""
        _ = timeout  # upstream's redis channel never waits here
        with self.conn_or_acquire() as client:
            self._maybe_update_queues_expire(client, queue)
            for priority in self.priority_steps:
                while (raw := client.rpop(self._q_for_pri(queue, priority))) is not None:
                    try:
                        return self._read(queue, raw)
                    except JunkError as junk:
                        hand_over(queue, raw, str(junk))
        raise Empty

    def _receive_one(self, c: Any) -> bool | None:  # noqa: ANN401 - kombu's own signature
        """Extends upstream's, where a broadcast that is JSON but no message ends the worker.

        A broadcast is every worker's and nobody's: it is logged, not handed to the hook.
        """
        try:
            delivered: bool | None = super()._receive_one(c)  # type: ignore[misc]  # left out of the stubs
        except Empty:
            # Raised for text that is not JSON, and upstream then leaves what was read behind it unread.
            return None
        except Exception as error:
            # What bz2 says of broken data; no connection is lost without an error number.
            broken_data = type(error) is OSError and error.errno is None
            if not broken_data and not blames_entry(error):
                raise
            logger.warning("[SET_ASIDE] broadcast dropped why=%s", why_of(error))
            return None
        return delivered

    def _take_in(self, queue: str, raw: bytes, tag: str) -> None:
        """Deliver one entry to its consumer, or set it aside and leave nothing of it in `unacked`."""
        qos = cast("QoS", self.qos)
        try:
            payload = self._read(queue, raw)
        except JunkError as junk:
            # Set aside first: a crash in between shows the entry twice rather than never.
            hand_over(queue, raw, str(junk))
            qos.reject(tag)
            return
        payload["properties"]["delivery_tag"] = tag
        try:
            self.connection._deliver(payload, queue)  # noqa: SLF001 - the transport's own door, as upstream
        except Exception as error:
            # While closing, errors come from half-closed parts: a good message goes back instead.
            if self._closing or not blames_entry(error):
                raise
            hand_over(queue, raw, f"cannot be delivered: {why_of(error)}")
            if tag in qos._delivered and tag not in qos._dirty:  # noqa: SLF001 - marked, and not acknowledged yet
                qos.reject(tag)
            return
        if qos._delivered.get(tag, payload) is None:  # noqa: SLF001 - see there
            # Nobody acknowledges it: its consumer does not, or it has none and was given back.
            qos.ack(tag)

    def _do_restore_message(
        self,
        payload: dict[str, Any],
        exchange: str,
        routing_key: str,
        pipe: Any,  # noqa: ANN401 - redis-py's
        leftmost: bool = False,  # noqa: FBT001, FBT002 - kombu's own signature
    ) -> None:
        """Extends upstream's, which drops a message that lacks what it wants to write into it.

        Raises:
            JunkError: the entry is no message: it was taken by a worker that died before it saw that.
        """
        _made_whole(payload, routing_key)
        super()._do_restore_message(payload, exchange, routing_key, pipe, leftmost)  # type: ignore[misc]  # as above

    def _read(self, queue: str, raw: bytes) -> dict[str, Any]:
        """Return the envelope; raises JunkError for what a stock worker would fail on, now or later."""
        try:
            payload: dict[str, Any] = loads(bytes_to_str(raw))
        except Exception as error:  # kombu's typed values let JSON raise anything
            raise JunkError(f"not JSON: {why_of(error)}") from error
        headers = _made_whole(payload, queue)
        if headers.get("retries", 0) is None:
            # Optional to some clients; Celery counts on from it.
            headers["retries"] = 0
        try:
            message: Any = self.Message(payload, channel=self)
            # Celery refuses, with a line of its own, what is compressed badly or not JSON where it wants that.
            readable = message.content_type == _JSON and not message.errors
            body = message.decode() if readable else NOT_DECODED
        except Exception as error:
            raise JunkError(f"unreadable body: {why_of(error)}") from error
        deep = too_deep(raw, payload) or (readable and too_deep(message.body or b"", body))
        fault = f"nested deeper than {NESTING_MAX}" if deep else task_fault(headers, body)
        if fault:
            raise JunkError(fault)
        return payload


def _made_whole(payload: Any, queue: str) -> dict[str, Any]:  # noqa: ANN401 - it is what JSON yields
    """Give an envelope what upstream would drop it for when it restores the message; returns its headers.

    It is restored to the queue it came from: the named exchange may lead to no queue (lost without a line) or to
    several (doubled).

    Raises:
        JunkError: it is no envelope.
    """
    fault = envelope_fault(payload)
    if fault:
        raise JunkError(fault)
    headers: dict[str, Any] = payload.get("headers") or {}
    payload["headers"] = headers
    properties = payload["properties"]
    properties["delivery_info"].update(exchange="", routing_key=queue)
    if properties.get("priority") in (math.inf, -math.inf):
        properties["priority"] = 0
    return headers


class SentinelChannel(Channel, stock.SentinelChannel):
    """kombu's Sentinel channel that survives any entry."""


class Transport(stock.Transport):
    """kombu's Redis transport with our channel and poller."""

    Channel = Channel

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - whatever kombu passes
        super().__init__(*args, **options)
        self.cycle = Poller()
        self._flushing: Any = None

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:  # noqa: ANN401 - kombu's own signature
        """Extends upstream's: the last acknowledgements of a worker that falls idle go out, too."""
        super().register_with_event_loop(connection, loop)
        if self._flushing is not None:
            self._flushing.cancel()
        self._flushing = loop.call_repeatedly(2 * _ACKNOWLEDGE_AFTER_S, cast("Poller", self.cycle).flush_acknowledged)


class SentinelTransport(Transport, stock.SentinelTransport):
    """kombu's Sentinel transport with our channel and poller."""

    Channel = SentinelChannel

"""The worker's Redis transport: every entry of a queue becomes a message or is set aside; none ends the worker.

Stock kombu trusts what it pops: `LPUSH execute garbage` ends the worker process, an entry without
`properties` makes it reconnect, one without `id` makes it reconnect for ever. What a stock worker runs,
acknowledges and could retry is delivered here too, unless it is nested deeper than any plan.
"""

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Empty
from typing import Any, Final, cast

from kombu import transport as kombu_transports
from kombu.exceptions import OperationalError
from kombu.transport import redis as stock
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import loads
from redis import exceptions
from redis.exceptions import DataError

from workers.envelope import NESTING_MAX, NOT_DECODED, envelope_fault, task_fault, too_deep

logger = logging.getLogger("permitwait")

#: Receives what was set aside: queue, the raw entry, why. Runs on the worker's event loop: be brief.
SetAside = Callable[[str, bytes, str], None]

_SHOWN_BYTES: Final = 200
_WHY_MAX_CHARS: Final = 200
_JSON: Final = "application/json"
# These speak of the broker, the pool or the machine, not of the entry: the worker's own handling of a lost
# connection must see them. kombu counts KeyError among connection errors, and redis-py raises DataError for
# an argument that it cannot send: both come from entries.
_NOT_THE_ENTRY: Final = (
    *(
        error
        for error in (*stock.Transport.connection_errors, *stock.Transport.channel_errors)
        if error not in {KeyError, DataError}
    ),
    OperationalError,
    RuntimeError,
    MemoryError,
)


class JunkError(ValueError):
    """Says why an entry can become no message; never leaves this module."""


def log_junk(queue: str, raw: bytes, why: str) -> None:
    """Log one WARNING with queue, size in bytes, reason and the first 200 bytes; the entry is kept nowhere."""
    logger.warning("[SET_ASIDE] queue=%s bytes=%d why=%s head=%r", queue, len(raw), why, raw[:_SHOWN_BYTES])


#: The hook in force; `on_junk` replaces it.
set_aside: SetAside = log_junk


def on_junk(callback: SetAside) -> None:
    """Have `callback` receive every entry set aside from now on in this process, instead of `log_junk`.

    What it raises is logged, and the entry then logged by `log_junk`.
    """
    global set_aside  # noqa: PLW0603 - one hook per process, as one `sys.excepthook`
    set_aside = callback


def install() -> None:
    """Make `redis`, `rediss` (with `redis+socket`) and `sentinel` addresses of this process use these transports.

    For workers; producers never need it. Connections that were opened before keep theirs. May be called again.
    """
    for scheme, name in (("redis", "Transport"), ("rediss", "Transport"), ("sentinel", "SentinelTransport")):
        # kombu calls an alias that is not a string. `redis+socket://` is looked up as `redis`.
        kombu_transports.TRANSPORT_ALIASES[scheme] = f"{__name__}:{name}"
        # A scheme that was looked up before is remembered there, and the alias never read again.
        kombu_transports._transport_cache.pop(scheme, None)  # type: ignore[attr-defined]  # noqa: SLF001 - as above


class QoS(stock.QoS):
    """kombu's record of unacknowledged messages, which junk in it cannot block."""

    # As on the channel below.
    channel: Any
    _remove_from_indices: Callable[[Any], Any]

    @contextmanager
    def pipe_or_acquire(self, pipe: Any = None, client: Any = None) -> Iterator[Any]:  # noqa: ANN401 - kombu's own signature
        """As upstream's, without MULTI around the two writes of a mark or an acknowledgement.

        A crash between them is harmless: an index entry without its message is dropped at the next restore (the
        sweep ends such a plan), a message without its index entry is never delivered again.
        """
        if pipe is not None:
            yield pipe
            return
        with self.channel.conn_or_acquire(client) as connected:
            yield connected.pipeline(transaction=False)

    def restore_by_tag(self, tag: Any, client: Any = None, leftmost: bool = False) -> None:  # noqa: ANN401, FBT001, FBT002 - kombu's own signature
        """Extends upstream's: junk in `unacked` ends its worker at every start, and keeps all older messages there."""
        try:
            super().restore_by_tag(tag, client=client, leftmost=leftmost)
        except Exception as error:
            if not _blames_entry(error):
                raise
            with self.channel.conn_or_acquire(client) as connected:
                raw = connected.hget(self.unacked_key, tag)
            if raw is not None:
                _hand_over(self.unacked_key, raw, f"cannot be restored: {_why(error)}")
            self._remove_from_indices(tag).execute()


class Channel(stock.Channel):
    """kombu's Redis channel that survives any entry.

    A message passes unchanged but for its way back (`_read`). What is taken and how is `_brpop_start` (upstream's)
    and `_popped`; `_take_in` does not care where an entry comes from.
    """

    QoS = QoS
    _kept: Any = None

    # Attributes of upstream's that its type stubs leave out.
    _closing: bool
    _queue_cycle: Any
    connection_errors: tuple[type[Exception], ...]
    _flush_brpop_reauth: Callable[[], None]
    _maybe_update_queues_expire: Callable[[Any, str], None]
    _q_for_pri: Callable[[str, int], str]
    _create_client: Callable[[], Any]

    @contextmanager
    def conn_or_acquire(self, client: Any = None) -> Iterator[Any]:  # noqa: ANN401 - kombu's own signature
        """Replaces upstream's, which builds a new `redis.Redis` for every call: 9 % of the CPU of a waiting plan."""
        if client is None:
            client = self._kept
            # A pool that was disconnected, or belongs to the parent of a fork, is replaced by a new one.
            if client is None or client.connection_pool is not self.pool:
                client = self._kept = self._create_client()
        yield client

    def _brpop_read(self, **options: Any) -> bool:  # noqa: ANN401 - kombu's own signature
        """Replaces upstream's, whose `loads` and delivery let any error in the entry end the worker."""
        try:
            queue, raw = self._popped(**options)
            self._queue_cycle.rotate(queue)
            self._take_in(queue, raw)
            return True
        finally:
            self._in_poll = None
            self._flush_brpop_reauth()

    def _popped(self, **options: Any) -> tuple[str, bytes]:  # noqa: ANN401 - as above
        """Return queue and raw entry from the reply of the pending pop; raises Empty where it timed out."""
        try:
            reply = self.client.parse_response(self.client.connection, "BRPOP", **options)
        except self.connection_errors:
            # Disconnected, the next turn of the event loop connects again.
            self.client.connection.disconnect()
            raise
        if not reply:
            raise Empty
        key, raw = reply
        return bytes_to_str(key).rsplit(self.sep, 1)[0], raw

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
                        _hand_over(queue, raw, str(junk))
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
            if not broken_data and not _blames_entry(error):
                raise
            logger.warning("[SET_ASIDE] broadcast dropped why=%s", _why(error))
            return None
        return delivered

    def _take_in(self, queue: str, raw: bytes) -> None:
        """Deliver one popped entry to its consumer, or set it aside and leave nothing of it in `unacked`."""
        try:
            payload = self._read(queue, raw)
        except JunkError as junk:
            _hand_over(queue, raw, str(junk))
            return
        try:
            self.connection._deliver(payload, queue)  # noqa: SLF001 - the transport's own door, as upstream
        except Exception as error:
            # While closing, errors come from half-closed parts: a good message goes back instead.
            if self._closing or not _blames_entry(error):
                raise
            # Set aside first: a crash in between shows the entry twice rather than never.
            _hand_over(queue, raw, f"cannot be delivered: {_why(error)}")
            tag, qos = payload["properties"]["delivery_tag"], cast("Any", self.qos)
            if tag in qos._delivered and tag not in qos._dirty:  # noqa: SLF001 - marked, and not acknowledged yet
                qos.reject(tag)

    def _read(self, queue: str, raw: bytes) -> dict[str, Any]:
        """Return the envelope; raises JunkError for what a stock worker would fail on, now or later."""
        try:
            payload: dict[str, Any] = loads(bytes_to_str(raw))
        except Exception as error:  # kombu's typed values let JSON raise anything
            raise JunkError(f"not JSON: {_why(error)}") from error
        fault = envelope_fault(payload)
        if fault:
            raise JunkError(fault)
        # What upstream would drop when it restores the message, and where it would restore it to: the named
        # exchange may lead to no queue (lost without a line) or to several (doubled).
        headers, properties = payload.get("headers") or {}, payload["properties"]
        payload["headers"] = headers
        properties["delivery_info"].update(exchange="", routing_key=queue)
        if properties.get("priority") in (math.inf, -math.inf):
            properties["priority"] = self.default_priority
        if headers.get("retries", 0) is None:
            # Optional to some clients; Celery counts on from it.
            headers["retries"] = 0
        try:
            message: Any = self.Message(payload, channel=self)
            # Celery refuses, with a line of its own, what is compressed badly or not JSON where it wants that.
            readable = message.content_type == _JSON and not message.errors
            body = message.decode() if readable else NOT_DECODED
        except Exception as error:
            raise JunkError(f"unreadable body: {_why(error)}") from error
        deep = too_deep(raw, payload) or (readable and too_deep(message.body or b"", body))
        fault = f"nested deeper than {NESTING_MAX}" if deep else task_fault(headers, body)
        if fault:
            raise JunkError(fault)
        return payload


class SentinelChannel(Channel, stock.SentinelChannel):
    """kombu's Sentinel channel that survives any entry."""


class Transport(stock.Transport):
    """kombu's Redis transport with our channel."""

    Channel = Channel


class SentinelTransport(stock.SentinelTransport):
    """kombu's Sentinel transport with our channel."""

    Channel = SentinelChannel


def _blames_entry(error: Exception) -> bool:
    return isinstance(error, RecursionError) or not isinstance(error, _NOT_THE_ENTRY)


def _why(error: Exception) -> str:
    # Escaped: an error may quote the entry, and a log line must stay one line.
    return f"{type(error).__name__}: {str(error)!a}"[:_WHY_MAX_CHARS]


def _hand_over(queue: str, raw: bytes, why: str) -> None:
    try:
        set_aside(queue, raw, why)
    except Exception:
        logger.exception("[SET_ASIDE] the hook given to on_junk failed; the entry follows")
        log_junk(queue, raw, why)

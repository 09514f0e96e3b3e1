"""The worker's AMQP transport: no message of a queue ends the worker.

Stock Celery trusts a task message's body and headers. One with an empty body ends the worker, and as the broker
delivers it again, every worker that comes after. Here such a message is set aside and rejected, as on Redis.
"""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from amqp.exceptions import ConnectionForced, PreconditionFailed
from kombu import transport as kombu_transports
from kombu.transport import pyamqp as stock

from workers.envelope import NESTING_MAX, NOT_DECODED, task_fault, too_deep
from workers.junk import JunkError, blames_entry, hand_over, why_of

logger = logging.getLogger("permitwait")

_JSON: Final = "application/json"


def install() -> None:
    """Make `amqp` and `amqps` addresses of this process use these transports; for workers, as on Redis."""
    for scheme, name in (("amqp", "Transport"), ("amqps", "SSLTransport")):
        kombu_transports.TRANSPORT_ALIASES[scheme] = f"{__name__}:{name}"
        kombu_transports._transport_cache.pop(scheme, None)  # type: ignore[attr-defined]  # noqa: SLF001 - as there


class Channel(stock.Channel):
    """kombu's AMQP channel that survives any message."""

    _message: Any = None

    def basic_consume(  # type: ignore[override]  # as kombu calls it: by keyword
        self,
        queue: str = "",
        *,
        callback: Callable[[Any], None] | None = None,
        no_ack: bool = False,
        **options: Any,  # noqa: ANN401 - upstream's own arguments, passed on
    ) -> Any:  # noqa: ANN401 - upstream's answer
        """Extends upstream's, which lets any error of the consumer end the worker."""
        guarded = callback and partial(self._deliver, callback, no_ack)
        return super().basic_consume(queue, callback=guarded, no_ack=no_ack, **options)

    def message_to_python(self, raw_message: Any) -> Any:  # noqa: ANN401 - upstream's own signature
        """Extends upstream's: the message that was looked into is the one that is delivered."""
        if self._message is not None and self._message.delivery_tag == raw_message.delivery_tag:
            return self._message
        return super().message_to_python(raw_message)

    def _on_close(self, reply_code: int, reply_text: str, class_id: int, method_id: int) -> None:
        """Extends upstream's, where a broker that takes a held message back after its own timeout ends the worker.

        RabbitMQ does so after `consumer_timeout`, 30 minutes: an outage of Redis may last longer. No method of ours
        is to blame then (class and method are 0), and the worker goes on as after any lost connection.
        """
        try:
            super()._on_close(reply_code, reply_text, class_id, method_id)  # type: ignore[misc]  # left out of the stubs
        except PreconditionFailed as error:
            if (class_id, method_id) != (0, 0):
                raise
            raise ConnectionForced(reply_text) from error

    def _deliver(self, callback: Callable[[Any], None], no_ack: bool, raw: Any) -> None:  # noqa: ANN401, FBT001 - see above
        """Deliver one message to its consumer, or set it aside and reject it."""
        self._message = None
        message = self._message = self.message_to_python(raw)
        try:
            if not no_ack:
                _check(message)
            callback(raw)
        except Exception as error:
            if not blames_entry(error):
                raise
            why = str(error) if isinstance(error, JunkError) else f"cannot be delivered: {why_of(error)}"
            if no_ack:
                # A broadcast is every worker's and nobody's: it is logged, not handed to the hook.
                logger.warning("[SET_ASIDE] broadcast dropped why=%s", why)
                return
            # Set aside first: a crash in between shows the message twice rather than never.
            hand_over(message.delivery_info["routing_key"], _bytes_of(message.body), why)
            if not message.acknowledged:
                message.reject()


def _check(message: Any) -> None:  # noqa: ANN401 - kombu's, untyped
    """Look into a task message as Celery will.

    Raises:
        JunkError: Celery would fail on it, now or later.
    """
    headers = message.headers
    if headers.get("retries", 0) is None:
        # Optional to some clients; Celery counts on from it.
        headers["retries"] = 0
    try:
        # Celery refuses, with a line of its own, what is compressed badly or not JSON where it wants that.
        readable = message.content_type == _JSON and not message.errors
        body = message.decode() if readable else NOT_DECODED
    except Exception as error:
        raise JunkError(f"unreadable body: {why_of(error)}") from error
    if readable and too_deep(_bytes_of(message.body), body):
        raise JunkError(f"nested deeper than {NESTING_MAX}")
    fault = task_fault(headers, body)
    if fault:
        raise JunkError(fault)


def _bytes_of(body: Any) -> bytes:  # noqa: ANN401 - kombu's, untyped
    return body.encode(errors="replace") if isinstance(body, str) else bytes(body or b"")


class Connection(stock.Connection):
    """kombu's AMQP connection with our channel."""

    Channel = Channel


class Transport(stock.Transport):
    """kombu's AMQP transport with our channel."""

    Connection = Connection


class SSLTransport(stock.SSLTransport):
    """kombu's AMQP transport over TLS with our channel."""

    Connection = Connection

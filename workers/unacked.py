"""The worker's record of unacknowledged messages: on Redis' clock, without MULTI, and nothing in it can block it."""

import logging
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from time import time
from typing import Any, cast

from kombu.transport import redis as stock
from kombu.transport import virtual
from redis.exceptions import ResponseError

from workers.junk import blames_entry, hand_over, why_of

logger = logging.getLogger("permitwait")


class QoS(stock.QoS):
    """kombu's record of unacknowledged messages, which junk in it cannot block.

    An entry that was taken stands in `_delivered` from the reply on, first without its message: whatever happens
    to its neighbours, it counts against the prefetch limit and goes back when the channel is closed.
    """

    # As on the channel below.
    channel: Any
    visibility_timeout: float  # type: ignore[assignment]  # an int in the stubs
    _delivered: "OrderedDict[str, Any]"
    _dirty: set[str]

    def append(self, message: Any, delivery_tag: str) -> None:  # noqa: ANN401 - kombu's own signature
        """Extends upstream's, which marks the message: the script that took it has done so."""
        if delivery_tag in self._delivered:
            virtual.QoS.append(cast("Any", self), message, delivery_tag)
        else:
            super().append(message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        """Extends upstream's, which waits for two writes per message: all of this turn are sent together."""
        virtual.QoS.ack(cast("Any", self), delivery_tag)
        self.channel.acknowledge(delivery_tag)

    def _remove_from_indices(self, delivery_tag: str, pipe: Any = None) -> Any:  # noqa: ANN401 - kombu's own signature
        """Replaces upstream's, which removes the index entry first: torn, the message would stay for ever."""
        with self.pipe_or_acquire(pipe) as writing:
            return writing.hdel(self.unacked_key, delivery_tag).zrem(self.unacked_index_key, delivery_tag)

    def restore_visible(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - kombu's own signature
        """Extends upstream's, which judges the age of a mark by this host's clock: marks carry Redis' time.

        A host whose clock is fast would give back what others are working on, a slow one never what it must.
        """
        with self.channel.conn_or_acquire() as client:
            seconds, micros = client.time()
        # Upstream subtracts this from the host's time.
        self.visibility_timeout = self.channel.visibility_timeout + time() - (seconds + micros / 1_000_000)
        try:
            super().restore_visible(*args, **options)
        except ResponseError as error:
            # A full or read-only server: nothing was given back, and it is tried again within a second.
            logger.warning("[RESTORE] not now: %s", error)

    @contextmanager
    def pipe_or_acquire(self, pipe: Any = None, client: Any = None) -> Iterator[Any]:  # noqa: ANN401 - kombu's own signature
        """As upstream's, without MULTI around the two writes of a mark or an acknowledgement.

        A crash between them is harmless: the mark goes first, and an index entry without its message is dropped at
        the next restore.
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
            if not blames_entry(error):
                raise
            with self.channel.conn_or_acquire(client) as connected:
                raw = connected.hget(self.unacked_key, tag)
            if raw is not None:
                hand_over(self.unacked_key, raw, f"cannot be restored: {why_of(error)}")
            self._remove_from_indices(tag).execute()

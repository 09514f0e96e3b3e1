"""kombu's poller of the Redis transport, without the work of turns in which nothing about its sockets has changed."""

from typing import TYPE_CHECKING, Any

from kombu.transport import redis as stock

if TYPE_CHECKING:
    from workers.transport import Channel


class Poller(stock.MultiChannelPoller):
    """Prepares a turn of the event loop only where there is something to prepare.

    Upstream goes through all queues, keys and sockets before every turn, and registers the sockets again: a fifth of
    what the event loop spent on a waiting plan.
    """

    _channels: "set[Channel]"
    _in_protected_read: bool
    _paused_brpop: dict[int, Any]

    def __init__(self) -> None:
        super().__init__()
        self._stood: list[tuple[Any, ...]] = []
        self._stands = False

    def on_poll_start(self) -> None:
        """Extends upstream's: acknowledgements of this turn of the event loop go out before it waits."""
        self.flush_acknowledged()
        # A full worker's socket is paused, and only upstream sees when there is room again.
        idle = not self._paused_brpop and not any(channel.due for channel in self._channels)
        self._stands = idle and self._standing() == self._stood
        if not self._stands:
            super().on_poll_start()
            self._stood = self._standing()

    def flush_acknowledged(self) -> None:
        """Send the acknowledgements that have waited long enough; where there is no event loop, all of them."""
        for channel in self._channels:
            channel.flush_acknowledged(at_once=self._in_protected_read)

    @property
    def fds(self) -> dict[int, Any]:
        """Extends upstream's: the sockets that the event loop must be told of, after each `on_poll_start`."""
        return {} if self._stands else super().fds

    def _standing(self) -> list[tuple[Any, ...]]:
        return [channel.standing for channel in self._channels]

    def _register_BRPOP(self, channel: Any) -> None:  # noqa: N802, ANN401 - kombu's own name
        """Extends upstream's, whose BRPOP is always on its way: ours asks when it is worth it."""
        super()._register_BRPOP(channel)  # type: ignore[misc]  # left out of the stubs
        channel._brpop_start()  # noqa: SLF001 - as upstream

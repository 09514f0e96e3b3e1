"""The permit watch: learns from Redis' own pushes that something about a waiting plan has changed.

One RESP3 connection with client tracking in broadcast mode; it needs no server configuration (Redis >= 6, Valkey).
A push is a hint, not a fact: the plan is looked at again. While the watch cannot be trusted it is *blind*, and every
parked plan is looked at once per step, in one round trip; it says so when that begins and when it ends.
"""

import logging
import socket
import ssl
from functools import partial
from time import monotonic
from typing import Any, Final, cast

import hiredis
import redis
from celery import bootsteps
from celery.worker import state as _state

from tasks import observed
from tasks.address import RedisAddress
from tasks.errors import PermitWaitError
from tasks.keys import Keys
from tasks.parts import Parts, parts_of_process
from tasks.store import connect
from workers.park import Lot

logger = logging.getLogger("permitwait")

#: Celery's type stubs take what it is at first for what it is always.
state: Any = _state

_READ_BYTES: Final = 65_536

#: Opening blocks the event loop for up to a step: not more often than this while the server is away.
_OPEN_AGAIN_S: Final = 1.0


class WatchLost(PermitWaitError):
    """Raised when the watching connection cannot be opened, or ended."""


class Link:
    """One watching connection: opened with redis-py (login, TLS, sentinel), then read here, without blocking."""

    def __init__(self, address: RedisAddress, prefixes: list[str], timeout_ms: int) -> None:
        """Open and subscribe.

        Raises:
            WatchLost: the server cannot be reached, or refuses tracking.
        """
        client = connect(address, timeout_ms=timeout_ms, protocol=3)
        try:
            # redis-py leaves its connections untyped.
            self._connection = cast("Any", client.connection_pool.make_connection())
            self._connection.connect()
            command = ["CLIENT", "TRACKING", "ON", "BCAST"]
            for prefix in prefixes:
                command += ["PREFIX", prefix]
            self._connection.send_command(*command)
            self._connection.read_response()
        except (redis.RedisError, OSError) as error:
            raise WatchLost(f"{type(error).__name__}: {error}") from error
        self.socket: socket.socket = self._connection._sock  # noqa: SLF001 - redis-py offers no other way to read pushes
        self.socket.setblocking(False)  # noqa: FBT003 - the socket's own signature
        self._reader = hiredis.Reader()

    def ping(self) -> None:
        """Ask for a sign of life; the answer comes through `read`.

        Raises:
            WatchLost: the connection has ended.
        """
        try:
            self.socket.send(b"PING\r\n")
        except OSError as error:
            raise WatchLost(str(error)) from error

    def read(self) -> list[Any]:
        """Every reply and push that has arrived.

        Raises:
            WatchLost: the connection has ended.
        """
        found = []
        try:
            while True:
                data = self.socket.recv(_READ_BYTES)
                if not data:
                    raise WatchLost("the server closed the connection")
                self._reader.feed(data)
                if len(data) < _READ_BYTES and not isinstance(self.socket, ssl.SSLSocket):
                    break
        except (BlockingIOError, ssl.SSLWantReadError):
            pass
        except OSError as error:
            raise WatchLost(str(error)) from error
        while (message := self._reader.gets()) is not False:
            found.append(message)
        return found

    def close(self) -> None:
        """Close the connection."""
        self._connection.disconnect()


class Watch:
    """Keeps one link alive and tells the lot what changed. Runs on the thread of the event loop."""

    def __init__(self, hub: Any, timer: Any, lot: Lot, parts: Parts) -> None:  # noqa: ANN401 - Celery's, untyped
        self._hub, self._timer, self._lot = hub, timer, lot
        self._settings = parts.settings
        keys = Keys(self._settings.namespace)
        self._switch = keys.kill_switch.encode()
        # The longer prefixes come first: a p33 key also begins like a governor key.
        names = [name for name in self._settings.permits if name != "governor"]
        self._prefixes = [(keys.permit(name, "").encode(), name) for name in (*names, "governor")]
        self._prefixes.append((keys.governor_block("").encode(), ""))
        self._subscribed = [keys.permit("governor", ""), keys.governor_block(""), keys.kill_switch]
        self._step_s = self._settings.permit_step_ms / 1000
        self._link: Link | None = None
        self._asked_at: float | None = None  # of the question that has no answer yet
        self._blind = True
        self._changed_at = monotonic()
        self._said_blind = False
        self._open_again_at = 0.0
        self._entry: Any = None

    @property
    def alive(self) -> bool:
        """Whether a sign of life came within the last step."""
        return not self._blind

    @property
    def for_s(self) -> float:
        """For how many seconds it has been alive, or blind."""
        return monotonic() - self._changed_at

    def start(self) -> None:
        """Open the link, and look after it once per step for ever."""
        self._tend()
        self._entry = self._timer.call_repeatedly(self._step_s, self._tend)

    def stop(self) -> None:
        """Close the link."""
        if self._entry is not None:
            self._entry.cancel()
        self._drop()

    def _tend(self) -> None:
        """Once per step: is the link alive? Blind, every parked plan is looked at, and the link opened again."""
        # What arrived while the loop was busy is read first: a busy loop is no silent server.
        self._readable()
        try:
            if self._link is None and monotonic() >= self._open_again_at:
                self._open()
            if self._link is not None:
                self._ping(self._link)
        except WatchLost as error:
            self._lose(error)
        if self._blind:
            observed.count("watch_blind_seconds", value=self._step_s)
            self._lot.changed_all()

    def _ping(self, link: Link) -> None:
        if self._asked_at is None:
            self._asked_at = monotonic()
            link.ping()
        elif monotonic() - self._asked_at > 1.5 * self._step_s:
            # A half-open socket looks alive.
            raise WatchLost(f"no sign of life for {monotonic() - self._asked_at:.1f} s")

    def _open(self) -> None:
        self._link = Link(RedisAddress.parse(self._settings.redis_url), self._subscribed, self._settings.permit_step_ms)
        self._asked_at = None
        self._hub.add_reader(self._link.socket.fileno(), self._readable)

    def _lose(self, error: WatchLost) -> None:
        self._drop()
        if not self._said_blind:
            logger.warning("[WATCH] blind: %s; plans are looked at every %d ms", error, self._settings.permit_step_ms)
        if not self._blind:
            self._changed_at = monotonic()
        self._blind = self._said_blind = True
        self._open_again_at = monotonic() + _OPEN_AGAIN_S

    def _drop(self) -> None:
        if self._link is not None:
            self._hub.remove_reader(self._link.socket.fileno())
            self._link.close()
            self._link = None

    def _readable(self) -> None:
        if self._link is None:
            return
        try:
            messages = self._link.read()
        except WatchLost as error:
            self._lose(error)
            return
        written: dict[str, set[str]] = {}
        everything = False
        for message in messages:
            if not isinstance(message, hiredis.PushNotification):
                everything = self._alive_again() or everything
            elif message[0] == b"invalidate":
                keys = message[1]
                # No keys: the server forgot what it had told us, for example after FLUSHDB.
                everything = everything or keys is None or self._switch in keys
                for plan_id, name in map(self._about, keys or ()):
                    written.setdefault(plan_id, set()).add(name)
        if everything:
            self._lot.changed_all()
        elif written:
            self._lot.heard(written)

    def _alive_again(self) -> bool:
        """Note a sign of life; true when the watch was blind until now: then nothing is known about the gap."""
        self._asked_at = None
        was_blind, self._blind, self._said_blind = self._blind, False, False
        if was_blind:
            self._changed_at = monotonic()
            logger.info("[WATCH] alive: a permit's arrival wakes its plan")
        return was_blind

    def _about(self, key: bytes) -> tuple[str, str]:
        """The plan that a key is about, and the permit it holds; "" where it holds another thing."""
        for prefix, name in self._prefixes:
            if key.startswith(prefix):
                return key[len(prefix) :].decode(errors="replace"), name
        return "", ""


def fire_all_due(hub: Any) -> None:  # noqa: ANN401 - Celery's, untyped
    """Have this event loop rest only when no timer is due; before it is created.

    Upstream fires ten timers in a turn and then waits up to a second for a socket, though more are due: of 30 plans
    that fell due together most were blocked 1.05 s late (measured).
    """
    hub.fire_timers = partial(type(hub).fire_timers, hub, min_delay=0)


class PermitWatch(bootsteps.StartStopStep):
    """Starts the watch with every connection of the consumer, after its tasks have their strategies."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Any, **options: Any) -> None:  # noqa: ANN401 - Celery's own interface
        super().__init__(parent, **options)
        self._watch: Watch | None = None

    def start(self, parent: Any) -> None:  # noqa: ANN401 - Celery's own interface
        """Watch for the lot of this connection."""
        self._watch = parent.permit_watch = Watch(parent.hub, parent.timer, parent.permit_lot, parts_of_process())
        fire_all_due(parent.hub)
        parent.call_soon(self._watch.start)
        parent.hub.on_tick.add(parent.permit_lot.settle)

    def stop(self, parent: Any) -> None:  # noqa: ANN401 - Celery's own interface
        """Stop watching; a worker that ends gives back what is parked, a lost connection has done so."""
        if self._watch is not None:
            self._watch.stop()
            self._watch = None
            parent.hub.on_tick.discard(parent.permit_lot.settle)
            parent.permit_lot.close()
        if state.should_stop is not None:
            parent.permit_lot.give_back()

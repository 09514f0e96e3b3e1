"""One connection to Redis per thread, and nothing between a call and its socket.

redis-py opens it (login, TLS, sentinel) and knows the errors. What is left out is its client and its pool: locks, a
look at the socket before each call, a poll before each send and each read. They were half of what a call cost the
worker, and each of them handed the interpreter to another thread.
"""

import socket
import ssl
import struct
from collections.abc import Callable, Sequence
from threading import local
from time import monotonic
from typing import Any, Final, cast
from weakref import WeakSet

import hiredis
import redis

#: A connection that rested for longer is looked at before it is used: the server may have closed it meanwhile.
_RESTED_S: Final = 1.0

_READ_BYTES: Final = 65_536


class Wire:
    """One connection, for one thread at a time. Opened at the first call, and anew after one that failed."""

    def __init__(self, client: "redis.Redis") -> None:
        """Take over the address and the options of `client`, with the timeout of each step of a call."""
        # redis-py leaves its connections untyped.
        self._connection = cast("Any", client.connection_pool.make_connection())
        self._socket: Any = None
        self._reader: Any = None
        self._used_at = 0.0
        self._demoted = False

    def ask(self, commands: Sequence[Sequence[Any]], *, resend: bool = False) -> list[Any]:
        """Send commands in one piece and return a reply for each; one that Redis refuses has its error for a reply.

        `resend`: all of them are sent once more where no answer came, over a new connection.

        Raises:
            redis.ConnectionError, redis.TimeoutError: no answer; the commands may have run.
        """
        try:
            return self._ask(commands)
        except (redis.ConnectionError, redis.TimeoutError):
            if not resend:
                raise
            return self._ask(commands)

    def ask_there(self, *command: Any) -> Any:  # noqa: ANN401 - Redis answers
        """The reply to a command that is about the connection itself: asked over that of the last call, or not at all.

        Raises:
            redis.ConnectionError, redis.TimeoutError: it has ended, or no answer.
        """
        if self._socket is None:
            raise redis.ConnectionError("the connection of the last call has ended")
        return self._exchange([command], anew=False)[0]

    def _ask(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        return self._exchange(commands, anew=True)

    def _exchange(self, commands: Sequence[Sequence[Any]], *, anew: bool) -> list[Any]:
        """As `ask`; `anew`: over a new connection where there is none, or none that can be used."""
        try:
            if anew:
                self._make_ready()
            self._socket.sendall(b"".join(hiredis.pack_command(tuple(command)) for command in commands))
            replies = [self._reply() for _ in commands]
        except (BlockingIOError, TimeoutError) as error:
            self.close()
            raise redis.TimeoutError(f"no answer in time: {error}") from error
        except OSError as error:
            self.close()
            raise redis.ConnectionError(str(error)) from error
        except BaseException:
            # A reply that nobody has read would answer the next question.
            self.close()
            raise
        self._used_at = monotonic()
        return replies

    def close(self) -> None:
        """Close the connection; the next call opens it again."""
        self._socket = None
        self._connection.disconnect()

    def _make_ready(self) -> None:
        if self._socket is not None:
            rested = monotonic() - self._used_at > _RESTED_S
            if not self._demoted and not (rested and self._ended()):
                return
            self.close()
        self._connection.connect()
        self._socket = self._connection._sock  # noqa: SLF001 - redis-py offers no other way to what it has opened
        self._demoted = False
        self._reader = hiredis.Reader(replyError=self._connection._parser.parse_error)  # noqa: SLF001 - as above
        timeout_s = self._socket.gettimeout()
        if timeout_s and not isinstance(self._socket, ssl.SSLSocket):
            # The kernel keeps the time: Python's own timeouts poll before every send and every read.
            timeval = struct.pack("@ll", int(timeout_s), int(timeout_s % 1 * 1_000_000))
            self._socket.settimeout(None)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeval)

    def _ended(self) -> bool:
        try:
            # Nothing was asked: what can be read is the end, or no answer of ours.
            return bool(self._connection.can_read(timeout=0))
        except redis.ConnectionError:
            return True

    def _reply(self) -> Any:  # noqa: ANN401 - Redis answers
        # What the server tells unasked is nobody's answer.
        while (reply := self._reader.gets()) is False or isinstance(reply, hiredis.PushNotification):
            if reply is False:
                data = self._socket.recv(_READ_BYTES)
                if not data:
                    raise redis.ConnectionError("the server closed the connection")
                self._reader.feed(data)
        if isinstance(reply, redis.ConnectionError):
            # It is loading, or wants another login.
            raise reply
        # No master any more: the next call asks the sentinel, where there is one, for the one that is.
        self._demoted = self._demoted or isinstance(reply, redis.ReadOnlyError)
        return reply


class Wires:
    """A wire for each thread, made where the thread first asks for it."""

    def __init__(self, client: "Callable[[], redis.Redis]") -> None:
        self._client = client
        self._threads = local()
        self._made: WeakSet[Wire] = WeakSet()

    def mine(self) -> Wire:
        """The wire of this thread."""
        found: Wire | None = getattr(self._threads, "wire", None)
        if found is None:
            found = self._threads.wire = Wire(self._client())
            self._made.add(found)
        return found

    def close(self) -> None:
        """Close the wires of all threads; one that is asked again opens again."""
        for wire in tuple(self._made):
            wire.close()

"""Takes messages from Redis: popped and marked unacknowledged in one step, many at once, none waited for in vain.

Acknowledgements go the same way, all of one turn of the event loop together, and nobody waits for their replies.

Stock kombu pops with BRPOP and marks in a second step: what dies in between takes the message with it (measured: 5
plans in 25 server kills, 4 in 47 worker kills). A script cannot block, so the server tells when it is worth asking:
the script has read every queue's length, and a client that tracks its reads (RESP3) is told when one changes.
"""

import json
import logging
import select
import ssl
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final
from uuid import uuid4

import hiredis
from redis.exceptions import ConnectionError as RedisConnectionError

import lua

logger = logging.getLogger("permitwait")

#: Taken by one call at most: a worker that dies leaves that many for redelivery.
MOST: Final = 64
#: Asked again after this long in any case: a change that nobody was told of costs that much, once.
ASK_AGAIN_S: Final = 1.0
#: The same where the server refuses to tell of changes.
ASK_UNTOLD_S: Final = 0.05
#: A server that answers nothing for so long is taken for lost.
SILENT_S: Final = 5.0
#: A channel that closes waits this long for a reply on its way.
LAST_REPLY_S: Final = 1.0

_READ_BYTES: Final = 65_536
#: Said by a server that must not be talked to any more: what follows is a new connection.
_MOVED_ON: Final = ("READONLY", "LOADING", "MASTERDOWN", "NOAUTH")


@dataclass(frozen=True)
class Taken:
    """One entry, marked as unacknowledged under `tag`; `queue` counts the keys that were asked for, from 0."""

    tag: str
    queue: int
    raw: bytes


#: Calls of channels that were closed before the reply, as keys and token: the next channel of this process that reads
#: those keys asks again. Another one, as that of the answers to control commands, would not be told what was taken.
_unanswered: list[tuple[frozenset[str], str]] = []


class Taker:
    """Asks and listens on one connection of redis-py's, reading it without blocking. One per channel."""

    def __init__(self) -> None:
        self._socket: Any = None
        self._reader: Any = None
        # Replies that have not come, in the order in which they will.
        self._awaited: deque[str] = deque()
        # Acknowledged on this connection, and not confirmed yet, in the order in which they will be.
        self._acknowledged: deque[Sequence[str]] = deque()
        #: To be acknowledged again: their connection was lost.
        self.unconfirmed: list[str] = []
        self._token, self._again = "", False
        self._keys: frozenset[str] = frozenset()
        self._asked_at = self._ask_at = 0.0
        # Whether the server understands RESP3, tells of changes, and must be sent the script's whole text.
        self._pushes, self._told, self._whole = False, False, False
        self._trouble = ""

    @property
    def waiting(self) -> bool:
        """Whether a call has no reply yet."""
        return "take" in self._awaited

    @property
    def silent(self) -> bool:
        """Whether a reply is overdue: the connection is half open, or the server stands still."""
        return self.waiting and monotonic() - self._asked_at > SILENT_S

    @property
    def due(self) -> bool:
        """Whether the next call may find something, as far as the last answer told."""
        return not self.waiting and monotonic() >= self._ask_at

    def ready(self, connection: Any) -> bool:  # noqa: ANN401 - redis-py's, untyped
        """Whether a call is due on this connection; a new one is prepared."""
        if connection._sock is not self._socket:  # noqa: SLF001 - as kombu, which registers this very socket
            self._begin(connection)
        return self.due

    def ask(
        self,
        connection: Any,  # noqa: ANN401 - redis-py's, untyped
        keys: Sequence[str],
        names: Sequence[str],
        most: int,
        acknowledged: Sequence[str] = (),
    ) -> bool:
        """Send a call where one is due, and say whether; `keys` and `names` as in `lua/take_messages.lua`.

        Messages `acknowledged` until then go with it, as in `acknowledge`.
        """
        if not self.ready(connection) or most < 1:
            return False
        if not self._token:
            self._keys = frozenset(keys)
            self._token, self._again = _left_by_another(self._keys) or (uuid4().hex, False)
        script = lua.source("take_messages")
        program = ("EVAL", script) if self._whole else ("EVALSHA", lua.digest(script))
        # An earlier call may have taken more than there is room for now.
        wanted = MOST if self._again else min(most, MOST)
        again = "again" if self._again else ""
        routing_keys = [json.dumps(name) for name in names]
        call = (*program, len(keys), *keys, self._token, wanted, again, len(names), *routing_keys)
        unacked, index, *_ = keys
        _send(connection, *self._unmarking(unacked, index, acknowledged), call)
        self._awaited.append("take")
        self._asked_at = monotonic()
        return True

    def acknowledge(self, connection: Any, unacked: str, index: str, tags: Sequence[str]) -> None:  # noqa: ANN401 - as above
        """Remove the marks of these messages. Where the connection is lost before that is confirmed, see `lose`."""
        if connection._sock is not self._socket:  # noqa: SLF001 - as above
            self._begin(connection)
        _send(connection, *self._unmarking(unacked, index, tags))

    def _unmarking(self, unacked: str, index: str, tags: Sequence[str]) -> tuple[tuple[str, ...], ...]:
        if not tags:
            return ()
        self._awaited.extend(("ack", "acked"))
        self._acknowledged.append(tags)
        # The mark first: an index entry without its message is dropped at the next restore, but a message without its
        # index entry would stay for ever. Sent in one piece, so that a worker that is killed is hardly ever in between.
        return ("HDEL", unacked, *tags), ("ZREM", index, *tags)

    def read(self, connection: Any) -> list[Taken]:  # noqa: ANN401 - as above
        """Everything that has arrived; empty where it was only a change, or no whole reply.

        Raises:
            redis.exceptions.ConnectionError: the connection has ended, or the server must not be used any more.
        """
        if connection._sock is not self._socket:  # noqa: SLF001 - as above
            return []
        self._receive()
        taken: list[Taken] = []
        while (message := self._reader.gets()) is not False:
            if isinstance(message, hiredis.PushNotification):
                self._ask_at = 0.0
            elif isinstance(message, Exception):
                self._refused(self._awaited.popleft(), str(message))
            elif (awaited := self._awaited.popleft()) == "take":
                taken += self._taken(message)
            elif awaited == "acked":
                self._acknowledged.popleft()
            elif awaited != "ack":
                # Without RESP3 a server accepts to track, and can tell nobody.
                self._pushes, self._told = awaited == "hello" or self._pushes, awaited == "tracking" and self._pushes
        return taken

    def last(self, connection: Any) -> list[Taken]:  # noqa: ANN401 - as above
        """What a pending call takes; waits for its reply, at most `LAST_REPLY_S`.

        Raises:
            redis.exceptions.ConnectionError: as `read`.
        """
        give_up = monotonic() + LAST_REPLY_S
        taken: list[Taken] = []
        while self.waiting and connection._sock is self._socket and monotonic() < give_up:  # noqa: SLF001 - as above
            select.select([self._socket], [], [], give_up - monotonic())
            taken += self.read(connection)
        return taken

    def lose(self) -> None:
        """Expect nothing more from this connection; a pending call is made again on the next one."""
        self._again = self.waiting or self._again
        self._awaited.clear()
        self._socket = None
        # Removing a mark twice is harmless.
        self.unconfirmed += [tag for tags in self._acknowledged for tag in tags]
        self._acknowledged.clear()

    def abandon(self) -> None:
        """Have the next channel of this process that reads these queues ask for what a pending call took."""
        self.lose()
        if self._again:
            _unanswered.append((self._keys, self._token))
            self._again = False

    def _begin(self, connection: Any) -> None:  # noqa: ANN401 - as above
        self.lose()
        self._socket, self._reader = connection._sock, hiredis.Reader()  # noqa: SLF001 - as above
        self._pushes, self._told, self._ask_at = False, False, 0.0
        # Of what this client changes itself it is told nothing: its own call has read the lengths afterwards.
        for reply, command in (("hello", ("HELLO", "3")), ("tracking", ("CLIENT", "TRACKING", "ON", "NOLOOP"))):
            _send(connection, command)
            self._awaited.append(reply)

    def _receive(self) -> None:
        timeout = self._socket.gettimeout()
        self._socket.settimeout(0)
        try:
            while True:
                data = self._socket.recv(_READ_BYTES)
                if not data:
                    raise RedisConnectionError("the server closed the connection")
                self._reader.feed(data)
                if len(data) < _READ_BYTES and not isinstance(self._socket, ssl.SSLSocket):
                    break
        except (BlockingIOError, ssl.SSLWantReadError):
            pass
        except OSError as error:
            raise RedisConnectionError(str(error)) from error
        finally:
            self._socket.settimeout(timeout)

    def _taken(self, message: list[Any]) -> list[Taken]:
        left, *rest = message
        self._token, self._again, self._whole, self._trouble = "", False, False, ""
        # Told of the next change, nothing need be asked until then; what is left now is asked for at once.
        self._ask_at = 0.0 if left else monotonic() + (ASK_AGAIN_S if self._told else ASK_UNTOLD_S)
        return [
            Taken(tag.decode(), queue - 1, raw)
            for tag, queue, raw in zip(rest[0::3], rest[1::3], rest[2::3], strict=True)
        ]

    def _refused(self, awaited: str, error: str) -> None:
        if error.startswith(_MOVED_ON):
            raise RedisConnectionError(error)
        if awaited in {"ack", "acked"}:
            logger.warning("[TAKE] acknowledgement refused: %s; the message will come again", error)
            if awaited == "acked":
                self._acknowledged.popleft()
        elif awaited != "take":
            # Refused by its access list, or older than Redis 6: asked more often instead.
            logger.info("[TAKE] untold: %s; queues are asked every %d ms", error, ASK_UNTOLD_S * 1000)
        elif error.startswith("NOSCRIPT"):
            self._whole, self._ask_at = True, 0.0
        else:
            # It may have taken some: with the same token they come again.
            self._again, self._ask_at = True, monotonic() + ASK_AGAIN_S
            if error != self._trouble:
                logger.warning("[TAKE] refused: %s; asked again every %d ms", error, ASK_AGAIN_S * 1000)
            self._trouble = error


def _left_by_another(keys: frozenset[str]) -> tuple[str, bool] | None:
    for left in _unanswered:
        if left[0] <= keys:
            _unanswered.remove(left)
            return left[1], True
    return None


def _send(connection: Any, *commands: tuple[Any, ...]) -> None:  # noqa: ANN401 - redis-py's, untyped
    # Without redis-py's health check, which would read a reply from under us.
    packed = b"".join(hiredis.pack_command(command) for command in commands)
    connection.send_packed_command([packed], check_health=False)

"""The way to a server: a socket of our own in front of it that can be cut, held up, or made to lose what comes back."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Final

from ops.server import socket_url

_CHUNK: Final = 65_536


class _Line:
    """One connection of a client, and its counterpart to the server."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.client, self.server = client, server
        self.lossy = self.stale = False

    def drop(self) -> None:
        for side in (self.client, self.server):
            side.transport.abort()


class Relay:
    """Listens on `path` and passes on to the socket `upstream`. Methods may be called from any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, path: Path, upstream: Path) -> None:
        self.url: Final = socket_url(path)
        self._loop, self._path, self._upstream = loop, path, upstream
        self._lines: set[_Line] = set()
        self._serving = 0
        self._refusing = self._deaf = False
        self._flowing = asyncio.Event()
        self._flowing.set()

    async def open(self) -> None:
        """Listen; on the loop's thread."""
        self._server = await asyncio.start_unix_server(self._serve, self._path)

    async def close(self) -> None:
        """Stop listening, drop what is connected, return when that is over; on the loop's thread."""
        self._server.close()
        self._refusing = True
        self._flowing.set()
        self._drop_all()
        while self._serving:
            await asyncio.sleep(0.01)
            self._drop_all()
        # What was dropped is closed in the loop's next turn.
        await asyncio.sleep(0)

    def cut(self) -> None:
        """Drop every connection and refuse new ones, until `mend`."""
        self._do(self._cut)

    def hold_up(self) -> None:
        """Pass nothing on in either direction, without closing anything, until `mend`."""
        self._do(self._flowing.clear)

    def lose_replies(self) -> None:
        """Pass on what clients say and lose every answer, until `mend`."""
        self._do(self._lose)

    def go_stale(self) -> None:
        """Pass nothing on any more on what is connected now, and close none of it; new connections are as ever."""
        self._do(self._stale)

    def mend(self, *, late: bool = False) -> None:
        """Pass everything on again; what was held up arrives `late`, or is lost with its connection."""
        self._do(lambda: self._mend(late=late))

    def _do(self, act: Callable[[], object]) -> None:
        self._loop.call_soon_threadsafe(act)

    def _cut(self) -> None:
        self._refusing = True
        self._drop_all()

    def _lose(self) -> None:
        self._deaf = True

    def _stale(self) -> None:
        for line in self._lines:
            line.stale = True

    def _mend(self, *, late: bool) -> None:
        # A connection that lost an answer would take the next one for it.
        for line in [line for line in self._lines if line.lossy or not (late or self._flowing.is_set())]:
            line.drop()
        self._refusing = self._deaf = False
        self._flowing.set()

    def _drop_all(self) -> None:
        for line in list(self._lines):
            line.drop()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            writer.transport.abort()
            return
        try:
            up_reader, up_writer = await asyncio.open_unix_connection(self._upstream)
        except OSError:
            writer.transport.abort()
            return
        line = _Line(writer, up_writer)
        self._lines.add(line)
        self._serving += 1
        pumps = [
            asyncio.ensure_future(self._pump(reader, up_writer, line, answers=False)),
            asyncio.ensure_future(self._pump(up_reader, writer, line, answers=True)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            self._serving -= 1
            # A network that has forgotten a connection tells neither side of the other's end.
            if not line.stale:
                line.drop()
                self._lines.discard(line)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: _Line, *, answers: bool
    ) -> None:
        try:
            while data := await reader.read(_CHUNK):
                await self._flowing.wait()
                if line.stale:
                    continue
                if answers and self._deaf:
                    line.lossy = True
                elif not line.lossy or not answers:
                    writer.write(data if answers else self._passed_on(line, data))
                    await writer.drain()
        except OSError:
            return

    def _passed_on(self, line: _Line, said: bytes) -> bytes:  # noqa: ARG002 - for those who do
        """What the server is told of what a client said."""
        return said


class Relays:
    """One thread for all relays of a run."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="relays", daemon=True)
        self._thread.start()
        self._open: list[Relay] = []

    def add(self, path: Path, upstream: Path, kind: type[Relay] = Relay) -> Relay:
        """A new relay, listening."""
        relay = kind(self._loop, path, upstream)
        asyncio.run_coroutine_threadsafe(relay.open(), self._loop).result(10)
        self._open.append(relay)
        return relay

    def close(self) -> None:
        """Close all of them, and end the thread."""
        asyncio.run_coroutine_threadsafe(self._shut(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _shut(self) -> None:
        for relay in self._open:
            await relay.close()

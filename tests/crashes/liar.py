"""A relay that has an error said in place of every answer: what clients hear of an address that became a cluster."""

import asyncio
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import hiredis

from tests.chaos.relay import Relay


class Liar(Relay):
    """Passes everything on, until it is told to lie: then every command is answered with one error.

    The server itself says it, asked in place of the command, so that answers keep their order.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, path: Path, upstream: Path) -> None:
        super().__init__(loop, path, upstream)
        self._error = ""
        self._commands: WeakKeyDictionary[Any, hiredis.Reader] = WeakKeyDictionary()

    def lie(self, error: str) -> None:
        """Have everything answered with this error; empty: be honest again."""
        self._error = error

    def _passed_on(self, line: Any, said: bytes) -> bytes:
        commands = self._commands.setdefault(line, hiredis.Reader())
        commands.feed(said)
        passed = []
        while (command := commands.gets()) is not False:
            told = ("EVAL", f"return redis.error_reply('{self._error}')", "0") if self._error else tuple(command)
            passed.append(hiredis.pack_command(told))
        return b"".join(passed)

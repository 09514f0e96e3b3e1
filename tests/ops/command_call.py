"""`permitwait …` in the test's own process, with somebody or nobody at the terminal."""

import io
import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from ops.cli import main
from tasks.settings import Settings


@dataclass(frozen=True)
class Said:
    """What one call of the command left on the screen."""

    code: int
    out: str
    err: str


class Terminal(io.StringIO):
    """A person who types what is given."""

    def isatty(self) -> bool:
        """Whether a person sits there."""
        return True


Command = Callable[..., Said]


def ledger_command(settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """`permitwait ledger` with the server and the namespace of a test."""
    run = any_command(settings, monkeypatch, capsys)
    return lambda *arguments, **more: run("ledger", *arguments, **more)


def any_command(settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """The tool with the server and the namespace of a test; by default its standard input is no terminal."""
    monkeypatch.setenv("APPLY_REDIS_URL", settings.redis_url)
    monkeypatch.setenv("APPLY_NAMESPACE", settings.namespace)
    monkeypatch.setenv("APPLY_MODE", "paper")

    def run(*arguments: str, stdin: io.StringIO | None = None) -> Said:
        monkeypatch.setattr(sys, "argv", ["permitwait", *arguments])
        monkeypatch.setattr(sys, "stdin", stdin or io.StringIO())
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        shown = capsys.readouterr()
        return Said(int(ended.value.code or 0), shown.out, shown.err)

    return run

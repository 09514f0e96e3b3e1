"""Shows the status once, or again and again until Ctrl-C; writes the status document."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Group
from rich.live import Live

from ops import screen
from ops.commands import UNREACHABLE
from ops.status.checklist import Checklist, checklist
from ops.status.document import document
from ops.status.facts import Facts, gather
from ops.status.page import page
from ops.status.report import report
from tasks.address import RedisAddress
from tasks.errors import BadSettings, StoreUnavailable
from tasks.settings import Settings
from tasks.store import Store, connect

#: A read may take longer than a gate's call: nothing waits for it.
_TIMEOUT_MS = 2_000


@dataclass(frozen=True)
class Wishes:
    """How the status is wanted: as JSON, written to a file, once (None) or every so many seconds."""

    as_json: bool = False
    file: Path | None = None
    every_s: float | None = None


def run(settings: Settings, wishes: Wishes) -> int:
    """Show the status. Exit code: 0 validated, 1 not; while watching that of the last look, 3 where it had no answer.

    Raises:
        StoreUnavailable: Redis gave no answer to the only look.
        BadSettings: the file cannot be written.
    """
    store = Store(connect(RedisAddress.parse(settings.redis_url), timeout_ms=_TIMEOUT_MS))
    try:
        if wishes.every_s is None:
            return _once(store, settings, wishes)
        return _watch(store, settings, wishes, wishes.every_s)
    finally:
        store.close()


def _look(store: Store, settings: Settings, file: Path | None) -> tuple[Facts, Checklist]:
    facts = gather(store, settings)
    points = checklist(facts)
    if file:
        _write(file, report(facts, points))
    return facts, points


def _once(store: Store, settings: Settings, wishes: Wishes) -> int:
    facts, points = _look(store, settings, wishes.file)
    if wishes.file:
        screen.say(f"written to {wishes.file}")
    if wishes.as_json:
        screen.data(document(facts, points))
    elif not wishes.file:
        for line in page(facts, points):
            screen.out.print(line)
    return 0 if points.validated else 1


def _watch(store: Store, settings: Settings, wishes: Wishes, every_s: float) -> int:
    code = UNREACHABLE
    try:
        if wishes.as_json or not screen.out.is_terminal:
            while True:
                code, looked = _next(store, settings, wishes)
                if looked:
                    (_print_json if wishes.as_json else _print_page)(*looked)
                time.sleep(every_s)
        with Live(console=screen.out, auto_refresh=False) as live:

            def show(facts: Facts, points: Checklist) -> None:
                # One row is left for the cursor.
                live.update(Group(*page(facts, points, screen.out.height - 1)), refresh=True)

            while True:
                code, looked = _next(store, settings, wishes)
                if looked:
                    show(*looked)
                time.sleep(every_s)
    except KeyboardInterrupt:
        return code


def _next(store: Store, settings: Settings, wishes: Wishes) -> tuple[int, tuple[Facts, Checklist] | None]:
    """The exit code that goes with what stands now, known before it is shown: Ctrl-C may come at once."""
    try:
        looked = _look(store, settings, wishes.file)
    except StoreUnavailable as error:
        screen.say(f"Redis gave no answer, asking again: {error}")
        return UNREACHABLE, None
    return 0 if looked[1].validated else 1, looked


def _print_json(facts: Facts, points: Checklist) -> None:
    screen.data_line(document(facts, points))


def _print_page(facts: Facts, points: Checklist) -> None:
    for line in page(facts, points):
        screen.out.print(line)
    screen.out.print()


def _write(file: Path, text: str) -> None:
    """Whoever reads the file while it is written again finds the old one or the new one."""
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(file)
    except OSError as error:
        raise BadSettings(f"--report {file} cannot be written: {error}") from error

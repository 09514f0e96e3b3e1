"""Terminal sessions in the documents that are marked `<!-- run -->` are run as they stand, and say what is shown."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from signal import SIGINT
from typing import Final

import pytest

from tests.docs.documents import Block, blocks_of, documents
from tests.helpers import hold
from tests.servers import RealServer
from tests.worker.nodes import clean_environment, plan, site_on, start_worker, wait_for_ends

pytestmark = pytest.mark.long

#: Run by `test_producers_guide.py`, which brings its own `redis-cli`.
ELSEWHERE: Final = {"docs/producers-guide.md"}

_WITHIN_S: Final = 60.0

#: A command that has said all that is shown ends by itself within this time, or goes on for ever.
_ENDS_WITHIN_S: Final = 8.0

SESSIONS: Final = [
    document
    for document in documents()
    if document not in ELSEWHERE and any(block.run and block.language == "console" for block in blocks_of(document))
]


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a reader's shell: a worker with our judges, one plan executed, one blocked before."""
    with RealServer() as server, site_on(server) as site:
        hold(site.client, site.keys, "0.062", "BTCUSDT")
        settings = {"APPLY_ALLOWLIST": "BTCUSDT", "APPLY_ISSUERS": "governor,p33"}
        with start_worker(server, **settings):
            plans = [plan("67e6da21fa9fe506", "BTCUSDT"), plan("abc123def456", "DOGEUSDT", action="PARTIAL_50")]
            for each in plans:
                site.send(each, each["plan_id"])
                wait_for_ends(site, [each["plan_id"]])
            (tmp_path / "plans.jsonl").write_text("".join(json.dumps(each) + "\n" for each in plans))
            path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
            environment = {"APPLY_REDIS_URL": server.url, "APPLY_BROKER_URL": server.broker_url, "APPLY_MODE": "paper"}
            yield clean_environment(PATH=path, COLUMNS="80", **environment)


def calls(block: Block) -> Iterator[tuple[str, list[str]]]:
    """Each typed line of a session with the lines shown under it."""
    typed, shown = "", list[str]()
    for line in [*block.lines, "$ "]:
        if line.startswith("$ "):
            if typed:
                yield typed, shown
            typed, shown = line[2:], []
        else:
            shown.append(line)


def as_pattern(shown: list[str]) -> str:
    """The shown lines as a pattern: `…` stands for anything in a line, alone on a line for any lines."""
    parts = [
        r"(?:.*\n)*?" if line.strip() == "…" else ".*".join(map(re.escape, line.split("…"))) + "\n" for line in shown
    ]
    return "".join(parts)


def answer(typed: str, shown: list[str], shell: dict[str, str], folder: Path) -> str:
    """What a command says until it ends; one that goes on for ever gets its Ctrl-C when it has said what is shown."""
    said = folder / "said"
    with said.open("wb") as out:
        process = subprocess.Popen(
            ["/bin/sh", "-c", typed],
            cwd=folder,
            env=shell,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    pattern = re.compile(as_pattern(shown))
    give_up = time.monotonic() + _WITHIN_S
    try:
        while process.poll() is None and time.monotonic() < give_up:
            if shown and pattern.fullmatch(said.read_text()):
                # What it says after a Ctrl-C is not shown.
                give_up = min(give_up, time.monotonic() + _ENDS_WITHIN_S)
            time.sleep(0.05)
        return said.read_text()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, SIGINT)
        process.wait(20)


def test_there_are_sessions() -> None:
    """The operator's guide shows what an operator will see."""
    assert "docs/operators-guide.md" in SESSIONS


@pytest.mark.parametrize("document", SESSIONS)
def test_a_session_shows_what_happens(document: str, shell: dict[str, str], tmp_path: Path) -> None:
    """Typed one after the other, each command of the document answers with the lines under it."""
    for block in blocks_of(document):
        if not block.run or block.language != "console":
            continue
        for typed, shown in calls(block):
            said = answer(typed, shown, shell, tmp_path)

            assert not shown or re.fullmatch(as_pattern(shown), said), (
                f"{block.place}: $ {typed}\n{said}\nis not what is shown:\n" + "\n".join(shown)
            )

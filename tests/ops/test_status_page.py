"""What a person, a program and a reader of the document get to see."""

import json
from dataclasses import replace
from io import StringIO
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from ops.status.checklist import POINTS, checklist
from ops.status.document import document
from ops.status.facts import Facts, Gone, Oldest, Switch
from ops.status.figures import by_symbol, histogram
from ops.status.page import WIDTH, page
from ops.status.report import report
from tasks.reasons import Reason
from tasks.stats import Ended, Waits
from tests.ops.status_bed import EMPTY, GOOD, GOOD_STATS, NOW_MS, WORKER

NASTY = "\x1b[31mn\u00e4sty|name\r\n" + "x" * 200

#: Everything there is at once, and in names and reasons what nobody should print as it is.
BUSY = replace(
    GOOD,
    stats=replace(
        GOOD_STATS,
        ended={Ended(f"S{n}USDT", "blocked", reason.value): n + 1 for n, reason in enumerate(Reason)},
        set_aside={reason.value: 3 for reason in Reason},
    ),
    workers=tuple(replace(WORKER, hostname=f"{n}@{NASTY}", watch="blind") for n in range(20)),
    gone=tuple(Gone(f"{n}@{NASTY}", NOW_MS - 5_000) for n in range(20)),
    issuers={"governor": NASTY, "p33": NASTY},
    switch=Switch(is_set=True, value="true", who=NASTY, when="1794999000.0", why=NASTY),
    oldest=Oldest("p" * 64, "waiting", NOW_MS - 800),
    unreadable=(NASTY,),
)


def lines(facts: Facts, height: int | None = None) -> list[str]:
    """The page as text."""
    return [line.plain for line in page(facts, checklist(facts), height)]


@pytest.mark.parametrize("facts", [EMPTY, GOOD, BUSY], ids=["empty", "good", "busy"])
@pytest.mark.parametrize("height", [None, 23, 10])
def test_every_line_fits_any_terminal(facts: Facts, height: int | None) -> None:
    """At most 80 columns of plain ASCII, nothing that moves the cursor, and no more lines than there are rows."""
    shown = lines(facts, height)

    assert [] == [line for line in shown if len(line) > WIDTH or not line.isascii() or not (line or " ").isprintable()]
    assert height is None or len(shown) <= height


@pytest.mark.parametrize("facts", [EMPTY, GOOD, BUSY], ids=["empty", "good", "busy"])
def test_a_small_terminal_gets_the_whole_checklist(facts: Facts) -> None:
    """80x24 shows the verdict, every point and whether the kill switch is set; what is left out is detail."""
    shown = "\n".join(lines(facts, 23))

    assert checklist(facts).verdict in shown
    assert all(check.name in shown for check in checklist(facts).checks)
    assert ("HALTED" in shown) == facts.switch.is_set


def test_the_page_tells_the_figures() -> None:
    """Decisions by reason, percentiles and histogram, what waits, by symbol: each with its number."""
    shown = "\n".join(lines(replace(GOOD, oldest=Oldest("plan-7", "waiting", NOW_MS - 800))))

    for part in (
        "executed 6, dry run 0, blocked 3, rejected 0, unknown 0",
        "the last 2.5 s ago; answered again with a stored outcome: 1",
        "missing_p33                        2 ####",
        "messages set aside: invalid_intent 1",
        "p50 27 ms, p95 1199 ms, p99 1199 ms, longest 1199 ms",
        "20-49 ms       3 ####",
        "4 plans without an outcome, 0 overdue",
        "plan-7, waiting for 0.8 s",
        "parked 2  running 1  watch alive 10 min  clock +0 ms",
        "BTCUSDT                   4          0          2          0          0",
    ):
        assert part in shown


def test_marks_are_words() -> None:
    """Without colour nothing is lost: the page printed without styles has every mark as a word."""
    plain, coloured = StringIO(), StringIO()
    for target, style in (
        (plain, {"no_color": True}),
        (coloured, {"force_terminal": True, "color_system": "standard"}),
    ):
        console = Console(file=target, width=100, highlight=False, **style)
        for line in page(BUSY, checklist(BUSY)):
            console.print(line)

    assert "\x1b[" in coloured.getvalue()
    assert "\x1b[" not in plain.getvalue()
    assert "FAILED   figures readable" in plain.getvalue()


@pytest.mark.parametrize("facts", [EMPTY, GOOD, BUSY], ids=["empty", "good", "busy"])
def test_the_document_is_one_json_document(facts: Facts) -> None:
    """Everything is JSON, and what the page says is in it."""
    read: dict[str, Any] = json.loads(json.dumps(document(facts, checklist(facts))))

    assert checklist(facts).validated == read["validated"]
    assert [check.name for check in checklist(facts).checks] == [check["name"] for check in read["checklist"]]
    assert facts.stats.ok_waits.total == read["wait_ms"]["ok"]["count"]
    assert facts.stats.ok_waits.total == sum(row["count"] for row in read["wait_ms"]["ok"]["histogram"])
    assert facts.stats.how_many("blocked") == read["decisions"]["blocked"]
    assert facts.waiting == read["now"]["waiting"]


@pytest.mark.parametrize("facts", [EMPTY, GOOD, BUSY], ids=["empty", "good", "busy"])
def test_the_report_can_be_read_alone(facts: Facts) -> None:
    """Dated, with the verdict and every point; every table row has as many cells as its head."""
    text = report(facts, checklist(facts))
    rows = [line.replace("\\|", "").count("|") for line in text.splitlines()]
    tables = [set(table) for is_table, table in groupby(rows, key=bool) if is_table]

    assert text.isascii()
    assert "# Permit Wait: status of namespace `quantum`, 2026-11-18 11:06:40 UTC\n" in text
    assert f"**{checklist(facts).verdict}.**" in text
    assert all(f"| {check.mark} | {check.name} |" in text for check in checklist(facts).checks)
    assert tables
    assert [] == [table for table in tables if len(table) > 1]
    assert ("The kill switch is set" in text) == facts.switch.is_set


def test_the_histogram_covers_every_wait_once() -> None:
    """Any bound, any waits: rows follow each other without a gap, and their counts are all waits."""
    for bound_ms in (1, 9, 10, 15, 100, 500, 1200, 5_000, 60_000):
        waits = Waits(tuple((ms, 1) for ms in sorted({0, 1, 9, 10, 49, 50, 99, 100, bound_ms - 1, bound_ms, 60_000})))
        rows = histogram(waits, bound_ms)

        assert waits.total == sum(row.count for row in rows)
        assert [row.end_ms for row in rows[:-1]] == [row.first_ms for row in rows[1:]]
        assert len(rows) <= 20
    assert [] == histogram(Waits(), 1200)


def test_symbols_stand_by_orders() -> None:
    """The symbol with most orders comes first; what is not allowed is one line."""
    table = by_symbol(GOOD)

    assert ["BTCUSDT", "ETHUSDT", "other"] == list(table)
    assert {"executed": 4, "dry_run": 0, "blocked": 2, "rejected": 0, "unknown": 0} == table["BTCUSDT"]


def test_the_page_of_the_docs_is_current() -> None:
    """The page docs/status.md explains every point by its name, and shows lines as the page has them."""
    text = (Path(__file__).parents[2] / "docs" / "status.md").read_text(encoding="utf-8")
    table = {line.split(" | ")[0].removeprefix("| ") for line in text.splitlines() if line.startswith("| ")}

    assert POINTS.keys() <= table
    assert all(f"\nok       {name:27}" in text for name in POINTS)
    assert [] == [line for line in text.split("```")[1].splitlines() if len(line) > WIDTH]

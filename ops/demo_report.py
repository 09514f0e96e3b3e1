"""What the demo found: a row per plan, and the checklist that decides its exit code."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Self, cast

import redis
from rich.table import Table

from ops import screen
from ops.demo_plans import POSITIONS, Scenario
from ops.status.checklist import Checklist, Mark
from tasks.keys import Keys
from tasks.outcome import Outcome


@dataclass(frozen=True)
class Row:
    """One scenario and what became of it; `orders` are the quantities in the venue's journal."""

    scenario: Scenario
    plan_id: str
    outcome: Outcome | None
    orders: list[Decimal]

    @property
    def as_expected(self) -> bool:
        """Decision and reason are the expected ones, and there is one order or none, accordingly."""
        if self.outcome is None:
            return False
        orders = 1 if self.scenario.decision == "EXECUTE" else 0
        wanted = (self.scenario.decision, self.scenario.reason, orders)
        return wanted == (self.outcome.decision, self.outcome.reason, len(self.orders))


@dataclass(frozen=True)
class Report:
    """The demo's result: every row, and every point of the checklist with its figure."""

    rows: list[Row]
    checks: list[tuple[str, bool, str]]

    @property
    def holds(self) -> bool:
        """Whether every point of the checklist holds."""
        return all(passed for _, passed, _ in self.checks)

    @classmethod
    def of(
        cls,
        rows: list[Row],
        lines: list[str],
        client: "redis.Redis",
        keys: Keys,
        points: Checklist,
        *,
        ledgers: str,
    ) -> Self:
        """The checklist of `permitwait status`, then what was expected, what the log says and what stands in Redis."""
        outcomes = [row.outcome for row in rows if row.outcome]
        executed = [outcome for outcome in outcomes if outcome.executed]
        expected = sum(row.as_expected for row in rows)
        ok_lines = [line for line in lines if "[PERMIT_WAIT] OK" in line]
        errors = [line for line in lines if "ERROR" in line or "CRITICAL" in line or "Traceback" in line]
        results, journal = client.xlen(keys.results), client.xlen(keys.paper_orders)
        checks = [
            *((check.name, check.mark is Mark.OK, check.figure) for check in points.checks),
            ("every plan as expected", expected == len(rows), f"{expected} of {len(rows)}"),
            ("one [PERMIT_WAIT] OK line each", len(ok_lines) == len(executed), f"{len(ok_lines)} lines"),
            ("no order twice in journal", journal == len(executed), f"{journal} orders"),
            ("one result entry per plan", results == len(rows), f"{results} entries"),
            ("positions add up", _adds_up(rows, client, keys), f"{len(POSITIONS)} symbols"),
            ("ledgers agree with venue", not ledgers, ledgers or f"{len(POSITIONS)} symbols"),
            ("no error in the worker's log", not errors, errors[0][:60] if errors else "0 errors"),
        ]
        return cls(rows, checks)


def _adds_up(rows: list[Row], client: "redis.Redis", keys: Keys) -> bool:
    for symbol, (amount, _, _) in POSITIONS.items():
        ordered = sum((sum(row.orders) for row in rows if row.scenario.intent["symbol"] == symbol), Decimal(0))
        held = cast("bytes", client.hget(keys.paper_position(symbol), "position_amt"))
        if abs(Decimal(amount)) - ordered != abs(Decimal(held.decode())):
            return False
    return True


def ledgers_agree(client: "redis.Redis", keys: Keys) -> str:
    """Empty where every ledger equals the paper position, else the first symbol where it does not."""
    for symbol in POSITIONS:
        ledger = client.hget(keys.ledger(symbol), "last_known_amt")
        held = client.hget(keys.paper_position(symbol), "position_amt")
        # A plan that the Governor refused may have ended before the ledger was first looked at.
        if isinstance(ledger, bytes) and isinstance(held, bytes) and Decimal(ledger.decode()) != Decimal(held.decode()):
            return f"{symbol}: {ledger.decode()} against {held.decode()}"
    return ""


def show(report: Report, *, as_json: bool, took_s: float) -> None:
    """Print the report: one document, or two tables for a person."""
    if as_json:
        screen.data(_document(report, took_s))
        return
    plans = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in ("", "what happens", "decision", "wait_ms", "qty", ""):
        plans.add_column(heading, justify="right" if heading in {"wait_ms", "qty"} else "left", no_wrap=True)
    for number, row in enumerate(report.rows, start=1):
        outcome = row.outcome
        decision = "no outcome" if outcome is None else outcome.reason or outcome.decision
        waited, qty = ("", "") if outcome is None else (str(outcome.wait_ms), outcome.safe_qty)
        mark = "ok" if row.as_expected else "WRONG"
        plans.add_row(str(number), row.scenario.title, decision, waited, qty, mark)
    screen.out.print()
    screen.out.print(plans)
    checklist = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    for name, passed, figure in report.checks:
        checklist.add_row("ok" if passed else "FAIL", name, figure)
    screen.out.print()
    screen.out.print(checklist)
    verdict = "the gate held" if report.holds else "THE GATE DID NOT HOLD: see the lines marked FAIL and WRONG"
    screen.out.print(f"\n{verdict} ({took_s:.0f} s)", markup=False)


def _document(report: Report, took_s: float) -> dict[str, Any]:
    return {
        "holds": report.holds,
        "took_s": round(took_s, 1),
        "checklist": [{"check": name, "ok": passed, "figure": figure} for name, passed, figure in report.checks],
        "plans": [
            {
                "plan_id": row.plan_id,
                "what": row.scenario.title,
                "expected": {"decision": row.scenario.decision, "reason": row.scenario.reason},
                "as_expected": row.as_expected,
                "outcome": row.outcome.as_result() if row.outcome else None,
            }
            for row in report.rows
        ],
    }

"""The outcome: what every plan ends with, once; returned by the task, stored in the record, sent to the stream."""

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict

from tasks.reasons import Reason

Decision = Literal["EXECUTE", "BLOCKED", "REJECTED", "UNKNOWN"]

#: The record's state for each decision.
STATES: Final[dict[Decision, str]] = {
    "EXECUTE": "done",
    "BLOCKED": "blocked",
    "REJECTED": "rejected",
    "UNKNOWN": "unknown",
}


class Outcome(BaseModel):
    """How a plan ended. Field order is the order on screen: dashboards cut long results, so short facts lead.

    Attributes:
        decision: EXECUTE (order accepted, or dry run), BLOCKED (our refusal), REJECTED (the venue's), UNKNOWN.
        reason: why not, from `Reason`; empty when executed.
        wait_ms: from the moment a worker took the plan up to the consumption, or to the block; Redis clock.
        safe_qty: the quantity consumed for, exact decimal text; empty where none was.
        timestamp: epoch seconds of the end, Redis clock.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    decision: Decision
    reason: str
    plan_id: str
    symbol: str
    executed: bool
    would_execute: bool
    wait_ms: int
    attempts: int
    safe_qty: str
    error: str
    client_order_id: str
    timestamp: float
    steps_results: list[dict[str, Any]]

    def as_result(self) -> dict[str, Any]:
        """The task's result: JSON types only."""
        return self.model_dump()

    # The task returns the outcome itself, and these make it the dict above to Celery: in JSON, and as the text of
    # events and log lines. Of a dict Celery makes that text piece by piece (160 us), of an object it takes `repr` (10).
    __json__ = as_result

    def __repr__(self) -> str:
        """The text of `as_result`."""
        return repr(self.as_result())


class Fill(BaseModel):
    """An accepted order: what the shadow ledger is moved by."""

    model_config = ConfigDict(strict=True, frozen=True)

    order_id: str
    side: str
    qty: str

    @property
    def change(self) -> str:
        """The signed change of the position, exact decimal text."""
        return self.qty if self.side == "BUY" else f"-{self.qty}"


class ByHand(BaseModel):
    """What an operator does to a plan, who it is, and why."""

    model_config = ConfigDict(strict=True, frozen=True)

    act: Literal["cancel", "resolve"]
    who: str
    why: str


class Ending(BaseModel):
    """An outcome before the store adds `attempts`, `wait_ms` and `timestamp` on its own clock."""

    model_config = ConfigDict(strict=True, frozen=True)

    decision: Decision
    plan_id: str
    symbol: str
    reason: Reason | None = None
    detail: str = ""
    executed: bool = False
    would_execute: bool = False
    safe_qty: str = ""
    client_order_id: str = ""
    steps_results: tuple[dict[str, Any], ...] = ()
    fill: Fill | None = None
    by_hand: ByHand | None = None

    @property
    def without_order(self) -> bool:
        """Whether the plan surely left no order behind: then what the Governor reserved for it is given back."""
        return self.decision in {"BLOCKED", "REJECTED"} or (self.decision == "EXECUTE" and not self.executed)

    def fields(self) -> list[str]:
        """Field, value, … as text, as the record and the result stream keep them."""
        facts = {
            "plan_id": self.plan_id,
            "symbol": self.symbol,
            "decision": self.decision,
            "executed": str(self.executed),
            "would_execute": str(self.would_execute),
            "reason": self.reason.value if self.reason else "",
            "error": self.reason.error if self.reason else "",
            "safe_qty": self.safe_qty,
            "client_order_id": self.client_order_id,
            "steps_results": json.dumps(self.steps_results),
        }
        return [part for fact in facts.items() for part in fact]


def blocked_ending(plan_id: str, symbol: str, reason: Reason, detail: str, safe_qty: str = "") -> Ending:
    """The end of a plan, or of a message, that we refuse; `safe_qty` where its permits were consumed."""
    return Ending(decision="BLOCKED", plan_id=plan_id, symbol=symbol, reason=reason, detail=detail, safe_qty=safe_qty)


def outcome_from_fields(fields: Mapping[str, str]) -> Outcome:
    """Read an outcome back from a record or a result entry.

    Raises:
        KeyError: when the fields are not those of a finished plan.
    """
    return Outcome(
        decision=fields["decision"],  # type: ignore[arg-type] # checked by the model
        reason=fields["reason"],
        plan_id=fields["plan_id"],
        symbol=fields["symbol"],
        executed=fields["executed"] == "True",
        would_execute=fields["would_execute"] == "True",
        wait_ms=int(fields["wait_ms"]),
        attempts=int(fields["attempts"]),
        safe_qty=fields["safe_qty"],
        error=fields["error"],
        client_order_id=fields["client_order_id"],
        timestamp=float(fields["timestamp"]),
        steps_results=json.loads(fields["steps_results"]),
    )


def plain(quantity: Decimal) -> str:
    """Exact decimal text without an exponent."""
    return f"{quantity:f}"

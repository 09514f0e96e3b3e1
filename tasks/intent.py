"""The EXECUTE intent: the only thing on the wire, strict about types and generous about unknown fields."""

import re
from decimal import Decimal
from functools import cached_property
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import ErrorDetails

from tasks.errors import InvalidIntent

#: Colons are refused: one service's key prefix must never reach another's (`quantum:permit:p33:…`).
PLAN_ID: Final = r"^[A-Za-z0-9_-]{1,64}$"
SYMBOL: Final = r"^[A-Z0-9]{2,30}$"

#: Actions that become an order, with the part of the position each closes.
FRACTIONS: Final = {
    "FULL_CLOSE_PROPOSED": Decimal(1),
    "PARTIAL_75": Decimal("0.75"),
    "PARTIAL_50": Decimal("0.5"),
}

_WORD: Final = re.compile(PLAN_ID)

#: Longest text accepted in an optional field; a label, not a document.
_MAX_TEXT = 200


def _exact(value: object) -> object:
    """A JSON number as the decimal its author wrote; anything else is left for the type check to refuse."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value
    return Decimal(repr(value))


Number = Annotated[
    Decimal,
    BeforeValidator(_exact),
    Field(allow_inf_nan=False, max_digits=28),
    PlainSerializer(float, return_type=float, when_used="json"),
    WithJsonSchema({"type": "number"}),
]
Text = Annotated[str, Field(max_length=_MAX_TEXT)]


_IN_JSON: Final = {
    "is_instance_of": "must be a JSON number",
    "model_type": "must be a JSON object",
}


class _Wire(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", hide_input_in_errors=True)


class Step(_Wire):
    """One step of the plan as its author described it; information only."""

    step: Text = ""
    type: Text = ""
    side: Text = ""
    pct: Number | None = None


class ExecuteIntent(_Wire):
    """One plan to execute. Unknown fields are ignored, wrong types are refused, nothing is coerced."""

    plan_id: str = Field(pattern=PLAN_ID, description="Chosen once by the producer; also the task id.")
    symbol: str = Field(pattern=SYMBOL)
    action: Text = Field(
        min_length=1,
        description="FULL_CLOSE_PROPOSED, PARTIAL_75 or PARTIAL_50; others end as unsupported_action.",
    )
    decision: Literal["EXECUTE"]
    created_at: Annotated[float, Field(allow_inf_nan=False, ge=0, lt=1e11)] | None = Field(
        default=None, description="Epoch seconds."
    )
    source: Text | None = None
    kill_score: Number | None = None
    k_regime_flip: Number | None = None
    k_sigma_spike: Number | None = None
    k_ts_drop: Number | None = None
    k_age_penalty: Number | None = None
    new_sl_proposed: Number | None = None
    R_net: Number | None = None
    reason_codes: Annotated[str, Field(max_length=2000)] | None = None
    steps: Annotated[list[Step], Field(max_length=32)] | None = None
    close_qty: Annotated[Number, Field(ge=0)] | None = None
    price: Number | None = None
    timestamp: Number | None = Field(default=None, description="Epoch seconds, information only.")

    @property
    def content(self) -> str:
        """What makes two messages the same plan: symbol, action and decision, as one line of text."""
        return f"{self.symbol}|{self.action}|{self.decision}"

    @property
    def created_at_ms(self) -> int | None:
        """`created_at` in epoch milliseconds, rounded down."""
        return None if self.created_at is None else int(Decimal(repr(self.created_at)) * 1000)

    @cached_property
    def text(self) -> str:
        """`wire()` as JSON text; made once, as every look at a waiting plan carries it."""
        return self.model_dump_json(exclude_unset=True)

    def wire(self) -> dict[str, Any]:
        """Only the fields that were given, as JSON types: what is sent, stored and shown."""
        return self.model_dump(mode="json", exclude_unset=True)


def parse_intent(candidate: object) -> ExecuteIntent:
    """Read an intent strictly.

    Raises:
        InvalidIntent: with the first findings, and the plan id where that much is well formed.
    """
    try:
        return ExecuteIntent.model_validate(candidate)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        found = "; ".join(f"{_place(problem['loc'])}: {_said(problem)}" for problem in problems[:4])
        more = f"; and {len(problems) - 4} more" if len(problems) > 4 else ""  # noqa: PLR2004 - as shown above
        raise InvalidIntent(
            found + more,
            named_plan(candidate),
            decision_only={problem["loc"][:1] for problem in problems} == {("decision",)},
        ) from None


def named_plan(candidate: object) -> str | None:
    """The plan id that `candidate` names, or None where it names none in the allowed form."""
    plan_id = candidate.get("plan_id") if isinstance(candidate, dict) else None
    return plan_id if isinstance(plan_id, str) and re.fullmatch(PLAN_ID[1:-1], plan_id) else None


def shown(intent: object) -> str:
    """What dashboards and `celery inspect` may show of an intent: what names the plan, and nothing else that is in it.

    The text of a dictionary, which Flower searches by its keys; a value that is no short word is `?`.
    """
    if not isinstance(intent, dict):
        return "{}"
    parts = ((name, intent.get(name)) for name in ("plan_id", "symbol", "action", "decision"))
    return str({name: part if isinstance(part, str) and _WORD.fullmatch(part) else "?" for name, part in parts})


def _said(problem: ErrorDetails) -> str:
    # In the words of JSON, which is what the author wrote.
    return _IN_JSON.get(problem["type"], problem["msg"])


def _place(loc: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in loc) or "intent"

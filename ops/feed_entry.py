"""One entry of the plan stream, all text, becomes an intent; pure."""

import json
from dataclasses import dataclass
from typing import Any, Final

from tasks.errors import InvalidIntent
from tasks.intent import ExecuteIntent, named_plan, parse_intent
from tasks.submit import SUBMITTED_BY

#: Decisions of a plan that is not to be executed: read, acknowledged, passed over.
_PASSED_OVER: Final = frozenset({"SKIP", "BLOCKED", "ERROR"})


#: Fields of an intent that are no text: in the stream, where all is text, they are JSON.
NOT_TEXT: Final = frozenset(
    {
        "R_net",
        "close_qty",
        "created_at",
        "k_age_penalty",
        "k_regime_flip",
        "k_sigma_spike",
        "k_ts_drop",
        "kill_score",
        "new_sl_proposed",
        "price",
        "steps",
        "timestamp",
    }
)


@dataclass(frozen=True)
class PassedOver:
    """An entry that asks for nothing: not an EXECUTE, or sent already by `submit()`."""

    why: str


def read_entry(entry_id: str, fields: dict[str, str]) -> ExecuteIntent | PassedOver:
    """Read one entry; its `timestamp`, else the entry's own time, is when the plan was created.

    Raises:
        InvalidIntent: the entry is not a plan.
    """
    if fields.get("submitted_by") == SUBMITTED_BY:
        return PassedOver("sent by submit()")
    decision = fields.get("decision", "")
    if decision in _PASSED_OVER:
        return PassedOver(decision)
    plan: dict[str, Any] = {name: text for name, text in fields.items() if text != ""}
    for name in NOT_TEXT & plan.keys():
        try:
            plan[name] = json.loads(plan[name])
        except (ValueError, RecursionError):
            raise InvalidIntent(f"{name}: {ascii(plan[name])[:60]} is not a JSON value", named_plan(plan)) from None
    created = plan.get("created_at", plan.get("timestamp"))
    plan["created_at"] = created if created is not None else int(entry_id.partition("-")[0]) / 1000
    return parse_intent(plan)

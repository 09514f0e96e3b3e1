"""What an issuer may write about a plan, and how a plan may end that has it."""

import json
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from random import Random
from typing import Any, Final, Literal

from tasks.reasons import Reason

Issuer = Literal["governor", "p33"]
ISSUERS: Final[tuple[Issuer, ...]] = ("governor", "p33")

#: Seconds a permit lives.
TTL_S: Final = 60


class Verdict(StrEnum):
    """What an issuer says. Only `GRANT` lets an order leave."""

    GRANT = "grants"
    DENY = "denies"
    BLOCK_RECORD = "blocks"
    OTHER_SYMBOL = "names another symbol"
    OTHER_PLAN = "names another plan"
    MALFORMED = "malformed"
    NO_QUANTITY = "no quantity"
    NO_EXPIRY = "never expires"
    NOTHING = "says nothing"


_WEIGHTS: Final = {
    Verdict.GRANT: 86,
    Verdict.DENY: 3,
    Verdict.BLOCK_RECORD: 1,
    Verdict.OTHER_SYMBOL: 1,
    Verdict.OTHER_PLAN: 1,
    Verdict.MALFORMED: 2,
    Verdict.NO_QUANTITY: 1,
    Verdict.NO_EXPIRY: 1,
    Verdict.NOTHING: 4,
}

#: Of the permits that are written, this part comes after the wait is over.
_LATE_SHARE: Final = 0.04


@dataclass(frozen=True)
class Permit:
    """What an issuer writes, `after_ms` after the plan was sent; `ttl_s` None: without an expiry."""

    issuer: Issuer
    verdict: Verdict
    after_ms: int
    text: str
    ttl_s: int | None = TTL_S


def reason_for(issuer: Issuer, verdict: Verdict) -> Reason | None:
    """The one reason with which this verdict ends a plan; None for those that end none."""
    if verdict in {Verdict.DENY, Verdict.BLOCK_RECORD}:
        return Reason(f"{issuer}_denied")
    if verdict is Verdict.MALFORMED:
        return Reason(f"invalid_{issuer}_permit")
    return {
        Verdict.OTHER_SYMBOL: Reason.PERMIT_SYMBOL_MISMATCH,
        Verdict.OTHER_PLAN: Reason.PERMIT_PLAN_MISMATCH,
        Verdict.NO_QUANTITY: Reason.INVALID_SAFE_QTY,
        Verdict.NO_EXPIRY: Reason.PERMIT_TTL,
    }.get(verdict)


def make_permit(random: Random, issuer: Issuer, plan_id: str, symbol: str, quantity: Decimal) -> Permit | None:
    """What this issuer says to a plan, and when; None where it says nothing."""
    allowed = [verdict for verdict in _WEIGHTS if _may_say(issuer, verdict)]
    verdict = random.choices(allowed, [_WEIGHTS[verdict] for verdict in allowed])[0]
    after_ms = random.randrange(50, 600)
    if random.random() < _LATE_SHARE:
        after_ms = random.randrange(1_300, 4_000)
    if verdict is Verdict.NOTHING:
        return None
    ttl_s = None if verdict is Verdict.NO_EXPIRY else TTL_S
    return Permit(issuer, verdict, after_ms, _text(random, issuer, verdict, plan_id, symbol, quantity), ttl_s)


def _may_say(issuer: Issuer, verdict: Verdict) -> bool:
    return verdict is not {"governor": Verdict.NO_QUANTITY, "p33": Verdict.BLOCK_RECORD}[issuer]


def grant_text(issuer: Issuer, symbol: str, quantity: Decimal) -> str:
    """A permit that grants."""
    return json.dumps(_grant(issuer, symbol, quantity))


def _grant(issuer: Issuer, symbol: str, quantity: Decimal) -> dict[str, Any]:
    if issuer == "governor":
        return {"granted": True, "symbol": symbol, "decision": "EXECUTE", "consumed": False}
    return {"allow": True, "symbol": symbol, "safe_close_qty": float(quantity)}


def _text(random: Random, issuer: Issuer, verdict: Verdict, plan_id: str, symbol: str, quantity: Decimal) -> str:
    yes = "granted" if issuer == "governor" else "allow"
    changes: dict[Verdict, dict[str, Any]] = {
        Verdict.DENY: {yes: False, "reason": "chaos"},
        Verdict.OTHER_SYMBOL: {"symbol": "ELSEUSDT"},
        Verdict.OTHER_PLAN: {"plan_id": f"{plan_id}x"},
        Verdict.MALFORMED: {yes: random.choice(("true", 1, None))},
        Verdict.NO_QUANTITY: {"safe_close_qty": random.choice((0, -1, float("nan"), "0.01"))},
    }
    named = {"plan_id": plan_id} if random.random() < 0.5 else {}
    return json.dumps(_grant(issuer, symbol, quantity) | named | changes.get(verdict, {}))

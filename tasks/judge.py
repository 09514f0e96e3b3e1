"""The judge: what stands in Redis goes in, one finding comes out. Pure; nothing here reads a clock or a key.

The order of the checks is fixed (CONTRACT "Judging permits"); the first finding wins.
"""

from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal, localcontext
from typing import Final

from tasks.intent import FRACTIONS, ExecuteIntent
from tasks.permit import (
    MAX_DIGITS,
    Defect,
    GovernorPermit,
    Permit,
    PositionPermit,
    read_permit,
    refusal_context,
)
from tasks.reasons import Reason, missing_reason
from tasks.strictjson import MAX_BYTES, describe

#: The kill switch is off only with one of these values, or absent (CONTRACT "Keys").
SWITCH_OFF: Final = frozenset({b"", b"0", b"false", b"off", b"no"})


@dataclass(frozen=True)
class Standing:
    """One permit key as the script saw it.

    Attributes:
        kind: Redis type, `none` where the key does not exist.
        ttl_ms: milliseconds to live, -1 without expiry, -2 where the key does not exist.
        size: bytes of a string, else 0.
        raw: the bytes of a string up to the size limit, else empty.
        from_before: these bytes stood there already when the server changed; it may have forgotten their use.
    """

    name: str
    kind: str
    ttl_ms: int
    size: int
    raw: bytes
    from_before: bool = False


@dataclass(frozen=True)
class Stands:
    """Everything one look found, at one instant of Redis time (epoch milliseconds).

    `first`: this attempt is the one that took the plan up. `known_ms`: when Redis first heard of the plan.
    `server_since_ms`: when the server was restarted or failed over, 0 where it never was.
    """

    now_ms: int
    taken_up_ms: int
    deadline_ms: int
    attempts: int
    first: bool
    switch: bytes
    block_record: bytes | None
    permits: tuple[Standing, ...]
    known_ms: int = 0
    server_since_ms: int = 0

    @property
    def left_ms(self) -> int:
        """Milliseconds until the deadline; 0 or less: nothing is consumed any more."""
        return self.deadline_ms - self.now_ms

    def ttl_s(self, name: str) -> int:
        """Seconds a permit has to live as Redis' TTL tells it: -2 absent, -1 without expiry."""
        for standing in self.permits:
            if standing.name == name:
                return standing.ttl_ms if standing.ttl_ms < 0 else round(standing.ttl_ms / 1000)
        return -2


@dataclass(frozen=True)
class Rules:
    """The settings that the judge needs, in its own words."""

    allowlist: frozenset[str]
    permit_max_ttl_ms: int
    plan_max_age_ms: int
    future_tolerance_ms: int


@dataclass(frozen=True)
class Ready:
    """Every condition holds: these very bytes may be consumed, for this quantity."""

    judged: tuple[bytes, ...]
    safe_qty: Decimal


@dataclass(frozen=True)
class Wait:
    """Nothing speaks against the plan but the absence of permits."""

    missing: frozenset[str]


@dataclass(frozen=True)
class Block:
    """The plan ends here. `detail` says what was found and what was expected."""

    reason: Reason
    detail: str


Finding = Ready | Wait | Block


def judge(stands: Stands, intent: ExecuteIntent, rules: Rules, step: Decimal) -> Finding:
    """Judge one plan on what stands; `step` is the symbol's quantity step.

    Ready is returned for exactly one case: everything holds. All else waits or blocks.
    """
    refusal = _judge_plan(stands, intent, rules)
    if refusal:
        return refusal
    granted: dict[str, Permit] = {}
    for standing in stands.permits:
        verdict = _judge_permit(standing, stands.block_record, intent, rules)
        if isinstance(verdict, Block):
            return verdict
        if verdict is not None:
            granted[standing.name] = verdict
    quantity = _judge_quantities(granted, step)
    if isinstance(quantity, Block):
        return quantity
    required = tuple(standing.name for standing in stands.permits)
    missing = frozenset(required) - frozenset(granted)
    if missing:
        if stands.left_ms > 0:
            return Wait(missing)
        return Block(missing_reason(missing, required), f"not there by the deadline: {', '.join(sorted(missing))}")
    if stands.left_ms <= 0:
        return Block(Reason.DEADLINE_PASSED, f"every permit stood, {-stands.left_ms} ms after the deadline")
    if quantity is None or not granted:
        return Block(Reason.INVALID_SAFE_QTY, "no permit states a quantity")
    return Ready(tuple(standing.raw for standing in stands.permits), quantity)


def _judge_plan(stands: Stands, intent: ExecuteIntent, rules: Rules) -> Block | None:
    if stands.switch not in SWITCH_OFF:
        return Block(Reason.KILL_SWITCH, f"the kill switch is set to {ascii(stands.switch[:40])[1:]}")
    if intent.action not in FRACTIONS:
        return Block(
            Reason.UNSUPPORTED_ACTION,
            f"action {intent.action!a} is not one of {', '.join(sorted(FRACTIONS))}",
        )
    if intent.symbol not in rules.allowlist:
        return Block(Reason.SYMBOL_NOT_ALLOWED, f"symbol {intent.symbol} is not in APPLY_ALLOWLIST")
    created_ms = intent.created_at_ms
    if created_ms is not None:
        age_ms = stands.now_ms - created_ms
        if age_ms > rules.plan_max_age_ms:
            return Block(Reason.PLAN_EXPIRED, f"created {age_ms} ms ago, at most {rules.plan_max_age_ms} are allowed")
        if -age_ms > rules.future_tolerance_ms:
            return Block(
                Reason.PLAN_EXPIRED,
                f"created {-age_ms} ms in the future, at most {rules.future_tolerance_ms} are allowed",
            )
    known_ms = stands.known_ms if created_ms is None else min(stands.known_ms, created_ms)
    if known_ms < stands.server_since_ms:
        return Block(
            Reason.SERVER_CHANGED,
            f"the plan was known {stands.server_since_ms - known_ms} ms before Redis was restarted or failed over",
        )
    return None


def _judge_permit(
    standing: Standing, block_record: bytes | None, intent: ExecuteIntent, rules: Rules
) -> Permit | Block | None:
    """One permit: granted, a reason to end the plan, or None where it is missing."""
    name = standing.name
    invalid = Reason(f"invalid_{name}_permit")
    denied = Reason(f"{name}_denied")
    blocked_by_record = name == "governor" and block_record is not None
    if standing.kind == "none":
        return Block(denied, _refused("a block record", block_record)) if blocked_by_record else None
    if standing.kind != "string":
        return Block(invalid, f"{name} permit: found a Redis {standing.kind}, expected a STRING")
    if standing.size > MAX_BYTES:
        return Block(invalid, f"{name} permit: {standing.size} bytes, at most {MAX_BYTES} are read")
    permit = read_permit(name, standing.raw)
    if isinstance(permit, Defect):
        return Block(invalid, f"{name} permit: {permit.detail}")
    if not permit.grants:
        return Block(denied, _refused(f"the {name} permit", standing.raw))
    if blocked_by_record:
        return Block(denied, _refused("a block record", block_record))
    if permit.symbol != intent.symbol:
        return Block(
            Reason.PERMIT_SYMBOL_MISMATCH,
            f"{name} permit: symbol {describe(permit.symbol)}, plan {intent.symbol}",
        )
    if permit.names_plan and permit.plan_id != intent.plan_id:
        return Block(
            Reason.PERMIT_PLAN_MISMATCH,
            f"{name} permit: plan {describe(permit.plan_id)}, not {intent.plan_id}",
        )
    if standing.from_before:
        return Block(Reason.SERVER_CHANGED, f"{name} permit: it stood there before Redis was restarted or failed over")
    return _judge_ttl(standing, rules) or permit


def _judge_ttl(standing: Standing, rules: Rules) -> Block | None:
    if standing.ttl_ms < 0:
        return Block(Reason.PERMIT_TTL, f"{standing.name} permit: it never expires; write it with SETEX")
    if standing.ttl_ms > rules.permit_max_ttl_ms:
        limit = f"at most {rules.permit_max_ttl_ms} are allowed"
        return Block(Reason.PERMIT_TTL, f"{standing.name} permit: expires in {standing.ttl_ms} ms, {limit}")
    return None


def _refused(by: str, raw: bytes | None) -> str:
    why = refusal_context(raw or b"")
    return f"refused by {by}: {why}" if why else f"refused by {by}, without a readable reason"


def _judge_quantities(granted: dict[str, Permit], step: Decimal) -> Decimal | Block | None:
    """The quantity to close, a reason to end the plan, or None while no permit states one."""
    position = granted.get("p33")
    if not isinstance(position, PositionPermit):
        return None
    stated = position.safe_close_qty
    if not isinstance(stated, Decimal):
        found = "absent" if "safe_close_qty" not in position.model_fields_set else f"found {describe(stated)}"
        return Block(Reason.INVALID_SAFE_QTY, f"p33 permit: safe_close_qty: {found}; expected a JSON number")
    if not stated.is_finite() or len(stated.as_tuple().digits) > MAX_DIGITS or abs(stated.adjusted()) > MAX_DIGITS:
        return Block(
            Reason.INVALID_SAFE_QTY,
            f"p33 permit: safe_close_qty: found {describe(stated)}; not a usable number",
        )
    if position.names_position and stated > position.exchange_position_amt.copy_abs():
        return Block(
            Reason.INVALID_SAFE_QTY,
            f"p33 permit: safe_close_qty {stated} is above the position {position.exchange_position_amt}",
        )
    safe_qty = round_down(stated, step)
    if safe_qty <= 0:
        return Block(
            Reason.INVALID_SAFE_QTY,
            f"p33 permit: safe_close_qty {stated} is {safe_qty} after rounding down to {step}",
        )
    governor = granted.get("governor")
    if isinstance(governor, GovernorPermit) and 0 < governor.computed_qty < safe_qty:
        return Block(
            Reason.QTY_ABOVE_GOVERNOR_LIMIT,
            f"{safe_qty} to close, the Governor computed {governor.computed_qty}",
        )
    return safe_qty


def round_down(quantity: Decimal, step: Decimal) -> Decimal:
    """The largest multiple of `step` that is not above `quantity`, towards zero, exactly."""
    with localcontext(prec=4 * MAX_DIGITS):
        return ((quantity / step).to_integral_value(rounding=ROUND_DOWN) * step).normalize()

"""Why a plan did not become an order: one closed list, from which the documents' table is generated."""

from enum import StrEnum
from itertools import combinations
from typing import Self

#: Every permit there is, in the order in which reasons name them.
PERMIT_NAMES = ("governor", "p33", "p26")


class Reason(StrEnum):
    """Every reason an outcome can carry. `meaning` says what happened, `error` is the seed's form of it."""

    meaning: str
    error: str

    def __new__(cls, value: str, meaning: str = "", error: str = "") -> Self:
        """Bind the code, its meaning and the text of the `error` field (default: the code itself)."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        member.error = error or value
        return member

    KILL_SWITCH = ("kill_switch", "The kill switch was set.")
    INVALID_INTENT = ("invalid_intent", "The message is not a valid EXECUTE intent.")
    UNSUPPORTED_ACTION = ("unsupported_action", "The action is not one that closes a position.")
    SYMBOL_NOT_ALLOWED = ("symbol_not_allowed", "The symbol is not in APPLY_ALLOWLIST.")
    PLAN_EXPIRED = ("plan_expired", "The intent is older than APPLY_PLAN_MAX_AGE_MS, or from the future.")
    PLAN_CONFLICT = ("plan_conflict", "The plan id is known with another symbol, action or decision.")
    SERVER_CHANGED = (
        "server_changed",
        "Redis was restarted or failed over after the plan or a permit was written; it may have forgotten their use.",
    )
    MISSING_BOTH = (
        "missing_both",
        "Neither of the two permits arrived in time.",
        "permit_timeout_or_missing:missing_both",
    )
    MISSING_ALL = (
        "missing_all",
        "None of the three or more required permits arrived in time.",
        "permit_timeout_or_missing:missing_all",
    )
    MISSING_GOVERNOR = (
        "missing_governor",
        "The governor permit did not arrive in time.",
        "permit_timeout_or_missing:missing_governor",
    )
    MISSING_P33 = (
        "missing_p33",
        "The p33 permit did not arrive in time.",
        "permit_timeout_or_missing:missing_p33",
    )
    MISSING_P26 = (
        "missing_p26",
        "The p26 permit did not arrive in time.",
        "permit_timeout_or_missing:missing_p26",
    )
    MISSING_GOVERNOR_P33 = (
        "missing_governor_p33",
        "The governor and p33 permits did not arrive in time.",
        "permit_timeout_or_missing:missing_governor_p33",
    )
    MISSING_GOVERNOR_P26 = (
        "missing_governor_p26",
        "The governor and p26 permits did not arrive in time.",
        "permit_timeout_or_missing:missing_governor_p26",
    )
    MISSING_P33_P26 = (
        "missing_p33_p26",
        "The p33 and p26 permits did not arrive in time.",
        "permit_timeout_or_missing:missing_p33_p26",
    )
    GOVERNOR_DENIED = ("governor_denied", "The Governor refused: a denying permit or a block record.")
    P33_DENIED = ("p33_denied", "The Position State Brain refused.", "p33_permit_denied")
    P26_DENIED = ("p26_denied", "The Portfolio Gate refused.")
    INVALID_GOVERNOR_PERMIT = ("invalid_governor_permit", "The governor permit is malformed.")
    INVALID_P33_PERMIT = ("invalid_p33_permit", "The p33 permit is malformed.", "invalid_p33_permit_format")
    INVALID_P26_PERMIT = ("invalid_p26_permit", "The p26 permit is malformed.")
    PERMIT_SYMBOL_MISMATCH = ("permit_symbol_mismatch", "A permit names another symbol than the plan.")
    PERMIT_PLAN_MISMATCH = ("permit_plan_mismatch", "A permit names another plan.")
    PERMIT_TTL = ("permit_ttl", "A permit never expires, or later than APPLY_PERMIT_MAX_TTL_MS.")
    INVALID_SAFE_QTY = (
        "invalid_safe_qty",
        "The quantity of the p33 permit is not a positive number within the position.",
        "invalid_safe_close_qty",
    )
    QTY_ABOVE_GOVERNOR_LIMIT = (
        "qty_above_governor_limit",
        "The quantity is above the one the Governor computed.",
    )
    DEADLINE_PASSED = ("deadline_passed", "All permits stood, but the wait was over.")
    CANCELLED = ("cancelled", "An operator ended the plan before its permits were consumed.")
    REDIS_UNAVAILABLE = ("redis_unavailable", "Redis could not be asked during the wait.")
    NOT_DURABLE = ("not_durable", "Too few replicas or AOF acknowledged the consumption.")
    INTERRUPTED = (
        "interrupted",
        "Permits were consumed, the worker or the venue's answer was lost, and there is no such order.",
    )
    ORDER_REJECTED = ("order_rejected", "The venue refused the order.")
    ORDER_UNKNOWN = (
        "order_unknown",
        "The order was sent, and what became of it is still not known after every lookup.",
    )


def missing_reason(missing: frozenset[str], required: tuple[str, ...]) -> Reason:
    """Name the absence of `missing` permits out of `required`; the names stand in one fixed order."""
    if len(missing) == len(required):
        return Reason.MISSING_BOTH if len(required) == len(("governor", "p33")) else Reason.MISSING_ALL
    return Reason("missing_" + "_".join(name for name in PERMIT_NAMES if name in missing))


def every_missing_reason() -> frozenset[Reason]:
    """All reasons that mean: a permit was awaited and never came."""
    some = {
        missing_reason(frozenset(names), PERMIT_NAMES)
        for size in range(1, len(PERMIT_NAMES) + 1)
        for names in combinations(PERMIT_NAMES, size)
    }
    return frozenset(some | {Reason.MISSING_BOTH})

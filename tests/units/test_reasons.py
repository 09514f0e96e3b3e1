"""The closed list of reasons."""

import re
from itertools import combinations

import pytest

from tasks.reasons import PERMIT_NAMES, Reason, every_missing_reason, missing_reason

#: CONTRACT "Outcome" (a list of the least), the combinations of three permits that its rule for absence makes, and
#: `cancelled`.
CONTRACT = [
    "kill_switch",
    "invalid_intent",
    "unsupported_action",
    "symbol_not_allowed",
    "plan_expired",
    "plan_conflict",
    "missing_both",
    "missing_governor",
    "missing_p33",
    "governor_denied",
    "p33_denied",
    "p26_denied",
    "invalid_governor_permit",
    "invalid_p33_permit",
    "invalid_p26_permit",
    "permit_symbol_mismatch",
    "permit_plan_mismatch",
    "permit_ttl",
    "invalid_safe_qty",
    "qty_above_governor_limit",
    "deadline_passed",
    "cancelled",
    "redis_unavailable",
    "not_durable",
    "interrupted",
    "order_rejected",
    "order_unknown",
    "missing_all",
    "missing_p26",
    "missing_governor_p33",
    "missing_governor_p26",
    "missing_p33_p26",
]

#: The contract's list is "at least": what it has no word for.
OURS = ["server_changed"]


def test_the_list_is_the_contracts() -> None:
    """Every reason of the contract exists, and no other but ours."""
    assert sorted(CONTRACT + OURS) == sorted(reason.value for reason in Reason)


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_a_meaning(reason: Reason) -> None:
    """A reason is one word for programs and one sentence for people."""
    assert re.fullmatch(r"[a-z][a-z0-9_]*", reason.value)
    assert re.fullmatch(r"[A-Z].+\.", reason.meaning)


def test_the_seeds_errors() -> None:
    """The `error` field keeps the texts that existing programs compare with; elsewhere it is the reason."""
    given = {reason.value: reason.error for reason in Reason if reason.error != reason.value}
    missing = {word: f"permit_timeout_or_missing:{word}" for word in CONTRACT if word.startswith("missing_")}

    assert given == missing | {
        "p33_denied": "p33_permit_denied",
        "invalid_p33_permit": "invalid_p33_permit_format",
        "invalid_safe_qty": "invalid_safe_close_qty",
    }


@pytest.mark.parametrize(
    ("missing", "required", "word"),
    [
        ("governor p33", "governor p33", "missing_both"),
        ("governor", "governor p33", "missing_governor"),
        ("p33", "governor p33", "missing_p33"),
        ("governor p33 p26", "governor p33 p26", "missing_all"),
        ("governor p33", "governor p33 p26", "missing_governor_p33"),
        ("p26 governor", "p26 p33 governor", "missing_governor_p26"),
        ("p26 p33", "p26 p33 governor", "missing_p33_p26"),
        ("p26", "governor p33 p26", "missing_p26"),
    ],
)
def test_absence_is_named(missing: str, required: str, word: str) -> None:
    """The names of what is missing stand in one fixed order, whatever the order of configuration."""
    assert word == missing_reason(frozenset(missing.split()), tuple(required.split()))


def test_every_absence_has_a_reason() -> None:
    """For every part of every set of required permits there is a reason, and it is known as one of absence."""
    found = {
        missing_reason(frozenset(missing), required)
        for size in (2, 3)
        for required in combinations(PERMIT_NAMES, size)
        for some in range(1, size + 1)
        for missing in combinations(required, some)
    }

    assert found == every_missing_reason() == {reason for reason in Reason if reason.startswith("missing_")}

"""The judge, pure: which of several findings wins, and on which side of each bound a plan falls."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.judge import SWITCH_OFF, Block, Finding, Ready, Rules, Standing, Stands, Wait, judge
from tasks.strictjson import MAX_BYTES
from tests.helpers import intent_of

NOW_MS = 1_700_000_000_000
RULES = Rules(
    allowlist=frozenset({"BTCUSDT"}), permit_max_ttl_ms=120_000, plan_max_age_ms=60_000, future_tolerance_ms=5_000
)
STEP = Decimal("0.001")


@dataclass
class Permit:
    """One permit to be judged, granting until changed."""

    content: dict[str, Any]
    kind: str = "string"
    ttl_ms: int = 50_000
    raw: bytes | None = None

    def standing(self, name: str) -> Standing:
        """As the script would report it."""
        if self.kind != "string":
            return Standing(name, self.kind, -2 if self.kind == "none" else self.ttl_ms, 0, b"")
        raw = json.dumps(self.content).encode() if self.raw is None else self.raw
        return Standing(name, "string", self.ttl_ms, len(raw), raw if len(raw) <= MAX_BYTES else b"")


def three_permits() -> dict[str, Permit]:
    """All permits there are, each granting."""
    return {
        "governor": Permit({"granted": True, "symbol": "BTCUSDT", "decision": "EXECUTE", "consumed": False}),
        "p33": Permit({"allow": True, "symbol": "BTCUSDT", "safe_close_qty": 0.008, "exchange_position_amt": 0.062}),
        "p26": Permit({"granted": True, "symbol": "BTCUSDT"}),
    }


@dataclass
class Case:
    """A plan that is ready to be consumed for, until something is changed."""

    intent: dict[str, Any] = field(default_factory=lambda: {"created_at": NOW_MS / 1000})
    switch: bytes = b""
    block_record: bytes | None = None
    left_ms: int = 1_000
    permits: dict[str, Permit] = field(default_factory=three_permits)
    step: Decimal = STEP

    def judged(self) -> Finding:
        """What the judge says."""
        stands = Stands(
            now_ms=NOW_MS,
            taken_up_ms=NOW_MS,
            deadline_ms=NOW_MS + self.left_ms,
            attempts=1,
            first=False,
            switch=self.switch,
            block_record=self.block_record,
            permits=tuple(permit.standing(name) for name, permit in self.permits.items()),
        )
        return judge(stands, intent_of("plan-1", **self.intent), RULES, self.step)

    def reason(self) -> str:
        """The reason of the block; empty where it does not block."""
        finding = self.judged()
        return finding.reason.value if isinstance(finding, Block) else ""


Change = Callable[[Case], object]


def _permit_changes(name: str) -> dict[str, tuple[str, Change]]:
    """One finding per check of one permit, in the order of the checks; they do not touch one another."""
    flag = "allow" if name == "p33" else "granted"

    def content(**fields: Any) -> Change:
        return lambda case: case.permits[name].content.update(fields)

    # A field that only this check reads, so that the others can still be found wrong as well.
    form = {"governor": "computed_qty", "p33": "exchange_position_amt", "p26": "granted"}[name]
    return {
        f"{name} type": (f"invalid_{name}_permit", lambda case: setattr(case.permits[name], "kind", "hash")),
        f"{name} form": (f"invalid_{name}_permit", content(**{form: "text"})),
        f"{name} denial": (f"{name}_denied", content(**{flag: False})),
        f"{name} symbol": ("permit_symbol_mismatch", content(symbol="XRPUSDT")),
        f"{name} plan": ("permit_plan_mismatch", content(plan_id="plan-2")),
        f"{name} TTL": ("permit_ttl", lambda case: setattr(case.permits[name], "ttl_ms", -1)),
    }


def _lose_p26(case: Case) -> None:
    case.left_ms = 0
    case.permits["p26"].kind = "none"


#: Every finding, in the contract's order, with what causes it.
FINDINGS: dict[str, tuple[str, Change]] = {
    "switch": ("kill_switch", lambda case: setattr(case, "switch", b"true")),
    "action": ("unsupported_action", lambda case: case.intent.update(action="UPDATE_SL")),
    "symbol": ("symbol_not_allowed", lambda case: case.intent.update(symbol="ETHUSDT")),
    "age": ("plan_expired", lambda case: case.intent.update(created_at=NOW_MS / 1000 - 61)),
    **_permit_changes("governor"),
    **_permit_changes("p33"),
    **_permit_changes("p26"),
    "quantity": ("invalid_safe_qty", lambda case: case.permits["p33"].content.update(safe_close_qty=0)),
    "limit": ("qty_above_governor_limit", lambda case: case.permits["governor"].content.update(computed_qty=0.001)),
    "absence": ("missing_p26", _lose_p26),
    "deadline": ("deadline_passed", lambda case: setattr(case, "left_ms", 0)),
}


def _meet(first: str, later: str) -> bool:
    """Whether two findings can be there at once."""
    if later == "absence" and first.startswith("p26"):
        return False
    # The form check of p26 spoils the very field that denies; the Governor's spoils its limit.
    return (first, later) not in {("p26 form", "p26 denial"), ("governor form", "limit")}


@pytest.mark.parametrize("first", FINDINGS)
@pytest.mark.fault("F23")
def test_the_first_finding_wins(first: str) -> None:
    """With any later finding there as well, the reason is that of the earlier check."""
    reason, change = FINDINGS[first]
    names = list(FINDINGS)
    found = {}
    for later in names[names.index(first) :]:
        if _meet(first, later):
            case = Case()
            FINDINGS[later][1](case)
            change(case)
            found[later] = case.reason()

    assert dict.fromkeys(found, reason) == found


def test_configured_order_decides_between_permits() -> None:
    """Where two permits end the plan, the one that is configured first gives the reason."""
    case = Case(permits=dict(reversed(three_permits().items())))
    for name in ("governor", "p26"):
        case.permits[name].content["granted"] = False

    assert "p26_denied" == case.reason()


def test_everything_good_is_ready() -> None:
    """A plan without a finding may be consumed for: the judged bytes in configured order, the quantity rounded."""
    case = Case()
    case.permits["p33"].content["safe_close_qty"] = 0.0089
    judged = tuple(permit.standing(name).raw for name, permit in case.permits.items())

    assert Ready(judged, Decimal("0.008")) == case.judged()


@pytest.mark.parametrize("name", ["governor", "p33", "p26"])
@pytest.mark.parametrize("left_ms", [1, 1_200])
def test_only_absence_waits(name: str, left_ms: int) -> None:
    """While there is time, a missing permit makes the plan wait, and is named."""
    case = Case(left_ms=left_ms)
    case.permits[name].kind = "none"

    assert Wait(frozenset({name})) == case.judged()


@pytest.mark.parametrize(
    ("left_ms", "reason"), [(1, ""), (0, "missing_p33"), (-1, "missing_p33"), (-9_999, "missing_p33")]
)
def test_absence_ends_at_the_deadline(left_ms: int, reason: str) -> None:
    """At the deadline and after it a missing permit is waited for no more."""
    case = Case(left_ms=left_ms)
    case.permits["p33"].kind = "none"

    assert reason == case.reason()


@pytest.mark.parametrize("name", ["governor", "p33", "p26"])
def test_a_denial_beats_absence(name: str) -> None:
    """A plan with one denying permit ends at once, though the others are not there."""
    case = Case()
    for other, permit in case.permits.items():
        permit.kind = "string" if other == name else "none"
    case.permits[name].content["allow" if name == "p33" else "granted"] = False

    assert f"{name}_denied" == case.reason()


@pytest.mark.parametrize(
    ("kind", "content", "reason"),
    [
        ("none", {}, "governor_denied"),
        ("string", {}, "governor_denied"),
        ("string", {"symbol": "ETHUSDT"}, "governor_denied"),
        ("string", {"consumed": True}, "invalid_governor_permit"),
        ("hash", {}, "invalid_governor_permit"),
    ],
    ids=["no permit", "granting permit", "mismatching permit", "malformed permit", "permit of another type"],
)
@pytest.mark.parametrize("record", [b"", b"{}", b"\xff", b'{"reason": "daily_limit_exceeded"}'])
def test_a_block_record_denies(kind: str, content: dict[str, Any], reason: str, record: bytes) -> None:
    """Whatever a block record holds, it is the Governor's denial, and stands where a denial stands."""
    case = Case(block_record=record)
    case.permits["governor"].kind = kind
    case.permits["governor"].content |= content

    assert reason == case.reason()


def test_a_denial_carries_the_issuers_reason() -> None:
    """The detail of a denial repeats the issuer's own words, printable and short."""
    case = Case()
    case.permits["p33"].content |= {"allow": False, "reason": "stale\n" + "x" * 500}
    finding = case.judged()
    assert isinstance(finding, Block)

    assert "refused by the p33 permit: stale\\n" + "x" * 193 == finding.detail


@pytest.mark.parametrize("switch", sorted(SWITCH_OFF))
def test_off_values_of_the_switch(switch: bytes) -> None:
    """The five off values of the contract are off."""
    assert frozenset({b"", b"0", b"false", b"off", b"no"}) == SWITCH_OFF
    assert "" == Case(switch=switch).reason()


@pytest.mark.parametrize(
    ("age_ms", "reason"),
    [(0, ""), (60_000, ""), (60_001, "plan_expired"), (-5_000, ""), (-5_001, "plan_expired")],
)
def test_the_age_of_an_intent(age_ms: int, reason: str) -> None:
    """Up to the maximum an intent is young enough, and up to five seconds it may come from the future."""
    assert reason == Case(intent={"created_at": (NOW_MS - age_ms) / 1000}).reason()


def test_an_intent_without_a_date_does_not_age() -> None:
    """`created_at` is optional."""
    assert "" == Case(intent={}).reason()


@pytest.mark.parametrize(
    ("ttl_ms", "reason"), [(-1, "permit_ttl"), (0, ""), (1, ""), (120_000, ""), (120_001, "permit_ttl")]
)
@pytest.mark.parametrize("name", ["governor", "p33", "p26"])
def test_the_life_of_a_permit(name: str, ttl_ms: int, reason: str) -> None:
    """A permit lives at most as long as configured; the script itself refuses the last millisecond, 0."""
    case = Case()
    case.permits[name].ttl_ms = ttl_ms

    assert reason == case.reason()


@pytest.mark.parametrize(
    ("limit", "reason"),
    [(0, ""), (0.0, ""), (0.008, ""), (0.0079999, "qty_above_governor_limit"), (1e-9, "qty_above_governor_limit")],
)
def test_the_governors_limit(limit: float, reason: str) -> None:
    """`computed_qty` above 0 bounds the quantity after rounding; 0 states no bound."""
    case = Case()
    case.permits["p33"].content["safe_close_qty"] = 0.0085
    case.permits["governor"].content["computed_qty"] = limit

    assert reason == case.reason()


def test_without_a_permit_that_states_a_quantity_nothing_is_ready() -> None:
    """Should p33 ever not be required, there is no quantity and no order; an empty list opens nothing either."""
    without_p33 = Case()
    del without_p33.permits["p33"]

    assert ["invalid_safe_qty", "invalid_safe_qty"] == [without_p33.reason(), Case(permits={}).reason()]


def test_ttl_as_redis_tells_it() -> None:
    """For the log a time to live is in seconds, -1 without expiry and -2 where nothing was found."""
    permits = tuple(
        Standing(name, "string", ttl_ms, 0, b"") for name, ttl_ms in [("governor", 49_600), ("p33", -1), ("p26", -2)]
    )
    stands = Stands(0, 0, 0, 1, first=False, switch=b"", block_record=None, permits=permits)

    assert [50, -1, -2, -2] == [stands.ttl_s(name) for name in ("governor", "p33", "p26", "another")]


@settings(max_examples=300, deadline=None, database=None, derandomize=True)
@given(
    name=st.sampled_from(["governor", "p33", "p26"]),
    raw=st.one_of(
        st.binary(max_size=300),
        st.text(max_size=100).map(str.encode),
        st.recursive(
            st.one_of(st.none(), st.booleans(), st.floats(), st.integers(), st.text(max_size=5)),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from(["granted", "allow", "symbol", "plan_id", "x"]), inner, max_size=4)
            ),
        ).map(lambda value: json.dumps(value).encode()),
    ),
)
@pytest.mark.fault("F22")
def test_arbitrary_bytes_never_open_the_gate(name: str, raw: bytes) -> None:
    """Whatever stands in a permit's place, the judge answers, and never with consent."""
    case = Case()
    case.permits[name].raw = raw

    assert isinstance(case.judged(), Block)

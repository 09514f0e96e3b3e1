"""The intent on the wire: strict about types, exact about numbers, generous about what it does not know."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.errors import InvalidIntent
from tasks.intent import FRACTIONS, parse_intent

LEAST = {"plan_id": "f1a8d7f48713d5cf", "symbol": "BTCUSDT", "action": "PARTIAL_75", "decision": "EXECUTE"}

#: The plan of SEED.md with everything a producer may send.
FULL = LEAST | {
    "created_at": 1_700_000_000.25,
    "source": "apply",
    "kill_score": 0.5390,
    "k_regime_flip": 0.0,
    "k_sigma_spike": 0.1084,
    "k_ts_drop": 0.1789,
    "k_age_penalty": 0.0417,
    "new_sl_proposed": 100.2,
    "R_net": 7.0136,
    "reason_codes": "a,b",
    "steps": [{"step": "CLOSE_PARTIAL_75", "type": "market_reduce_only", "side": "close", "pct": 75.0}],
    "close_qty": 0.0075,
    "price": 50_000.0,
    "timestamp": 1_700_000_000,
}


@pytest.mark.parametrize("intent", [LEAST, FULL], ids=["least", "full"])
def test_a_valid_intent_survives_the_wire(intent: dict[str, Any]) -> None:
    """What is given comes back from `wire()` and JSON equal, and nothing is added."""
    parsed = parse_intent(intent)

    assert intent == parsed.wire()
    assert parsed == parse_intent(json.loads(json.dumps(parsed.wire())))
    assert parsed.wire() == json.loads(parsed.model_dump_json(exclude_unset=True))


def test_unknown_fields_are_ignored() -> None:
    """A producer may say more than we know, also inside a step."""
    more = parse_intent(FULL | {"vendor": {"x": [1]}, "steps": [{"step": "a", "note": None}], "granted": True})

    assert FULL | {"steps": [{"step": "a"}]} == more.wire()


@pytest.mark.parametrize("action", [*FRACTIONS, "UPDATE_SL", "HOLD", "x"])
def test_any_action_can_be_sent(action: str) -> None:
    """An action that we do not support is a plan with an outcome of its own, not an invalid message."""
    assert action == parse_intent(LEAST | {"action": action}).action


def test_the_closing_actions() -> None:
    """Three actions close a position, by their parts."""
    parts = {"FULL_CLOSE_PROPOSED": Decimal(1), "PARTIAL_75": Decimal("0.75"), "PARTIAL_50": Decimal("0.5")}

    assert parts == FRACTIONS


@pytest.mark.parametrize(
    ("given_qty", "exact"),
    [(0.0075, "0.0075"), (0.1, "0.1"), (0.29, "0.29"), (3, "3"), (1e-7, "1E-7"), (0, "0"), (10**20, "1E+20")],
)
def test_quantities_are_exact(given_qty: float, exact: str) -> None:
    """A JSON number is the decimal that its author wrote, not the binary fraction nearest to it."""
    quantity = parse_intent(LEAST | {"close_qty": given_qty}).close_qty

    assert Decimal(exact) == quantity
    assert given_qty == parse_intent(LEAST | {"close_qty": given_qty}).wire()["close_qty"]


@settings(max_examples=300, deadline=None, database=None, derandomize=True)
@given(st.floats(min_value=1e-12, max_value=1e15, allow_subnormal=False))
def test_every_number_of_a_market_survives_the_wire(value: float) -> None:
    """A producer's float arrives as the same decimal, however often it is passed on."""
    first = parse_intent(LEAST | {"price": value})
    second = parse_intent(json.loads(json.dumps(first.wire())))

    assert Decimal(repr(value)) == first.price == second.price


BAD_FIELDS: dict[str, list[object]] = {
    "plan_id": [None, 1, "", "a" * 65, "a b", "a:b", "a\n", "\u0661", "\ud800", ["a"]],
    "symbol": [None, 1, "", "B", "A" * 31, "btcusdt", "BTC/USDT", "BTCUSDT\n", " BTCUSDT", "BTC\u0410"],
    "action": [None, 1, "", "x" * 201, True, ["HOLD"]],
    "decision": [None, True, "", "execute", "SKIP", "BLOCKED", " EXECUTE"],
    "created_at": ["1700000000", True, -1, 1e11, float("nan"), float("inf"), 10**400, [], {}],
    "source": [1, True, [], "x" * 201, "\ud800"],
    "kill_score": ["0.5", True, False, float("nan"), float("inf"), float("-inf"), [], {}, 10**28],
    "R_net": ["7.0136", True, float("nan"), "NaN"],
    "close_qty": ["0.0075", True, -0.001, float("nan"), float("inf"), 1e28, 5e-324],
    "price": ["50000", False, float("nan")],
    "timestamp": ["1700000000", True],
    "new_sl_proposed": ["100.2", True],
    "reason_codes": [["a"], 1, "x" * 2001],
    "steps": ["[]", {}, [1], ["x"], [{"pct": "75"}], [{"step": 1}], [{"pct": float("nan")}], [{}] * 33, ({},)],
}


@pytest.mark.parametrize(
    ("name", "value"),
    [pytest.param(name, value, id=f"{name}={value!a}"[:60]) for name, values in BAD_FIELDS.items() for value in values],
)
@pytest.mark.fault("F36")
def test_wrong_types_are_refused(name: str, value: object) -> None:
    """Nothing is coerced: each wrong value is refused, by the name of its field."""
    with pytest.raises(InvalidIntent) as refused:
        parse_intent(FULL | {name: value})

    assert refused.value.detail.startswith(name)
    assert refused.value.detail.isprintable()


@pytest.mark.parametrize("name", LEAST)
def test_required_fields(name: str) -> None:
    """Without any one of the four required fields there is no intent."""
    with pytest.raises(InvalidIntent, match=f"^{name}: Field required"):
        parse_intent({other: value for other, value in LEAST.items() if other != name})


@pytest.mark.parametrize("candidate", [None, True, 1, "x", b"{}", [], [LEAST], json.dumps(LEAST)])
def test_only_a_mapping_is_an_intent(candidate: object) -> None:
    """Anything but an object is refused and names no plan."""
    with pytest.raises(InvalidIntent, match=r"^intent: ") as refused:
        parse_intent(candidate)

    assert (None, False) == (refused.value.plan_id, refused.value.decision_only)


@pytest.mark.parametrize(
    ("change", "plan_id", "decision_only"),
    [
        ({"decision": "SKIP"}, LEAST["plan_id"], True),
        ({"decision": None}, LEAST["plan_id"], True),
        ({"decision": "SKIP", "symbol": 1}, LEAST["plan_id"], False),
        ({"symbol": 1}, LEAST["plan_id"], False),
        ({"plan_id": 7}, None, False),
        ({"plan_id": "a:b", "decision": "SKIP"}, None, False),
        ({"plan_id": "a\n"}, None, False),
    ],
)
def test_a_refusal_names_the_plan_where_it_can(
    change: dict[str, object],
    plan_id: str | None,
    decision_only: bool,  # noqa: FBT001 - a case
) -> None:
    """A refused message is traced to its plan by a well formed id, and told apart when only `decision` is wrong."""
    with pytest.raises(InvalidIntent) as refused:
        parse_intent(LEAST | change)

    assert (plan_id, decision_only) == (refused.value.plan_id, refused.value.decision_only)


def test_many_findings_stay_one_line() -> None:
    """The first four findings are told, the others counted."""
    with pytest.raises(InvalidIntent, match=r"^plan_id: .+; symbol: .+; action: .+; decision: .+; and 2 more$"):
        parse_intent({"source": 1, "price": "1"})


def test_findings_do_not_repeat_what_was_sent() -> None:
    """A refusal shows no value: it goes to logs, and the message is somebody else's."""
    with pytest.raises(InvalidIntent) as refused:
        parse_intent(LEAST | {"source": ["hunter2"], "price": "hunter2"})

    assert "hunter2" not in refused.value.detail


def test_the_content_of_a_plan() -> None:
    """Symbol, action and decision make two messages the same plan; nothing else does."""
    assert "BTCUSDT|PARTIAL_75|EXECUTE" == parse_intent(LEAST).content == parse_intent(FULL).content


@pytest.mark.parametrize(
    ("created_at", "created_ms"),
    [(1_700_000_000, 1_700_000_000_000), (1_700_000_000.0019, 1_700_000_000_001), (0.29, 290), (0, 0)],
)
def test_the_date_in_milliseconds(created_at: float, created_ms: int) -> None:
    """Epoch seconds become whole milliseconds, rounded down on the decimal figure."""
    assert created_ms == parse_intent(LEAST | {"created_at": created_at}).created_at_ms


def test_an_intent_cannot_be_changed() -> None:
    """What was validated stays as it was."""
    intent = parse_intent(LEAST)

    with pytest.raises(ValueError, match="frozen"):
        intent.symbol = "ETHUSDT"  # type: ignore[misc] # this is what must fail

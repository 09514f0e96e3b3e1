"""The outcome, from its end in the worker to whoever reads it back."""

import json
from decimal import Decimal
from typing import Any

import pytest

from tasks.outcome import STATES, Decision, Ending, Outcome, outcome_from_fields, plain
from tasks.reasons import Reason

#: CONTRACT "Outcome".
FIELDS = [
    *("plan_id", "symbol", "decision", "executed", "would_execute", "reason", "error", "wait_ms", "attempts"),
    *("safe_qty", "client_order_id", "steps_results", "timestamp"),
]

PLACED = {"step": "PARTIAL_75", "status": "filled", "order_id": "paper-1", "reduce_only": True}


def stored(ending: Ending) -> dict[str, str]:
    """What the record holds: the ending's fields and what the script adds."""
    flat = ending.fields()
    return dict(zip(flat[::2], flat[1::2], strict=True)) | {"attempts": "3", "wait_ms": "345", "timestamp": "1.5"}


def test_an_execution_survives_the_round_trip() -> None:
    """Every fact of an execution comes back from its text fields as it went in."""
    ending = Ending(
        decision="EXECUTE",
        plan_id="plan-1",
        symbol="BTCUSDT",
        executed=True,
        safe_qty="0.008",
        client_order_id="pw-1",
        steps_results=(PLACED,),
    )

    expected = Outcome(
        decision="EXECUTE",
        reason="",
        plan_id="plan-1",
        symbol="BTCUSDT",
        executed=True,
        would_execute=False,
        wait_ms=345,
        attempts=3,
        safe_qty="0.008",
        error="",
        client_order_id="pw-1",
        timestamp=1.5,
        steps_results=[PLACED],
    )

    assert expected == outcome_from_fields(stored(ending))


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_survives_the_round_trip(reason: Reason) -> None:
    """Reason and error text of a block come back as they are in the list."""
    outcome = outcome_from_fields(stored(Ending(decision="BLOCKED", plan_id="p", symbol="", reason=reason)))

    assert (reason.value, reason.error, False) == (outcome.reason, outcome.error, outcome.executed)


def test_the_fields_of_the_stream() -> None:
    """A result entry has exactly the contract's fields, all text, with Python's own `True` and `False`."""
    entry = stored(Ending(decision="EXECUTE", plan_id="p", symbol="S", would_execute=True))

    assert sorted(FIELDS) == sorted(entry)
    assert ("False", "True", "[]") == (entry["executed"], entry["would_execute"], entry["steps_results"])
    assert all(isinstance(value, str) for value in entry.values())


def test_the_result_is_plain_json() -> None:
    """What the task returns has the contract's fields, short facts first, and survives JSON."""
    result = outcome_from_fields(stored(Ending(decision="EXECUTE", plan_id="p", symbol="S"))).as_result()

    assert sorted(FIELDS) == sorted(result)
    assert ["decision", "reason"] == list(result)[:2]
    assert "steps_results" == list(result)[-1]
    assert result == json.loads(json.dumps(result))


@pytest.mark.parametrize("name", FIELDS)
def test_an_unfinished_record_is_no_outcome(name: str) -> None:
    """With any field missing there is no outcome, not half of one."""
    fields = stored(Ending(decision="EXECUTE", plan_id="p", symbol="S"))
    del fields[name]

    with pytest.raises(KeyError, match=name):
        outcome_from_fields(fields)


@pytest.mark.parametrize("change", [{"decision": "MAYBE"}, {"wait_ms": "soon"}, {"steps_results": "["}])
def test_a_spoiled_record_is_no_outcome(change: dict[str, Any]) -> None:
    """Values that this version does not know are refused, not passed on."""
    fields = stored(Ending(decision="EXECUTE", plan_id="p", symbol="S")) | change

    with pytest.raises(ValueError):  # noqa: PT011 - JSON, numbers and the model each have their own kind of it
        outcome_from_fields(fields)


def test_every_decision_has_its_state() -> None:
    """The record's terminal states are one per decision, and none of them is a state of an open plan."""
    decisions: list[Decision] = ["EXECUTE", "BLOCKED", "REJECTED", "UNKNOWN"]

    assert {"EXECUTE": "done", "BLOCKED": "blocked", "REJECTED": "rejected", "UNKNOWN": "unknown"} == STATES
    assert decisions == list(STATES)


@pytest.mark.parametrize(
    ("quantity", "text"), [("1E+3", "1000"), ("8E-3", "0.008"), ("1E-10", "0.0000000001"), ("0", "0")]
)
def test_quantities_are_written_without_an_exponent(quantity: str, text: str) -> None:
    """A quantity is plain decimal text, digit by digit."""
    assert text == plain(Decimal(quantity))

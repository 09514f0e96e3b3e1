"""Advice for every reason, in the documents and for one plan; every command in it exists."""

import json
import re
import shlex
from dataclasses import replace
from typing import Any, Final

import pytest
from typer.main import get_command

import ops.cli
from ops.advice import ADVICE
from ops.advice_words import again, age, at
from ops.case import Case, Searched
from ops.commands import app
from ops.diagnosis import diagnose
from ops.timeline import Event, in_words
from tasks.intent import parse_intent
from tasks.keys import Keys
from tasks.reasons import Reason
from tasks.settings import Settings

EMPTY: Final = Case(
    plan_id="plan-1",
    now_ms=0,
    keys=Keys(),
    settings=Settings(_env_file=None),
    record={},
    outcome={},
    events=(),
    set_aside=(),
    switch="",
    switch_info={},
    halts=(),
    alive=frozenset(),
    searched=Searched(0, "", 0),
)

KNOWN: Final = {
    "content": "BTCUSDT|PARTIAL_75|EXECUTE",
    "intent": '{"plan_id": "plan-1", "symbol": "BTCUSDT", "action": "PARTIAL_75", "decision": "EXECUTE"}',
}


def ended(reason: Reason, **record: str) -> Case:
    """A plan that ended for a reason, with as few facts as there can be."""
    outcome = {"plan_id": "plan-1", "symbol": "BTCUSDT", "decision": "BLOCKED", "reason": reason.value}
    return replace(EMPTY, record=KNOWN | record | outcome if record else {}, outcome=outcome)


def test_every_reason_has_advice_and_no_other() -> None:
    """One entry each, in one place."""
    assert {reason.value for reason in Reason} == ADVICE.keys()


@pytest.mark.parametrize("reason", Reason)
def test_advice_is_a_sentence_that_needs_no_facts(reason: Reason) -> None:
    """For the documents; and the little that a result entry tells is enough to say something about a plan."""
    told = diagnose(ended(reason))

    assert re.fullmatch(r"[A-Z].+\.", ADVICE[reason.value].todo)
    assert reason.meaning in told.what
    assert told.todo
    assert "None" not in told.why + told.todo


def commands_of(text: str) -> list[str]:
    """Every command of ours in a text, as words."""
    return re.findall(r"`(permitwait [^`]+|celery [^`]+)`", text)


@pytest.mark.parametrize("reason", Reason)
def test_every_command_in_the_advice_exists(reason: Reason) -> None:
    """Commands of ours are known with every option shown, and the others are Celery's for our application."""
    told = diagnose(ended(reason, taken_up_ms="1"))
    shown = [*commands_of(ADVICE[reason.value].todo), *commands_of(told.paragraph), *told.commands]
    known: Any = get_command(app)
    for command in shown:
        words = shlex.split(command.replace("\\\n", " ").split("| ")[-1])
        if words[0] == "permitwait":
            options = {name for each in known.commands[words[1]].params for name in (*each.opts, *each.secondary_opts)}
            assert {word for word in words if word.startswith("--")} <= options
        else:
            assert words[:3] == ["celery", "-A", "workers"] or words[0] == "export"


def test_the_tool_is_whole() -> None:
    """The commands that the test above asks for are those of the console script."""
    assert app is vars(ops.cli)["app"]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"close_qty": 0.0075, "kill_score": 0.539, "source": "brain", "created_at": 1.0},
        {"source": 'it\'s \\n a "name"'},
        {"plan_id": "x" * 64, "symbol": "A" * 30},
    ],
)
def test_a_plan_is_sent_again_as_it_was(fields: dict[str, Any]) -> None:
    """The shell's line is a valid intent with a new id, what decides is the same, past moments are left out."""
    plan = {"plan_id": "plan-1", "symbol": "BTCUSDT", "action": "PARTIAL_75", "decision": "EXECUTE"} | fields
    intent = parse_intent(plan)
    case = replace(EMPTY, plan_id=intent.plan_id, record=KNOWN | {"content": intent.content, "intent": intent.text})
    [command] = again(case)
    sent = parse_intent(json_of(command))

    assert intent.content == sent.content
    assert (intent.close_qty, intent.kill_score) == (sent.close_qty, sent.kill_score)
    assert sent.plan_id != intent.plan_id
    assert sent.created_at is None
    assert [] == [line for line in command.splitlines() if len(line) > 76 and len(intent.plan_id) < 32]


def json_of(command: str) -> Any:
    """What echo would print."""
    words = shlex.split(command.replace("\\\n", " "))
    return json.loads(" ".join(words[1 : words.index("|")]))


def test_what_is_not_known_is_not_sent_again() -> None:
    """Without symbol and action there is no command."""
    assert () == again(EMPTY)


@pytest.mark.parametrize(
    ("ms", "shown"),
    [(5, "5 ms"), (1500, "1.5 s"), (61_000, "61 s"), (130_000, "2 min"), (7_300_000, "2 h"), (0, "0 ms")],
)
def test_ages(ms: int, shown: str) -> None:
    """In the unit that fits."""
    assert shown == age(ms)


def test_moments() -> None:
    """UTC, and what is none says so."""
    assert "1970-01-01 00:00:01 UTC" == at(1000)
    assert ["an unknown time"] * 3 == [at(None), at("soon"), at("9" * 30)]


def test_events_of_another_version_are_shown_as_they_are() -> None:
    """A kind that is not known, and known kinds without their facts, are told as far as they go."""
    assert ("new kind", "a 1, b 2") == in_words(Event(0, "new_kind", {"a": "1", "b": "2"}), Keys(), "plan-1")
    kinds = ("governor", "position", "consumed", "ended", "resolved", "repeat", "set_aside", "looked_up", "taken_up")

    assert all(in_words(Event(0, kind, {}), Keys(), "plan-1")[0] for kind in kinds)

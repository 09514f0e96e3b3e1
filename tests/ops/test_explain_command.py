"""`permitwait explain`: plans in progress, plans long gone, messages that were none, and what a terminal can bear."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
import redis

from tasks.act import execute_once
from tasks.errors import InvalidIntent
from tasks.parts import Parts
from tasks.refuse import refuse
from tasks.settings import Settings
from tasks.submit import _register
from tests.helpers import GOVERNOR, grant, hold, intent_of, run_to_outcome
from tests.ops import provoked
from tests.ops.explain_stand import Stand, stand_of


@pytest.fixture
def stand(
    settings: Settings,
    make_parts: Callable[..., Parts],
    client: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Stand:
    """0.062 BTCUSDT are held."""
    made = stand_of(settings, make_parts, client, monkeypatch, capsys)
    hold(client, made.keys)
    return made


def flat(text: str) -> str:
    """Without the breaks that 80 columns make."""
    return " ".join(text.split())


def test_an_executed_plan(stand: Stand) -> None:
    """Its order, its wait, and nothing to do; the same facts as JSON."""
    stand.play(source="brain", created_at=provoked.now_s(stand))
    screen, told = flat(stand.screen()), stand.explained()

    assert "EXECUTE executed" in screen
    assert "source brain, created 20" in screen
    assert "as order paper-1 (SELL)" in screen
    assert "Nothing to do." in screen
    assert ("True", "done") == (told["outcome"]["executed"], told["state"])
    assert ["submitted", "taken_up"] == [entry["event"] for entry in told["timeline"]][:2]
    assert 0 == told["timeline"][1]["after_take_up_ms"]
    assert [] == told["diagnosis"]["commands"]


def test_a_dry_run(stand: Stand) -> None:
    """It says that no order was made, and how to have one."""
    stand.configure(mode="dry_run")
    stand.play()

    assert "Dry run: every permit was there" in flat(stand.screen())
    assert "APPLY_MODE=paper" in flat(stand.screen())


def test_a_registered_plan(stand: Stand) -> None:
    """It says that no worker has it, and how to see whether one runs."""
    _register(intent_of(), stand.parts.settings, [])
    screen = flat(stand.screen())

    assert "no worker has taken it up yet" in screen
    assert "celery -A workers inspect ping" in screen


def test_a_waiting_plan(stand: Stand) -> None:
    """What it waits for, until when, and what becomes of it then."""
    stand.begin(intent_of())
    stand.client.set(stand.keys.permit("governor", "plan-1"), GOVERNOR, ex=60)
    execute_once(stand.parts, intent_of())
    screen = flat(stand.screen())

    assert "It waits for p33, for " in screen
    assert "then it blocks as missing_p33" in screen
    assert "permitwait open --cancel plan-1" in screen


def test_a_waiting_plan_that_nobody_ends(stand: Stand) -> None:
    """After its deadline it says that a worker is missing."""
    stand.begin(intent_of(), provoked.IN_VAIN_MS)
    stand.client.hset(stand.keys.record("plan-1"), "deadline_ms", "1000")

    assert "nobody has ended it yet" in flat(stand.screen())


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({}, "holds the claim to order. That claim ends in"),
        ({"lease_until_ms": "1000"}, "No worker has done so"),
        ({"recovering": "1", "lookups": "3"}, "is being looked up (3 lookups so far)"),
    ],
)
def test_a_consumed_plan(stand: Stand, record: dict[str, str], said: str) -> None:
    """Whose claim it is, until when, and what the next worker does."""
    provoked.lose_worker(stand)
    for name, value in record.items():
        stand.client.hset(stand.keys.record("plan-1"), name, value)

    assert said in flat(stand.screen())
    assert "celery@lost" in stand.screen()


def test_a_plan_whose_record_is_gone(stand: Stand) -> None:
    """The result stream still tells how it ended, and why."""
    stand.play(symbol="ETHUSDT")
    stand.client.delete(stand.keys.record("plan-1"), stand.keys.timeline("plan-1"))
    told, screen = stand.explained(), flat(stand.screen())

    assert ("results", "symbol_not_allowed") == (told["found_in"], told["outcome"]["reason"])
    assert "no timeline (any more): told from its result entry" in screen
    assert "APPLY_ALLOWLIST" in screen


def test_a_plan_that_nobody_knows(stand: Stand) -> None:
    """Exit 1, with every place that was looked at."""
    stand.play("another")
    said, document = stand.run("explain", "plan-1"), stand.run("explain", "plan-1", "--json")
    looked_in = json.loads(document.out)["looked_in"]

    assert (1, 1) == (said.code, document.code)
    assert "nothing is known of plan-1" in said.out
    assert "not among 1 results since 20" in said.out
    assert [] == [line for line in said.out.splitlines() if len(line) > 80]
    assert {stand.keys.record("plan-1"), stand.keys.timeline("plan-1"), stand.keys.results, stand.keys.rejected} == set(
        looked_in
    )


def test_a_message_that_was_no_plan(stand: Stand) -> None:
    """Under its task id it says what was wrong, which plan it named, and what it began with."""
    stand.begin(intent_of())
    refuse(stand.parts, InvalidIntent("symbol: must be text", "plan-1"), "task-9", {"symbol": 5})
    screen, plan = flat(stand.screen("task-9")), flat(stand.screen())

    assert "No plan: a message under this id was set aside" in screen
    assert "symbol: must be text" in screen
    assert "It names plan plan-1" in screen
    assert "The message began: {'symbol': 5}." in screen
    assert "1 message under this id set aside, the newest: invalid_intent" in plan


def test_an_entry_that_was_no_message(stand: Stand) -> None:
    """Junk of a queue has no id; a reason of no plan is told as it is."""
    stand.parts.gate.keep_junk("execute", b"junk", "not JSON")
    stand.client.xadd(stand.keys.rejected, {"task_id": "task-1", "plan_id": "", "reason": "undecodable", "detail": "x"})

    assert "undecodable" in flat(stand.screen("task-1"))


def test_looks_that_saw_the_same_are_summed_up(stand: Stand) -> None:
    """How many, when the last, and how long the permits that stood had to live."""
    stand.begin(intent_of(), provoked.IN_VAIN_MS)
    stand.client.set(stand.keys.permit("governor", "plan-1"), GOVERNOR, ex=60)
    for _ in range(5):
        execute_once(stand.parts, intent_of())
    run_to_outcome(stand.parts, intent_of())

    assert "saw the same, this was the last, governor " in flat(stand.screen())


def test_what_others_wrote_cannot_move_the_cursor(stand: Stand) -> None:
    """Escape sequences in permits, reasons and messages are shown as text."""
    stand.begin(intent_of())
    grant(stand.client, stand.keys, "plan-1")
    nasty = '{"allow": false, "symbol": "BTCUSDT", "reason": "\\u001b[2J\\u202e\\n"}'
    stand.client.set(stand.keys.permit("p33", "plan-1"), nasty, ex=60)
    refuse(stand.parts, InvalidIntent("\x1b[31m\r\n", "plan-1"), "task-9", {})
    run_to_outcome(stand.parts, intent_of())

    assert "\\x1b[2J" in stand.screen()
    assert json.loads(stand.run("explain", "plan-1", "--json").out)["found"]


def test_the_longest_plan_id_fits(stand: Stand) -> None:
    """64 characters, on 80 columns."""
    stand.play("x" * 64)

    assert "x" * 64 in stand.screen("x" * 64)


@pytest.mark.parametrize("plan_id", ["", "a b", "\x1b[31m", "x" * 301])
def test_what_can_be_no_id_is_a_usage_error(stand: Stand, plan_id: str) -> None:
    """Exit 2."""
    assert 2 == stand.run("explain", plan_id).code


def test_a_redis_that_is_away(stand: Stand) -> None:
    """Exit 3, in one line."""
    stand.set_env("APPLY_REDIS_URL", "redis+socket:///nowhere.sock")
    said = stand.run("explain", "plan-1")

    assert (3, "") == (said.code, said.out)
    assert 1 == len(said.err.splitlines())


def test_who_set_the_switch_is_told_as_it_was(stand: Stand) -> None:
    """Also when somebody else has set it since, or it was cleared."""
    stand.run("halt", "--reason", "first")
    stand.play()
    stand.run("resume", "--yes")
    stand.run("halt", "--reason", "second")
    stand.run("resume", "--yes")
    screen = flat(stand.screen())

    assert ": first." in screen
    assert "second" not in screen
    assert "It is off now" in screen
    assert "permitwait resume" not in screen


def test_names_of_processes_without_one(stand: Stand) -> None:
    """Where nobody gave the executor a name, that is said."""
    stand.parts = replace(stand.parts, name="")
    stand.begin(intent_of())

    assert "an unnamed process" in flat(stand.screen())

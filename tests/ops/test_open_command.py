"""`permitwait open`: what is unfinished, what is unknown, what was set aside; and to end one of them by hand."""

import io
import json
from collections.abc import Callable
from typing import Any

import pytest
import redis

from tasks.errors import InvalidIntent
from tasks.parts import Parts
from tasks.refuse import refuse
from tasks.settings import Settings
from tasks.submit import _register
from tests.helpers import GOVERNOR, grant, hold, intent_of, orders_of, record_of, results_of, run_to_outcome
from tests.ops import provoked
from tests.ops.command_call import Terminal
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


def listed(stand: Stand, *more: str) -> dict[str, Any]:
    """The list, as JSON; the screen's lines are checked on the way."""
    screen = stand.run("open", *more)
    assert [] == [line for line in screen.out.splitlines() if len(line) > 80 or not line.isprintable()]
    said = stand.run("open", "--json", *more)
    assert (0, 0) == (screen.code, said.code)
    document: dict[str, Any] = json.loads(said.out)
    return document


def test_nothing_is_open(stand: Stand) -> None:
    """Exit 0, and it says so."""
    assert {"number": 0, "plans": [], "unknown": [], "set_aside": []} == listed(stand)
    assert "no unfinished plans" in stand.run("open").out


def test_every_state_is_listed(stand: Stand) -> None:
    """Registered, waiting (for what), consumed (whose), by the time they fall due; what has ended is not there."""
    provoked.lose_worker(stand)
    _register(intent_of("registered"), stand.parts.settings, [])
    stand.begin(intent_of("waiting"))
    stand.client.set(stand.keys.permit("governor", "waiting"), GOVERNOR, ex=60)
    stand.parts.gate.look(intent_of("waiting"), "t")
    stand.play("ended", symbol="ETHUSDT")
    found = listed(stand)
    plans = {plan["plan_id"]: plan for plan in found["plans"]}
    dues = [plan["due_in_ms"] for plan in found["plans"]]

    assert 3 == found["number"]
    assert {"plan-1": "consumed", "registered": "registered", "waiting": "waiting"} == {
        name: plan["state"] for name, plan in plans.items()
    }
    assert ("p33", "a worker") == (plans["waiting"]["waits_for"], plans["registered"]["waits_for"])
    assert "celery@lost" == plans["plan-1"]["claimant"]
    assert 0 < plans["plan-1"]["lease_left_ms"] <= 10_000
    assert sorted(dues) == dues
    assert all(plan["age_ms"] >= 0 for plan in found["plans"])


def test_unknown_orders_are_listed_until_they_are_resolved(stand: Stand) -> None:
    """With what is needed to look them up."""
    provoked.order_unknown(stand)
    [order] = listed(stand)["unknown"]
    stand.run("open", "--resolve", "plan-1", "--not-executed", "--yes")

    assert ("plan-1", "0.046") == (order["plan_id"], order["qty"])
    assert order["client_order_id"].startswith("pw-")
    assert [] == listed(stand)["unknown"]


def test_messages_set_aside_are_listed_newest_first(stand: Stand) -> None:
    """At most so many, and what they say cannot move the cursor."""
    for number in range(30):
        refuse(stand.parts, InvalidIntent(f"\x1b[2J{number}"), f"task-{number}", {})

    assert [f"task-{number}" for number in range(29, 24, -1)] == [
        entry["task_id"] for entry in listed(stand, "--most", "5")["set_aside"]
    ]


def test_a_long_list_says_that_there_is_more(stand: Stand) -> None:
    """The number is that of all."""
    for number in range(7):
        _register(intent_of(f"p{number}"), stand.parts.settings, [])

    assert (7, 3) == ((found := listed(stand, "--most", "3"))["number"], len(found["plans"]))
    assert "7 unfinished plans; the first 3" in stand.run("open", "--most", "3").out


def test_a_plan_without_its_record_is_listed(stand: Stand) -> None:
    """Junk in the index is shown, not hidden."""
    stand.client.zadd(stand.keys.open, {"junk": 1})

    assert [("junk", "no record")] == [(plan["plan_id"], plan["state"]) for plan in listed(stand)["plans"]]


@pytest.mark.parametrize(
    ("more", "typed", "code"),
    [((), None, 1), ((), "n\n", 1), ((), "\n", 1), ((), "y\n", 0), (("--yes",), None, 0)],
)
def test_only_a_confirmed_cancel_ends_a_plan(stand: Stand, more: tuple[str, ...], typed: str | None, code: int) -> None:
    """It shows the plan and asks; without a terminal nobody says yes."""
    stand.begin(intent_of())
    stdin = io.StringIO("y\n") if typed is None else Terminal(typed)
    said = stand.run("open", "--cancel", "plan-1", "--by", "alice", "--reason", "wrong size", *more, stdin=stdin)

    assert code == said.code
    assert "plan plan-1: BTCUSDT PARTIAL_75 EXECUTE, waiting" in said.err
    assert ("waiting" if code else "blocked") == record_of(stand.client, stand.keys, "plan-1")["state"]
    assert ([] if code else ["cancelled"]) == [entry["reason"] for entry in results_of(stand.client, stand.keys)]


def test_who_cancels_is_the_person_behind_sudo(stand: Stand) -> None:
    """SUDO_USER where there is one, else the login; --by says otherwise."""
    for plan_id, more in (("p1", ()), ("p2", ("--by", "bob"))):
        stand.begin(intent_of(plan_id))
        stand.set_env("SUDO_USER", "carol")
        stand.run("open", "--cancel", plan_id, "--yes", *more)

    assert ["carol", "bob"] == [record_of(stand.client, stand.keys, plan)["ended_who"] for plan in ("p1", "p2")]


def test_a_consumed_plan_is_not_cancelled(stand: Stand) -> None:
    """Exit 1 with the reason, as JSON too, and the plan goes its way."""
    provoked.lose_worker(stand)
    said = stand.run("open", "--cancel", "plan-1", "--yes", "--json")
    document = json.loads(said.out)

    assert (1, False) == (said.code, document["cancelled"])
    assert "its order may be on the way" in document["refused"]
    assert "consumed" == record_of(stand.client, stand.keys, "plan-1")["state"]


def test_a_resolution_is_shown_asked_and_told(stand: Stand) -> None:
    """What the venue says comes first; then the question; then one document."""
    provoked.order_unknown(stand)
    arguments = ("open", "--resolve", "plan-1", "--executed", "4711,0.046,SELL", "--json")
    asked = stand.run(*arguments, stdin=Terminal("n\n"))
    done = stand.run(*arguments, stdin=Terminal("y\n"))
    document = json.loads(done.out)

    assert (1, 0) == (asked.code, done.code)
    assert "paper shows no such order for pw-" in done.err
    assert "Record that plan plan-1 was executed: order 4711, SELL 0.046?" in done.err
    assert (True, "executed", "0.016", None) == tuple(
        document[name] for name in ("resolved", "found", "ledger_amt", "outcome")
    )


def test_what_the_venue_knows_better_is_not_recorded(stand: Stand) -> None:
    """An order that the venue shows was executed, and is no other order."""
    stand.play()
    order = orders_of(stand.client, stand.keys)[0]
    stand.client.hset(stand.keys.record("plan-1"), "state", "unknown")
    wrong = [
        stand.run("open", "--resolve", "plan-1", "--yes", *found)
        for found in (
            ("--not-executed",),
            ("--executed", "4711,0.046,SELL"),
            ("--executed", f"{order['order_id']},0.046,BUY"),
        )
    ]
    right = stand.run("open", "--resolve", "plan-1", "--executed", f"{order['order_id']},0.046,SELL", "--yes")

    assert [1, 1, 1, 0] == [said.code for said in (*wrong, right)]
    assert all(f"paper has order {order['order_id']}: SELL 0.046" in said.out for said in wrong)


def test_an_order_sent_to_another_venue_is_not_asked_for_here(stand: Stand) -> None:
    """This shell's venue knows nothing of it, and must not be believed."""
    provoked.order_unknown(stand)
    stand.client.hset(stand.keys.record("plan-1"), "venue", "binance")
    said = stand.run("open", "--resolve", "plan-1", "--not-executed", "--yes")

    assert 0 == said.code
    assert "not asked: the order was sent to binance, this shell is set to paper" in said.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("--cancel", "a", "--resolve", "b", "--not-executed"),
        ("--resolve", "plan-1"),
        ("--not-executed",),
        ("--executed", "1,1,BUY"),
        ("--resolve", "plan-1", "--executed", "1,1,BUY", "--not-executed"),
        ("--resolve", "plan-1", "--executed", "1,1"),
        ("--resolve", "plan-1", "--executed", "1,0,SELL"),
        ("--resolve", "plan-1", "--executed", "1,0.000,SELL"),
        ("--resolve", "plan-1", "--executed", "1,-1,SELL"),
        ("--resolve", "plan-1", "--executed", "1,NaN,SELL"),
        ("--resolve", "plan-1", "--executed", "1,1e3,SELL"),
        ("--resolve", "plan-1", "--executed", "1,1,sell"),
        ("--resolve", "plan-1", "--executed", ",1,SELL"),
        ("--resolve", "plan-1", "--executed", "a,b,1,SELL"),
        ("--cancel", "a:b"),
        ("--most", "0"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(stand: Stand, arguments: tuple[str, ...]) -> None:
    """Exit 2, and nothing is changed."""
    provoked.order_unknown(stand)
    before = record_of(stand.client, stand.keys, "plan-1")

    assert 2 == stand.run("open", *arguments, "--yes").code
    assert before == record_of(stand.client, stand.keys, "plan-1")


def test_a_redis_that_is_away(stand: Stand) -> None:
    """Exit 3."""
    stand.set_env("APPLY_REDIS_URL", "redis+socket:///nowhere.sock")

    assert [3, 3] == [stand.run("open").code, stand.run("open", "--cancel", "plan-1", "--yes").code]


def test_a_cancelled_plan_takes_no_permit(stand: Stand) -> None:
    """Permits that come after it stay where they are."""
    stand.begin(intent_of())
    stand.run("open", "--cancel", "plan-1", "--yes")
    grant(stand.client, stand.keys, "plan-1")

    assert "cancelled" == run_to_outcome(stand.parts, intent_of()).reason
    assert 2 == stand.client.exists(stand.keys.permit("governor", "plan-1"), stand.keys.permit("p33", "plan-1"))

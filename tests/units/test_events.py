"""What others are told of a plan: the event of each end, and what of a message is shown."""

from types import SimpleNamespace
from typing import Any

import pytest
from celery.app.task import Task
from celery.events.state import Task as FlowersTask
from celery.utils.saferepr import saferepr
from celery.worker import control
from kombu.asynchronous.timer import Timer

from tasks.intent import shown
from tasks.outcome import Decision, Outcome
from tasks.reasons import Reason
from workers import panel
from workers.dashboard import as_shown
from workers.events import end_of

STEP = {"step": "PARTIAL_75", "status": "filled", "details": "x" * 400, "order_id": "1", "reduce_only": True}


def result_of(decision: Decision, reason: str = "", *, executed: bool = False, **more: Any) -> str:
    """The text that Celery's pool makes of an outcome."""
    facts: dict[str, Any] = {
        "plan_id": "p" * 64,
        "symbol": "S" * 30,
        "would_execute": decision == "EXECUTE" and not executed,
        "wait_ms": 24,
        "attempts": 2,
        "safe_qty": "0.046",
        "error": reason,
        "client_order_id": "pw-" + "0" * 32,
        "timestamp": 1.5,
        "steps_results": [STEP] * 8,
    }
    outcome = Outcome(decision=decision, reason=reason, executed=executed, **(facts | more))
    return str(saferepr(outcome, Task.resultrepr_maxsize))


def row(**fields: Any) -> FlowersTask:
    """A plan as Flower knows it, and as our formatter shows it."""
    return as_shown(FlowersTask(uuid="p1", name="tasks.execute", **fields))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("decision", "executed", "event"),
    [
        ("EXECUTE", True, "task-succeeded"),
        ("EXECUTE", False, "task-dry-run"),
        ("BLOCKED", False, "task-blocked"),
        ("REJECTED", False, "task-venue-rejected"),
        ("UNKNOWN", False, "task-failed"),
    ],
)
def test_each_end_has_its_event(decision: Decision, executed: bool, event: str) -> None:  # noqa: FBT001 - a table
    """Only an accepted order is told as a success; nobody needs to read the result to know."""
    assert event == end_of(result_of(decision, executed=executed))[0]


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_read(reason: Reason) -> None:
    """No reason makes a block unreadable."""
    assert ("task-blocked", {}) == end_of(result_of("BLOCKED", reason.value))


def test_an_unknown_order_names_its_error() -> None:
    """Dashboards count failures by exception: an order that nobody knows about is one."""
    assert {"exception": "OrderUnknown('order_unknown')", "traceback": ""} == end_of(
        result_of("UNKNOWN", "order_unknown")
    )[1]


@pytest.mark.parametrize(
    "text", [None, 5, "", "{}", "'EXECUTE'", "{'decision': 'EXECUTE'}", "{'decision': 'SPLENDID'}"]
)
def test_what_is_no_outcome_is_no_success(text: object) -> None:
    """A result that cannot be read is not told as an order."""
    assert ("task-ended", {}) == end_of(text)


def test_only_what_names_the_plan_is_shown() -> None:
    """Whatever else a client put into an intent, or in the place of a name, stays out of sight."""
    intent = {"plan_id": "p1", "symbol": "BTCUSDT", "action": "a long text, maybe a key", "decision": "EXECUTE"}

    assert "{'plan_id': 'p1', 'symbol': 'BTCUSDT', 'action': '?', 'decision': 'EXECUTE'}" == shown(
        intent | {"api_key": "secret", "source": "secret"}
    )
    assert "{}" == shown(["secret"]) == shown(None)


def test_a_row_says_in_words_how_the_plan_ended() -> None:
    """Decision, reason and time lead, within what the list shows; the plan's own page has every fact."""
    blocked = row(kwargs=shown({"symbol": "BTCUSDT", "action": "PARTIAL_75", "decision": "EXECUTE", "plan_id": "p1"}))
    told = row(result=result_of("BLOCKED", "missing_governor_p33", steps_results=[])).result.splitlines()
    executed = row(result=result_of("EXECUTE", executed=True, steps_results=[])).result
    dry = row(result=result_of("EXECUTE", steps_results=[])).result

    assert "BTCUSDT PARTIAL_75" == blocked.kwargs
    assert "BLOCKED missing_governor_p33 after 24 ms" == told[0].rstrip("\u00a0")
    assert len(told[0]) > 50
    assert {"attempts: 2", "reason: missing_governor_p33"} < set(told)
    assert executed.startswith("EXECUTE 0.046 after 24 ms")
    assert dry.startswith("EXECUTE (dry run) 0.046 after 24 ms")


def test_a_row_names_what_is_unusual() -> None:
    """A task under another id than its plan, and a plan that is not to be executed, say so."""
    odd = {"symbol": "BTCUSDT", "action": "PARTIAL_75", "decision": "SKIP", "plan_id": "p2"}

    assert "BTCUSDT PARTIAL_75 SKIP plan=p2" == row(kwargs=shown(odd)).kwargs


def test_what_cannot_be_read_is_shown_as_it_came() -> None:
    """A result that was cut, and arguments of another kind, are not hidden, and a waiting plan says that it waits."""
    cut = result_of("BLOCKED", "missing_p33")

    assert cut == row(result=cut).result or row(result=cut).result.startswith("BLOCKED missing_p33")
    assert "[1" == row(kwargs="[1").kwargs
    assert "waits for its permits" == row(state="WAITING").result
    assert "another attempt has it, or it is asked again" == row(state="HELD").result
    assert None is row(state="STARTED").result


def test_events_stop_when_nobody_asks_for_them_any_more() -> None:
    """Who watches asks again and again; a minute after the last time, or after a killed Flower, nothing is sent."""
    timer = Timer()
    dispatcher = SimpleNamespace(groups={"worker"})
    state = SimpleNamespace(consumer=SimpleNamespace(event_dispatcher=dispatcher, timer=timer))

    panel.enable_events(state)
    first = dispatcher.last_watch
    panel.enable_events(state)
    asked = set(dispatcher.groups)
    dispatcher.last_watch()

    assert {"worker", "task"} == asked
    assert first.canceled
    assert {"worker"} == dispatcher.groups


def test_events_asked_for_at_the_start_are_sent_for_good() -> None:
    """With the worker's option -E there is nothing to switch on, and nothing is switched off."""
    dispatcher = SimpleNamespace(groups=set())
    panel.enable_events(SimpleNamespace(consumer=SimpleNamespace(event_dispatcher=dispatcher, timer=Timer())))

    assert not hasattr(dispatcher, "last_watch")


def test_our_commands_are_in_the_place_of_celerys() -> None:
    """Installing replaces Celery's two commands by name; the worker looks them up there."""
    before = dict(control.Panel.data), dict(control.Panel.meta)
    try:
        panel.install()

        assert (panel.enable_events, panel.stats) == tuple(
            control.Panel.data[name] for name in ("enable_events", "stats")
        )
    finally:
        control.Panel.data.update(before[0])
        control.Panel.meta.update(before[1])

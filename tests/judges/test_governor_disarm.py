"""The Governor's one emergency act: it sets the kill switch, says so, at most once a day, and never clears it."""

import json
from typing import Any

import pytest

from tasks.act import Again
from tasks.errors import StoreUnavailable
from tasks.venues import Position
from tasks.venues.paper import PaperVenue
from tests.helpers import record_of, stream, texts
from tests.judges.desk import GRANTED, Desk

ARMED: dict[str, Any] = {"enable_auto_disarm": True}
BURST = {**ARMED, "max_exec_per_5min": 2}
BREACH = ("refused", "burst_limit_exceeded")


class _Away(PaperVenue):
    """A paper venue that cannot be asked for a position."""

    def position(self, symbol: str) -> Position:
        raise StoreUnavailable(f"no answer for {symbol}")


@pytest.fixture
def away(desk: Desk) -> Desk:
    """The same Governor while its venue is away: every evaluation fails."""
    return desk.at(_Away(desk.parts.store, desk.keys, 60))


def _switch(desk: Desk) -> object:
    return desk.client.get(desk.keys.kill_switch)


def _events(desk: Desk) -> list[dict[str, str]]:
    return stream(desk.client, desk.keys.governor_events)


def _resume(desk: Desk) -> None:
    """What an operator does."""
    desk.client.delete(desk.keys.kill_switch)


def test_a_burst_sets_the_kill_switch(desk: Desk) -> None:
    """The breach of the 5-minute limit sets the switch, says who, why and when, and tells the event stream."""
    desk.clock.set("2026-03-10T12:00:00.123")
    first, second, before = desk.decide(**BURST), desk.decide(**BURST), _switch(desk)
    breach = desk.decide("plan-1", **BURST)

    when = f"{desk.clock.seconds:.3f}"
    assert [GRANTED, GRANTED, None, BREACH] == [first, second, before, breach]
    assert b"true" == _switch(desk)
    info = desk.client.hgetall(desk.keys.kill_switch_info)
    assert {
        "who": "governor",
        "why": "auto-disarm: burst_limit_exceeded on BTCUSDT, plan plan-1",
        "when": when,
    } == texts(info)  # type: ignore[arg-type] # this client answers in bytes
    event = _events(desk)[0]
    assert {"computed_qty": "0.04650", "computed_notional": "2325.00000"} == json.loads(event.pop("context"))
    assert {
        "event": "AUTO_DISARM",
        "reason": "burst_limit_exceeded",
        "timestamp": when,
        "action_taken": "kill_switch_set",
        "symbol": "BTCUSDT",
        "plan_id": "plan-1",
    } == event
    mark = f"{desk.keys.governor_disarm}2026-03-10"
    assert b"burst_limit_exceeded" == desk.client.get(mark)
    assert 86_300 < desk.client.ttl(mark) <= 86_400


def test_a_disarm_ends_every_waiting_plan(desk: Desk) -> None:
    """A plan that was granted before the breach is blocked by the switch, and what it held is given back."""
    waiting = desk.look()
    desk.decide("plan-1", **BURST)
    desk.decide("other", **BURST)
    desk.decide(**BURST)
    outcome = desk.end()

    assert isinstance(waiting, Again)
    assert "kill_switch" == outcome.reason
    assert ["other"] == list(desk.figures()["granted"])


def test_it_disarms_once_a_date(desk: Desk) -> None:
    """After an operator resumed, the rest of the date breaches without a disarm; the next date may disarm again."""
    said = []
    # Ten minutes and more apart: nothing granted earlier is in the window.
    for moment in ("2026-03-10T00:00:00", "2026-03-10T23:50:00", "2026-03-11T00:00:00"):
        desk.clock.set(moment)
        said.append(([desk.decide(**BURST) for _ in range(3)], _switch(desk), len(_events(desk))))
        _resume(desk)

    breached = [GRANTED, GRANTED, BREACH]
    assert [(breached, b"true", 1), (breached, None, 1), (breached, b"true", 2)] == said


def test_further_breaches_leave_the_first_words(desk: Desk) -> None:
    """While the switch is set, another breach writes its own refusal and neither a second event nor new words."""
    for _ in range(3):
        desk.decide(**BURST)
    info = desk.client.hgetall(desk.keys.kill_switch_info)
    desk.clock.forward(1_000)

    assert BREACH == desk.decide("late", **BURST)
    assert info == desk.client.hgetall(desk.keys.kill_switch_info)
    assert 1 == len(_events(desk))
    assert 1 == desk.client.exists(desk.keys.governor_block("late"))


@pytest.mark.parametrize("off", ["enable_auto_disarm", "disarm_on_burst_breach"])
def test_either_setting_turns_the_burst_disarm_off(desk: Desk, off: str) -> None:
    """Without auto-disarm, or without disarm on a burst, the breach is a refusal and nothing more."""
    said = [desk.decide(**{**BURST, off: False}) for _ in range(4)]

    assert [GRANTED, GRANTED, BREACH, BREACH] == said
    assert (None, []) == (_switch(desk), _events(desk))
    assert 0 == desk.client.exists(desk.keys.kill_switch_info, f"{desk.keys.governor_disarm}2026-03-10")


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"kill_score": 0.9}, "kill_score_critical_non_close"),
        ({"max_exec_per_hour": 0, "max_exec_per_5min": 0}, "hourly_limit_exceeded"),
        ({"max_reduce_notional_per_day_usd": 0}, "daily_limit_exceeded"),
        ({"action": "HOLD"}, "limit_computation_error"),
    ],
)
def test_no_other_refusal_disarms(desk: Desk, changed: dict[str, Any], reason: str) -> None:
    """However often another rule refuses, the switch stays off."""
    assert [("refused", reason)] * 7 == [desk.decide(**ARMED, **changed) for _ in range(7)]
    assert (None, []) == (_switch(desk), _events(desk))


def test_the_fifth_failed_evaluation_of_a_date_disarms(desk: Desk, away: Desk) -> None:
    """Four evaluations that fail are refusals; the fifth sets the switch; the sixth adds nothing."""
    switches = []
    for number in range(1, 7):
        assert ("refused", "position_fetch_failed") == away.decide(f"plan-{number}", **ARMED)
        switches.append(_switch(desk))

    assert [None, None, None, None, b"true", b"true"] == switches
    assert [("position_fetch_failed", "plan-5")] == [(event["reason"], event["plan_id"]) for event in _events(desk)]
    assert {"2026-03-10": 6} == desk.errors()


@pytest.mark.parametrize("count", [1, 2])
def test_the_error_count_is_a_setting(desk: Desk, away: Desk, count: int) -> None:
    """The switch is set by the error that reaches the count, not by the one before."""
    switches = []
    for _ in range(count):
        switches.append(_switch(desk))
        away.decide(**ARMED, disarm_on_error_count=count)

    assert ([None] * count, b"true") == (switches, _switch(desk))


def test_a_plan_that_is_asked_about_again_fails_once(desk: Desk, away: Desk) -> None:
    """Redelivered messages of one plan, however many, are one failed evaluation."""
    assert ["refused", *["repeat"] * 9] == [away.decide("plan-1", **ARMED)[0] for _ in range(10)]
    assert {"2026-03-10": 1} == desk.errors()
    assert _switch(desk) is None


def test_grants_and_facts_between_failures_do_not_count(desk: Desk, away: Desk) -> None:
    """Four failures among grants and refusals by fact stay four failures."""
    for _ in range(4):
        away.decide(**ARMED)
        desk.decide(**ARMED)
        desk.decide(**ARMED, action="UPDATE_SL")

    assert {"2026-03-10": 4} == desk.errors()
    assert _switch(desk) is None


def test_failures_are_counted_by_date(desk: Desk, away: Desk) -> None:
    """Four failures up to midnight and four after it do not disarm; the fifth of the new date does."""
    desk.clock.set("2026-03-10T23:59:59.999")
    for _ in range(4):
        away.decide(**ARMED)
    desk.clock.forward(1)
    for _ in range(4):
        away.decide(**ARMED)
    before = _switch(desk)
    away.decide(**ARMED)

    assert (None, b"true") == (before, _switch(desk))
    assert {"2026-03-10": 4, "2026-03-11": 5} == desk.errors()


def test_without_auto_disarm_failures_only_refuse(desk: Desk, away: Desk) -> None:
    """With auto-disarm off, failures are counted and refused, and the switch stays off."""
    for _ in range(7):
        away.decide(enable_auto_disarm=False)

    assert {"2026-03-10": 7} == desk.errors()
    assert (None, []) == (_switch(desk), _events(desk))


def test_the_burst_setting_does_not_turn_the_error_disarm_off(desk: Desk, away: Desk) -> None:
    """Failures disarm although bursts do not."""
    for _ in range(5):
        away.decide(**ARMED, disarm_on_burst_breach=False)

    assert b"true" == _switch(desk)


def test_bursts_and_failures_share_the_one_disarm_of_a_date(desk: Desk, away: Desk) -> None:
    """After a burst disarmed and an operator resumed, five failures of the same date do not disarm again."""
    for _ in range(3):
        desk.decide(**BURST)
    _resume(desk)
    for _ in range(7):
        away.decide(**ARMED)

    assert _switch(desk) is None
    assert ["burst_limit_exceeded"] == [event["reason"] for event in _events(desk)]


def test_only_an_operator_resumes(desk: Desk) -> None:
    """Nothing the Governor decides later, that day or the next, clears the switch."""
    for _ in range(3):
        desk.decide(**BURST)
    desk.clock.forward(2 * 86_400_000)
    said = desk.decide("plan-1", **BURST)

    assert GRANTED == said
    assert b"true" == _switch(desk)
    assert "kill_switch" == desk.end().reason
    assert "set to 'true'" in record_of(desk.client, desk.keys, "plan-1")["detail"]

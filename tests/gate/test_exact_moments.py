"""The gate to the millisecond, and against whatever changes between judging permits and consuming them."""

from collections.abc import Callable
from typing import Any

import pytest
import redis

import lua
from tasks.act import execute_once
from tasks.consume import Consumed
from tasks.judge import Ready, Stands, judge
from tasks.keys import Keys
from tasks.parts import Parts
from tests.helpers import grant, hold, intent_of, record_of, run_to_outcome


class Clock:
    """Stands in for Redis TIME inside the shipped scripts, so that a millisecond can be aimed at."""

    def __init__(self, client: redis.Redis, key: str) -> None:
        self._client, self._key = client, key
        self.set(1_700_000_000_000)

    def set(self, now_ms: int) -> None:
        """Stop the clock at `now_ms` (epoch)."""
        self.now_ms = now_ms
        self._client.set(self._key, now_ms, ex=60)

    def prelude(self) -> str:
        """Lua that goes before a script: every call but TIME reaches the server."""
        return (
            "local server = redis\n"
            "local redis = setmetatable({ call = function(name, ...)\n"
            "  if name ~= 'TIME' then return server.call(name, ...) end\n"
            f"  local ms = tonumber(server.call('GET', '{self._key}'))\n"
            "  return { string.format('%.0f', math.floor(ms / 1000)), string.format('%.0f', ms % 1000 * 1000) }\n"
            "end }, { __index = server })\n"
        )


@pytest.fixture
def clock(client: redis.Redis, namespace: str, monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that stands still, for every script of this test."""
    stopped, shipped = Clock(client, f"{namespace}:clock"), lua.source
    monkeypatch.setattr(lua, "source", lambda name: stopped.prelude() + shipped(name))
    return stopped


def ready_plan(client: redis.Redis, keys: Keys, parts: Parts, **fields: Any) -> tuple[Stands, Ready]:
    """A plan with both permits, looked at and judged, on the way to be consumed."""
    grant(client, keys, "plan-1")
    stands = parts.gate.look(intent_of(**fields), "token")
    assert isinstance(stands, Stands)
    ready = judge(stands, intent_of(**fields), parts.rules, parts.venue.step("BTCUSDT"))
    assert isinstance(ready, Ready)
    return stands, ready


@pytest.mark.parametrize(("late_ms", "consumes"), [(-1, True), (0, False), (1, False)])
@pytest.mark.fault("F11", "F12")
def test_the_deadline_is_exact(
    client: redis.Redis,
    keys: Keys,
    parts: Parts,
    clock: Clock,
    late_ms: int,
    consumes: bool,  # noqa: FBT001 - a case
) -> None:
    """Judged in time, permits are consumed up to a millisecond before the deadline and not from then on."""
    stands, ready = ready_plan(client, keys, parts)
    clock.set(stands.deadline_ms + late_ms)

    answer = parts.gate.consume(intent_of(), "token", ready)

    assert (Consumed if consumes else Stands) is type(answer)
    assert (0 if consumes else 2) == client.exists(keys.permit("governor", "plan-1"), keys.permit("p33", "plan-1"))


@pytest.mark.parametrize(("late_ms", "reason"), [(-1, ""), (0, "deadline_passed"), (1, "deadline_passed")])
@pytest.mark.fault("F11")
def test_the_verdict_at_the_deadline_is_exact(
    client: redis.Redis, keys: Keys, parts: Parts, clock: Clock, late_ms: int, reason: str
) -> None:
    """A plan whose permits all stand executes a millisecond before its deadline, and ends as too late at it."""
    hold(client, keys)
    execute_once(parts, intent_of())
    grant(client, keys, "plan-1")
    clock.set(clock.now_ms + parts.settings.permit_wait_ms + late_ms)

    outcome = run_to_outcome(parts, intent_of())

    assert reason == outcome.reason
    assert parts.settings.permit_wait_ms + late_ms == outcome.wait_ms


@pytest.mark.parametrize(("late_ms", "consumes"), [(0, True), (1, False)])
@pytest.mark.fault("F23")
def test_the_age_of_an_intent_is_exact(
    client: redis.Redis,
    keys: Keys,
    parts: Parts,
    clock: Clock,
    late_ms: int,
    consumes: bool,  # noqa: FBT001 - a case
) -> None:
    """An intent that grows too old between look and consumption is not consumed for."""
    created = 1_700_000_000 - parts.settings.plan_max_age_ms / 1000 + 0.5
    _, ready = ready_plan(client, keys, parts, created_at=created)
    clock.set(1_700_000_000_500 + late_ms)

    answer = parts.gate.consume(intent_of(created_at=created), "token", ready)

    assert (Consumed if consumes else Stands) is type(answer)


CHANGES: dict[str, Callable[[redis.Redis, Keys, str], object]] = {
    "the kill switch is set": lambda client, keys, _: client.set(keys.kill_switch, "true"),
    "the kill switch is 1": lambda client, keys, _: client.set(keys.kill_switch, "1"),
    "the kill switch is FALSE": lambda client, keys, _: client.set(keys.kill_switch, "FALSE"),
    "the kill switch is a list": lambda client, keys, _: client.rpush(keys.kill_switch, "false"),
    "the Governor blocks": lambda client, keys, _: client.set(keys.governor_block("plan-1"), "{}", ex=60),
    "the Governor blocks with an empty record": lambda client, keys, _: client.set(
        keys.governor_block("plan-1"), "", ex=60
    ),
    "a block record of another type": lambda client, keys, _: client.rpush(keys.governor_block("plan-1"), "x"),
    "a permit is gone": lambda client, _, permit: client.delete(permit),
    "a permit has other bytes": lambda client, _, permit: client.append(permit, " "),
    "a permit is empty": lambda client, _, permit: client.set(permit, "", ex=60),
    "a permit lost its TTL": lambda client, _, permit: client.persist(permit),
    "a permit lives too long": lambda client, _, permit: client.pexpire(permit, 125_000),
    "a permit grew too large": lambda client, _, permit: client.append(permit, " " * 17_000),
    "a permit is a list": lambda client, _, permit: (client.delete(permit), client.rpush(permit, "x")),
}


@pytest.mark.parametrize("name", ["governor", "p33"])
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.fault("F22", "F23", promise="nothing that was judged and then changed is consumed")
def test_what_changed_after_the_look_is_not_consumed(
    client: redis.Redis, keys: Keys, parts: Parts, change: str, name: str
) -> None:
    """Whatever changes between judging and consuming, the same step that would delete sees it and deletes nothing."""
    _, ready = ready_plan(client, keys, parts)
    CHANGES[change](client, keys, keys.permit(name, "plan-1"))
    before = [client.dump(keys.permit(each, "plan-1")) for each in ("governor", "p33")]

    answer = parts.gate.consume(intent_of(), "token", ready)

    assert isinstance(answer, Stands)
    assert before == [client.dump(keys.permit(each, "plan-1")) for each in ("governor", "p33")]
    assert "waiting" == record_of(client, keys, "plan-1")["state"]

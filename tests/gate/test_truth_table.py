"""Every pair of states that two permits can be in, through the shipped scripts on a real server.

What is expected comes from the table and the oracle below, which were written down from CONTRACT "Judging
permits" and know nothing of the judge.
"""

import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import pytest
import redis

from tasks.act import Again, execute_once
from tasks.keys import Keys
from tasks.parts import Parts
from tasks.settings import Settings, read_settings
from tests.helpers import hold, intent_of, orders_of, record_of, results_of, run_to_outcome

GRANTING: dict[str, dict[str, Any]] = {
    "governor": {"granted": True, "symbol": "BTCUSDT", "decision": "EXECUTE", "consumed": False, "computed_qty": 0.02},
    "p33": {"allow": True, "symbol": "BTCUSDT", "safe_close_qty": 0.008, "exchange_position_amt": 0.062},
    "p26": {"granted": True, "symbol": "BTCUSDT"},
}

#: What is written instead of a granting permit, and how such a permit ends its plan; None: it speaks for it.
STATES: dict[str, str | None] = {
    "absent": None,
    "granting": None,
    "naming the plan": None,
    "denying": "{}_denied",
    "malformed": "invalid_{}_permit",
    "other symbol": "permit_symbol_mismatch",
    "other plan": "permit_plan_mismatch",
    "hash": "invalid_{}_permit",
    "list": "invalid_{}_permit",
    "set": "invalid_{}_permit",
    "zset": "invalid_{}_permit",
    "stream": "invalid_{}_permit",
    "without TTL": "permit_ttl",
    "TTL too long": "permit_ttl",
}

#: Milliseconds from now to the deadline.
WHEN = {"before": 60_000, "at": 0, "after": -1_000}


def expected_verdict(states: Mapping[str, str], when: str, *, blocked: bool) -> str:
    """`EXECUTE`, `wait` or the reason of the block, by the contract alone."""
    for name, state in states.items():
        end = STATES[state]
        denied_by_record = blocked and name == "governor" and (end is None or "invalid" not in end)
        if denied_by_record or end:
            return "governor_denied" if denied_by_record else str(end).format(name)
    absent = [name for name, state in states.items() if state == "absent"]
    if not absent:
        return "EXECUTE" if when == "before" else "deadline_passed"
    if when == "before":
        return "wait"
    if len(absent) == len(states):
        return "missing_both" if len(states) == 2 else "missing_all"
    return "missing_" + "_".join(absent)


@dataclass(frozen=True)
class Effect:
    """Everything a plan's attempt may have changed."""

    verdict: str
    state: str
    is_open: bool
    permits_kept: bool
    results: int = 0
    orders: int = 0


def expected_effect(verdict: str) -> Effect:
    """What each verdict promises: only an execution deletes or orders, only an end leaves a result."""
    if verdict == "wait":
        return Effect("wait", "waiting", is_open=True, permits_kept=True)
    if verdict == "EXECUTE":
        return Effect("EXECUTE", "done", is_open=False, permits_kept=False, results=1, orders=1)
    return Effect(verdict, "blocked", is_open=False, permits_kept=True, results=1)


def write(client: redis.Redis, keys: Keys, plan_id: str, name: str, state: str) -> None:
    """Write one permit in one of `STATES`."""
    key, content = keys.permit(name, plan_id), dict(GRANTING[name])
    if state == "absent":
        return
    if state in {"hash", "list", "set", "zset", "stream"}:
        text = json.dumps(content)
        writers: dict[str, Callable[[], object]] = {
            "hash": lambda: client.hset(key, mapping={"granted": "true", "symbol": "BTCUSDT"}),
            "list": lambda: client.rpush(key, text),
            "set": lambda: client.sadd(key, text),
            "zset": lambda: client.zadd(key, {text: 1}),
            "stream": lambda: client.xadd(key, {"permit": text}),
        }
        writers[state]()
        client.expire(key, 60)
        return
    flag = "allow" if name == "p33" else "granted"
    changes: dict[str, dict[str, Any]] = {
        "denying": {flag: False},
        "malformed": {flag: "true"},
        "other symbol": {"symbol": "ETHUSDT"},
        "other plan": {"plan_id": f"{plan_id}-other"},
        "naming the plan": {"plan_id": plan_id},
    }
    content |= changes.get(state, {})
    lives_s = {"without TTL": None, "TTL too long": 3600}.get(state, 60)
    client.set(key, json.dumps(content), ex=lives_s)


def redis_ms(client: redis.Redis) -> int:
    """The server's clock, epoch milliseconds."""
    seconds, micros = client.time()
    return seconds * 1000 + micros // 1000


class Bench:
    """Puts plans into every state and tells what one attempt made of them."""

    def __init__(self, client: redis.Redis, keys: Keys, parts: Parts) -> None:
        self.client, self.keys, self.parts = client, keys, parts
        self._attempts: dict[str, tuple[str, bool]] = {}
        hold(client, keys, "1000")

    def try_plan(self, states: Mapping[str, str], when: str, *, blocked: bool = False) -> None:
        """Take a plan up, write its permits, set its deadline, and attempt it once."""
        client, keys, plan_id = self.client, self.keys, f"plan-{len(self._attempts)}"
        execute_once(self.parts, intent_of(plan_id))
        for name, state in states.items():
            write(client, keys, plan_id, name, state)
        if blocked:
            client.set(keys.governor_block(plan_id), '{"reason": "hourly_limit_exceeded"}', ex=60)
        client.hset(keys.record(plan_id), "deadline_ms", str(redis_ms(client) + WHEN[when]))
        before = self._permits(plan_id, states)

        step = execute_once(self.parts, intent_of(plan_id))

        after = self._permits(plan_id, states)
        assert after in {before, (None,) * len(states)}
        verdict = "wait" if isinstance(step, Again) else step.reason or step.decision
        self._attempts[plan_id] = (verdict, before == after)

    def effects(self) -> list[Effect]:
        """What became of every plan, in the order of the attempts."""
        results = Counter(entry["plan_id"] for entry in results_of(self.client, self.keys))
        orders = Counter(entry["plan_id"] for entry in orders_of(self.client, self.keys))
        return [
            Effect(
                verdict,
                state=record_of(self.client, self.keys, plan_id)["state"],
                is_open=self.client.zscore(self.keys.open, plan_id) is not None,
                permits_kept=kept,
                results=results[plan_id],
                orders=orders[plan_id],
            )
            for plan_id, (verdict, kept) in self._attempts.items()
        ]

    def _permits(self, plan_id: str, names: Mapping[str, str]) -> tuple[bytes | None, ...]:
        pipeline = self.client.pipeline(transaction=False)
        for name in names:
            pipeline.dump(self.keys.permit(name, plan_id))
        return tuple(pipeline.execute())


@pytest.fixture
def bench(client: redis.Redis, keys: Keys, parts: Parts) -> Bench:
    """Two required permits: governor and p33."""
    return Bench(client, keys, parts)


@pytest.fixture
def bench_of_three(
    client: redis.Redis, keys: Keys, settings: Settings, make_parts: Callable[[Settings], Parts]
) -> Bench:
    """Three required permits: p26 was added."""
    added = read_settings(
        redis_url=settings.redis_url, namespace=settings.namespace, mode="paper", permits="p26", _env_file=None
    )
    return Bench(client, keys, make_parts(added))


@pytest.mark.parametrize("blocked", [False, True], ids=["no block record", "block record"])
@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("governor", STATES)
@pytest.mark.fault("F23")
def test_two_permits(bench: Bench, governor: str, when: str, blocked: bool) -> None:  # noqa: FBT001 - a case
    """Each pair of permits executes, waits or blocks as the contract's table says, and leaves just that behind."""
    for p33 in STATES:
        bench.try_plan({"governor": governor, "p33": p33}, when, blocked=blocked)
    expected = {
        p33: expected_effect(expected_verdict({"governor": governor, "p33": p33}, when, blocked=blocked))
        for p33 in STATES
    }

    assert expected == dict(zip(STATES, bench.effects(), strict=True))


@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("p26", STATES)
@pytest.mark.fault("F23")
def test_a_third_required_permit(bench_of_three: Bench, p26: str, when: str) -> None:
    """With p26 required as well, its own verdict counts, and absence is named permit by permit."""
    cases = [
        {"governor": governor, "p33": p33, "p26": p26}
        for governor, p33 in product(["absent", "granting", "denying"], ["absent", "granting", "malformed"])
    ]
    for states in cases:
        bench_of_three.try_plan(states, when)
    expected = [expected_effect(expected_verdict(states, when, blocked=False)) for states in cases]

    assert expected == bench_of_three.effects()


def test_the_names_of_absence(bench_of_three: Bench) -> None:
    """Past the deadline the reason lists the missing permits in their fixed order, or says that all are."""
    for here in product(["granting", "absent"], repeat=3):
        bench_of_three.try_plan(dict(zip(GRANTING, here, strict=True)), "after")
    named = [
        "deadline_passed",
        "missing_p26",
        "missing_p33",
        "missing_p33_p26",
        "missing_governor",
        "missing_governor_p26",
        "missing_governor_p33",
        "missing_all",
    ]

    assert named == [effect.verdict for effect in bench_of_three.effects()]


ON = ["true", "1", "yes", "on", "FALSE", "Off", " off", "0.0", "null", "\x00"]


@pytest.mark.parametrize("value", ["", "0", "false", "off", "no"])
def test_an_explicit_off_value_lets_the_plan_pass(bench: Bench, value: str) -> None:
    """The kill switch is off with each of its five off values."""
    bench.client.set(bench.keys.kill_switch, value)

    bench.try_plan({"governor": "granting", "p33": "granting"}, "before")

    assert [expected_effect("EXECUTE")] == bench.effects()


@pytest.mark.parametrize("value", ON)
@pytest.mark.parametrize("permits", ["absent", "granting", "malformed"])
def test_any_other_value_of_the_switch_blocks(bench: Bench, value: str, permits: str) -> None:
    """Whatever else stands in the kill switch stops the plan, before a look at its permits."""
    bench.client.set(bench.keys.kill_switch, value)

    bench.try_plan({"governor": permits, "p33": permits}, "before")

    assert [expected_effect("kill_switch")] == bench.effects()


def test_a_switch_of_another_type_is_set(bench: Bench) -> None:
    """A kill switch that is no text at all stops the plan."""
    bench.client.hset(bench.keys.kill_switch, "state", "false")

    bench.try_plan({"governor": "granting", "p33": "granting"}, "before")

    assert [expected_effect("kill_switch")] == bench.effects()


@pytest.mark.fault("F7")
def test_a_stored_outcome_comes_first(bench: Bench) -> None:
    """A plan that has its outcome answers with it, whatever is set and whatever the message says now."""
    bench.try_plan({"governor": "granting", "p33": "granting"}, "before")
    bench.client.set(bench.keys.kill_switch, "true")
    stored = run_to_outcome(bench.parts, intent_of("plan-0"))

    again = run_to_outcome(bench.parts, intent_of("plan-0", symbol="ETHUSDT", action="HOLD"))

    assert stored == again
    assert [expected_effect("EXECUTE")] == bench.effects()


def test_a_conflict_comes_before_the_switch(bench: Bench) -> None:
    """A known, unfinished plan that is sent with other content is a conflict, and goes on as it was."""
    bench.try_plan({"governor": "granting", "p33": "absent"}, "before")
    bench.client.set(bench.keys.kill_switch, "true")

    outcome = run_to_outcome(bench.parts, intent_of("plan-0", action="PARTIAL_50"))

    assert "plan_conflict" == outcome.reason
    assert [expected_effect("wait")] == bench.effects()


def test_one_line_per_plan(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """Consumption logs one OK line, a block one BLOCK line, waiting and repeats none."""
    caplog.set_level(logging.INFO, "permitwait")
    for p33 in ["granting", "denying", "absent"]:
        bench.try_plan({"governor": "granting", "p33": p33}, "before")
    for plan_id in ["plan-0", "plan-1", "plan-2"]:
        execute_once(bench.parts, intent_of(plan_id))
    lines = [line for line in caplog.messages if line.startswith("[PERMIT_WAIT]")]

    assert ["[PERMIT_WAIT] OK plan=plan-0 ", "[PERMIT_WAIT] BLOCK plan=plan-1 "] == [
        line[: line.index("plan=") + len("plan=plan-0 ")] for line in lines
    ]

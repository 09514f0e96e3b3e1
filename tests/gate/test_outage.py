"""Lost calls, and servers that stop, refuse or forget: nothing is dispatched on a guess, every plan still ends."""

import os
import signal
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Final, cast

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tasks.act import Again, execute_once
from tasks.consume import Busy, Gate
from tasks.keys import Keys, client_order_id
from tasks.outcome import Outcome
from tasks.parts import Parts
from tasks.settings import CALL_TIMEOUT_MS, Settings
from tasks.store import Store
from tasks.venues.paper import PaperVenue
from tests.gate.hooked import LOSSES, Closable, Hook, HookedRedis, HookedWire, lose_answer, lose_request
from tests.helpers import grant, hold, intent_of, orders_of, record_of, results_of, run_to_outcome, tells_of_its_file
from tests.servers import RealServer

#: The calls of an execution whose permits lie there, in order.
LOOK, STEP, CONSUME, ORDER, FINISH = range(5)

#: Outlasts the wait for acknowledgements, and a busy machine.
PATIENT_S: Final = 10


@pytest.fixture(autouse=True)
def _every_call_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """The paper venue asks for the step every time: these tests count calls, and lose each of them once."""
    monkeypatch.setattr("tasks.venues.paper.STEP_LIFE_S", 0.0)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[RealServer]:
    """A server that this test may stop, and that keeps what it acknowledged."""
    with RealServer(tmp_path / "data", appendfsync="always") as running:
        yield running


@pytest.fixture
def operator(own: RealServer) -> Iterator[redis.Redis]:
    """An operator's client on that server."""
    with redis.Redis(unix_socket_path=str(own.socket_path)) as plain:
        yield plain


@pytest.fixture
def hooked(request: pytest.FixtureRequest, own: RealServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[HookedRedis]:
    """The executor's client on that server, without retries of its own; with the gate's timeout where one is due."""
    monkeypatch.setattr("tasks.wire.Wire", HookedWire)
    due = "frozen" in request.node.name
    timeout_s = CALL_TIMEOUT_MS / 1000 if due else PATIENT_S
    path = str(own.socket_path)
    with HookedRedis(unix_socket_path=path, socket_timeout=timeout_s, retry=Retry(NoBackoff(), 0)) as one:
        yield one.arm()


@pytest.fixture
def executor(own: RealServer, operator: redis.Redis, hooked: HookedRedis, keys: Keys, settings: Settings) -> Parts:
    """An executor whose scripts are known to the server, with all the time it may need."""
    changes = {"redis_url": own.url, "permit_wait_ms": 60_000, "claim_lease_ms": 600_000}
    parts = parts_of(hooked, settings.model_copy(update=changes))
    hold(operator, keys, "100")
    grant(operator, keys, "warm-up")
    assert run_to_outcome(parts, intent_of("warm-up")).executed
    grant(operator, keys, "plan-1")
    return parts


def parts_of(client: redis.Redis, settings: Settings) -> Parts:
    """An executor behind this client."""
    store = Store(client)
    return Parts(settings, Gate(store, store, settings), PaperVenue(store, Keys(settings.namespace), 1000), store)


def finish_up(client: redis.Redis, keys: Keys, parts: Parts, plan_id: str = "plan-1") -> Outcome:
    """The outcome of a plan; a claim that nobody holds any more ends at once."""
    step = execute_once(parts, intent_of(plan_id))
    while isinstance(step, Again):
        if record_of(client, keys, plan_id).get("state") == "consumed":
            client.hset(keys.record(plan_id), "lease_until_ms", "1000")
        step = execute_once(parts, intent_of(plan_id), store_error=step.store_error)
    return step


def orders(client: redis.Redis, keys: Keys, plan_id: str = "plan-1") -> int:
    """How many orders the venue accepted for a plan."""
    return [order["plan_id"] for order in orders_of(client, keys)].count(plan_id)


def position_of(client: redis.Redis, keys: Keys) -> str:
    """The position as text."""
    return cast("bytes", client.hget(keys.paper_position("BTCUSDT"), "position_amt")).decode()


def permits_left(client: redis.Redis, keys: Keys, plan_id: str = "plan-1") -> int:
    """How many of a plan's two permits stand."""
    return int(client.exists(keys.permit("governor", plan_id), keys.permit("p33", plan_id)))


@pytest.mark.fault("F17")
def test_a_lost_answer_is_asked_for_again(
    operator: redis.Redis, keys: Keys, hooked: HookedRedis, executor: Parts
) -> None:
    """Look, consume and finish whose answers are lost once are re-sent at once, and everything is as if nothing was."""
    # look, again, step, consume, again, order, finish, again
    hooked.arm(after=dict.fromkeys((0, 3, 6), lose_answer))
    outcome = execute_once(executor, intent_of())

    assert isinstance(outcome, Outcome)
    assert (True, 1) == (outcome.executed, outcome.attempts)
    assert ["EVALSHA"] * 2 + ["HGET"] + ["EVALSHA"] * 5 == hooked.calls
    assert 1 == orders(operator, keys)
    assert ["warm-up", "plan-1"] == [entry["plan_id"] for entry in results_of(operator, keys)]


@pytest.mark.parametrize(("when", "decision", "ordered"), [("after", "EXECUTE", 1), ("before", "BLOCKED", 0)])
@pytest.mark.fault("F1", "F2", "F17", "F28")
def test_an_order_is_never_sent_again(
    operator: redis.Redis, keys: Keys, hooked: HookedRedis, executor: Parts, when: str, decision: str, ordered: int
) -> None:
    """An order without an answer is not re-sent: from then on nothing is submitted, and it is looked up at once."""
    hooked.arm(**{when: {ORDER: LOSSES[when][when]}})
    outcome = execute_once(executor, intent_of())

    assert isinstance(outcome, Outcome)
    assert (decision, "0.008", ordered) == (outcome.decision, outcome.safe_qty, orders(operator, keys))


@pytest.mark.fault("F21")
def test_a_lookup_waits_for_redis(operator: redis.Redis, keys: Keys, hooked: HookedRedis, executor: Parts) -> None:
    """Redis stays away after an order without an answer: the claim keeps all others out, then one looks it up."""
    hooked.arm(before=dict.fromkeys((ORDER + 1, ORDER + 2), lose_request), after={ORDER: lose_answer})
    step = execute_once(executor, intent_of())

    assert isinstance(step, Again)
    assert "stop_submitting" in step.store_error
    assert isinstance(executor.gate.look(intent_of(), "other"), Busy)
    assert finish_up(operator, keys, executor).executed


@pytest.mark.parametrize("first", range(7))
@pytest.mark.fault("F2", "F17")
def test_any_two_losses_end_in_one_truth(
    operator: redis.Redis, keys: Keys, hooked: HookedRedis, executor: Parts, first: int
) -> None:
    """Whichever two calls of an execution are lost, and how: one outcome, told once, and it says what was ordered."""
    for second, whens in product(range(first, 9), product(LOSSES, repeat=2)):
        plan_id = f"plan-{second}-{'-'.join(whens)}"
        grant(operator, keys, plan_id)
        hooks: dict[str, dict[int, Hook]] = {"before": {}, "after": {}}
        for number, when in zip((first, second), whens, strict=True):
            hooks[when][number] = LOSSES[when][when]
        hooked.arm(**hooks)
        outcome = finish_up(operator, keys, executor, plan_id)
        hooked.arm()
        results = [entry["reason"] for entry in results_of(operator, keys) if entry["plan_id"] == plan_id]

        assert int(outcome.executed) == orders(operator, keys, plan_id), plan_id
        assert [outcome.reason] == results
        assert outcome.reason in {"", "interrupted"}
        assert 0 == permits_left(operator, keys, plan_id)
        assert outcome == execute_once(executor, intent_of(plan_id))


Change = Callable[[redis.Redis, RealServer], object]

#: What may befall a server, and how it is put right.
TROUBLES: Final[dict[str, tuple[Change, Change]]] = {
    "out of memory": (
        lambda operator, _: operator.config_set("maxmemory", 1),
        lambda operator, _: operator.config_set("maxmemory", 0),
    ),
    "read only": (
        lambda operator, _: operator.replicaof("127.0.0.1", 1),
        lambda operator, _: operator.replicaof("NO", "ONE"),
    ),
    "scripts forbidden": (
        lambda operator, _: operator.acl_setuser("default", commands=["-evalsha"]),
        lambda operator, _: operator.acl_setuser("default", categories=["+@all"]),
    ),
    "writes forbidden": (
        lambda operator, _: operator.acl_setuser("default", categories=["-@write"]),
        lambda operator, _: operator.acl_setuser("default", categories=["+@all"]),
    ),
    "frozen": (
        lambda _, own: os.kill(own.pid, signal.SIGSTOP),
        lambda _, own: os.kill(own.pid, signal.SIGCONT),
    ),
    "killed": (
        lambda _, own: own.kill(),
        lambda _, own: own.start(),
    ),
}


@pytest.mark.parametrize("call", [LOOK, CONSUME, ORDER, FINISH])
@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.fault("F19", "F21")
def test_trouble_at_any_call_ends_in_the_truth(
    own: RealServer,
    operator: redis.Redis,
    keys: Keys,
    hooked: HookedRedis,
    executor: Parts,
    trouble: str,
    call: int,
) -> None:
    """A server that fails at any call of an execution: look again later, and then end with what really happened."""
    begin, cure = TROUBLES[trouble]
    hooked.arm(before={call: lambda _: begin(operator, own)})
    step = execute_once(executor, intent_of())
    cure(operator, own)
    outcome = finish_up(operator, keys, executor)
    # A frozen server runs what was sent to it once it goes on: a consumption that nobody waits for orders nothing.
    lost = (CONSUME,) if trouble == "frozen" else (ORDER,)
    # What stood before a restart is not trusted: the server may have forgotten that it was used.
    refused = trouble == "killed" and call in {LOOK, CONSUME}
    reason = "server_changed" if refused else "interrupted" if call in lost else ""

    assert isinstance(step, Again)
    assert step.store_error
    assert reason == outcome.reason
    assert int(outcome.executed) == int(not reason) == orders(operator, keys)
    assert 2 * refused == permits_left(operator, keys)
    assert ["warm-up", "plan-1"] == [entry["plan_id"] for entry in results_of(operator, keys)]


@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.fault("F19", "F21")
def test_an_outage_that_outlasts_the_wait_is_named(
    own: RealServer, operator: redis.Redis, keys: Keys, executor: Parts, trouble: str
) -> None:
    """A plan that could not be asked for until its deadline ends as redis_unavailable, and its permits stand."""
    begin, cure = TROUBLES[trouble]
    patience = executor.settings.model_copy(update={"permit_wait_ms": 400})
    store = executor.gate._store
    parts = Parts(patience, Gate(store, store, patience), executor.venue, store)
    assert isinstance(execute_once(parts, intent_of("plan-2")), Again)
    deadline = record_of(operator, keys, "plan-2")["deadline_ms"]
    begin(operator, own)
    steps = [execute_once(parts, intent_of("plan-2"), retries=retries) for retries in (0, 9)]
    cure(operator, own)
    after = record_of(operator, keys, "plan-2")["deadline_ms"]
    grant(operator, keys, "plan-2")
    operator.hset(keys.record("plan-2"), "deadline_ms", int(deadline) - 400)
    last = steps[-1]
    assert isinstance(last, Again)
    outcome = execute_once(parts, intent_of("plan-2"), store_error=last.store_error)

    assert deadline == after
    assert [100, 1_000] == [step.pause_ms for step in steps if isinstance(step, Again)]
    assert isinstance(outcome, Outcome)
    assert ("BLOCKED", "redis_unavailable") == (outcome.decision, outcome.reason)
    assert 0 == orders(operator, keys, "plan-2")
    assert 2 == permits_left(operator, keys, "plan-2")
    assert not operator.zscore(keys.open, "plan-2")


@pytest.mark.parametrize(
    "key", ["record", "open", "timeline", "results", "position", "orders", "order", "counter", "switch", "block"]
)
@pytest.mark.fault("F24")
def test_a_key_of_the_wrong_type_is_not_half_a_step(
    operator: redis.Redis, keys: Keys, executor: Parts, key: str
) -> None:
    """Whichever key holds something of another type: no step is done by half, and once put right the plan ends once."""
    name = {
        "record": keys.record("plan-1"),
        "open": keys.open,
        "timeline": keys.timeline("plan-1"),
        "results": keys.results,
        "position": keys.paper_position("BTCUSDT"),
        "orders": keys.paper_orders,
        "order": keys.paper_order(client_order_id("plan-1")),
        "counter": keys.paper_counter,
        "switch": keys.kill_switch,
        "block": keys.governor_block("plan-1"),
    }[key]
    kept = operator.exists(name) and operator.rename(name, f"{name}:kept")
    operator.sadd(name, "a set")
    step = execute_once(executor, intent_of())
    operator.delete(name)
    if kept:
        operator.rename(f"{name}:kept", name)
    outcome = finish_up(operator, keys, executor)

    assert isinstance(step, Again) or step.reason in {"kill_switch", "governor_denied", "interrupted"}
    assert int(outcome.executed) == orders(operator, keys)
    assert int(outcome.executed) == int("99.984" == position_of(operator, keys))
    assert ["warm-up", "plan-1"] == [entry["plan_id"] for entry in results_of(operator, keys)]
    assert 0 == operator.zcard(keys.open)


@pytest.mark.fault("F16")
def test_scripts_may_be_lost_at_any_time(
    operator: redis.Redis, keys: Keys, hooked: HookedRedis, executor: Parts
) -> None:
    """A server that forgets its scripts before every single call is sent them whole, and the order leaves, once."""
    hooked.arm(before=dict.fromkeys(range(20), lambda _: operator.script_flush()))
    outcome = execute_once(executor, intent_of())

    assert isinstance(outcome, Outcome)
    assert outcome.executed
    assert ["EVALSHA", "EVAL", "HGET", *["EVALSHA", "EVAL"] * 3] == hooked.calls
    assert 1 == orders(operator, keys)


@pytest.mark.fault("F14")
def test_a_consumption_that_is_not_durable_orders_nothing(client: redis.Redis, keys: Keys, settings: Settings) -> None:
    """Where acknowledgements are wanted, a server without AOF and replicas consumes, and then nothing is ordered."""
    hold(client, keys)
    grant(client, keys, "plan-1")
    outcome = run_to_outcome(parts_of(client, settings.model_copy(update={"consume_acks": 1})), intent_of())

    assert ("BLOCKED", "not_durable", "0.008") == (outcome.decision, outcome.reason, outcome.safe_qty)
    assert 0 == orders(client, keys)
    assert 0 == permits_left(client, keys)


@pytest.mark.fault("F14")
def test_a_durable_consumption_is_ordered(operator: redis.Redis, keys: Keys, executor: Parts) -> None:
    """Where one acknowledgement is wanted, an append-only file that is written at once is one, if the server tells."""
    parts = parts_of(operator, executor.settings.model_copy(update={"consume_acks": 1}))
    outcome = run_to_outcome(parts, intent_of())

    assert ("" if tells_of_its_file(operator) else "not_durable") == outcome.reason
    assert int(outcome.executed) == int(tells_of_its_file(operator)) == orders(operator, keys)


@pytest.mark.fault("F14", "F17")
def test_a_lost_answer_does_not_count_as_an_acknowledgement(
    operator: redis.Redis, keys: Keys, hooked: HookedRedis, executor: Parts
) -> None:
    """A consumption that is re-sent on a new connection must be as durable as any other before an order leaves."""
    operator.config_set("appendfsync", "no")
    parts = parts_of(hooked, executor.settings.model_copy(update={"consume_acks": 1}))
    hooked.arm(after={CONSUME: lose_answer})
    outcome = finish_up(operator, keys, parts)

    assert "not_durable" == outcome.reason
    assert 0 == orders(operator, keys)


@pytest.mark.fault("F14", "F21")
def test_a_server_lost_before_a_durable_consumption(
    own: RealServer, operator: redis.Redis, keys: Keys, hooked: HookedRedis, executor: Parts
) -> None:
    """Where acknowledgements are wanted as well, a server that is gone means to look again, not an exception."""
    parts = parts_of(hooked, executor.settings.model_copy(update={"consume_acks": 1}))

    def lose_server(over: Closable) -> None:
        own.kill()
        over.close()

    hooked.arm(after={STEP: lose_server})
    step = execute_once(parts, intent_of())
    own.start()

    assert isinstance(step, Again)
    # Permits that stood before a restart are not trusted.
    assert ("server_changed", 0) == (finish_up(operator, keys, parts).reason, orders(operator, keys))

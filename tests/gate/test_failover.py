"""A server that was restarted or failed over may have forgotten a consumption: nothing from before is used again."""

import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis

from tasks.act import Again, execute_once
from tasks.errors import StoreUnavailable
from tasks.keys import Keys, client_order_id
from tasks.outcome import Outcome
from tasks.parts import Parts
from tasks.settings import Settings
from tasks.venues import Order, Receipt, Venue
from tests.helpers import grant, hold, intent_of, orders_of, record_of, results_of, run_to_outcome, wait_until
from tests.servers import RealServer

Make = Callable[..., Parts]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Where the first server keeps its data."""
    return tmp_path / "data"


@pytest.fixture
def first(data: Path) -> Iterator[RealServer]:
    """The server on which everything begins; it keeps what it acknowledged."""
    with RealServer(data, appendfsync="always") as running:
        yield running


@pytest.fixture
def operator(first: RealServer) -> Iterator[redis.Redis]:
    """An operator's client on that server."""
    with redis.Redis(unix_socket_path=str(first.socket_path)) as plain:
        yield plain


@pytest.fixture
def executor(first: RealServer, settings: Settings, make_parts: Make) -> Parts:
    """An executor with all the time it needs, which has met that server."""
    parts = make_parts(settings.model_copy(update={"redis_url": first.url, "permit_wait_ms": 60_000}))
    parts.gate.meet_server()
    return parts


def on(server: RealServer, parts: Parts, make_parts: Make) -> Parts:
    """An executor with the same settings on another server."""
    return make_parts(parts.settings.model_copy(update={"redis_url": server.url}))


def ends(client: redis.Redis, keys: Keys) -> dict[str, str]:
    """Reason (or EXECUTE) of every plan in the result stream."""
    return {entry["plan_id"]: entry["reason"] or entry["decision"] for entry in results_of(client, keys)}


def restart(first: RealServer) -> None:
    """Kill it and start it on the same data."""
    first.kill()
    first.start()


@pytest.mark.fault("F14", "F15")
def test_a_waiting_plan_from_before_a_restart_is_refused(
    first: RealServer, operator: redis.Redis, keys: Keys, executor: Parts
) -> None:
    """It may have been executed, and its execution forgotten: fresh permits do not help it."""
    hold(operator, keys)
    assert isinstance(execute_once(executor, intent_of()), Again)
    restart(first)
    grant(operator, keys, "plan-1")
    outcome = run_to_outcome(executor, intent_of())

    assert ("BLOCKED", "server_changed") == (outcome.decision, outcome.reason)
    assert ([], 2) == (orders_of(operator, keys), operator.exists(*permits(keys, "plan-1")))


@pytest.mark.fault("F14", "F15")
def test_a_plan_from_just_before_a_restart_is_refused(
    first: RealServer, operator: redis.Redis, keys: Keys, executor: Parts
) -> None:
    """A server counts its life in whole seconds: what it may have forgotten last counts as from before, too."""

    def fraction() -> int:
        return int(operator.time()[1])

    hold(operator, keys)
    # Early in the next second, a server that started late in this one says that it started a second ago.
    wait_until(lambda: 200_000 < fraction() < 400_000, "a second that has begun")
    assert isinstance(execute_once(executor, intent_of()), Again)
    restart(first)
    wait_until(lambda: fraction() < 100_000, "the next second")
    executor.gate.meet_server()
    grant(operator, keys, "plan-1")

    assert "server_changed" == run_to_outcome(executor, intent_of()).reason


def permits(keys: Keys, plan_id: str) -> list[str]:
    """The keys of both permits."""
    return [keys.permit(name, plan_id) for name in ("governor", "p33")]


@pytest.mark.fault("F14", "F15")
def test_a_registered_plan_from_before_a_restart_is_refused(
    first: RealServer, operator: redis.Redis, keys: Keys, executor: Parts
) -> None:
    """Taken up afterwards, but known before."""
    hold(operator, keys)
    fields: Any = {"state": "registered", "content": intent_of().content, "registered_ms": "1", "plan_id": "plan-1"}
    operator.hset(keys.record("plan-1"), mapping=fields)
    restart(first)
    executor.gate.meet_server()
    grant(operator, keys, "plan-1")

    assert "server_changed" == run_to_outcome(executor, intent_of()).reason


@pytest.mark.fault("F14", "F15")
def test_an_intent_created_before_a_restart_is_refused(
    first: RealServer, operator: redis.Redis, keys: Keys, executor: Parts
) -> None:
    """Where all that Redis knew of the plan may be forgotten, the intent's own time speaks."""
    hold(operator, keys)
    created = float(executor.store.now_s())
    restart(first)
    executor.gate.meet_server()
    now = float(executor.store.now_s())
    for plan_id in ("old", "new"):
        grant(operator, keys, plan_id)

    assert "server_changed" == run_to_outcome(executor, intent_of("old", created_at=created - 1)).reason
    assert run_to_outcome(executor, intent_of("new", created_at=now + 1)).executed


@pytest.mark.fault("F14", "F15")
def test_permits_from_before_a_restart_are_refused(
    first: RealServer, operator: redis.Redis, keys: Keys, executor: Parts
) -> None:
    """For as long as the very bytes stand there; written again, they are new permits."""
    hold(operator, keys)
    for plan_id in ("p1", "p2"):
        grant(operator, keys, plan_id)
    restart(first)
    outcome = run_to_outcome(executor, intent_of("p1"))
    assert ("server_changed", 2) == (outcome.reason, operator.exists(*permits(keys, "p1")))

    for name, text in zip(("governor", "p33"), (GOVERNOR_AGAIN, P33_AGAIN), strict=True):
        operator.set(keys.permit(name, "p2"), text, ex=60)
    assert run_to_outcome(executor, intent_of("p2")).executed
    assert {"p1": "server_changed", "p2": "EXECUTE"} == ends(operator, keys)


GOVERNOR_AGAIN = '{"granted": true, "symbol": "BTCUSDT", "created_at": 2}'
P33_AGAIN = '{"allow": true, "symbol": "BTCUSDT", "safe_close_qty": 0.008, "created_at": 2}'


@pytest.mark.fault("F15", promise="what came after the restart executes")
def test_business_goes_on_after_a_restart(
    first: RealServer, operator: redis.Redis, keys: Keys, executor: Parts
) -> None:
    """A plan and permits from after the change need nothing else; without a sweep an attempt meets the server."""
    hold(operator, keys)
    restart(first)
    assert isinstance(execute_once(executor, intent_of()), Again)
    grant(operator, keys, "plan-1")

    assert run_to_outcome(executor, intent_of()).executed


@pytest.mark.fault("F15", promise="a stored outcome stays")
def test_a_finished_plan_keeps_its_outcome_over_a_restart(
    first: RealServer, operator: redis.Redis, keys: Keys, executor: Parts
) -> None:
    """The stored outcome comes first, also on a new server."""
    hold(operator, keys)
    assert isinstance(execute_once(executor, intent_of()), Again)
    grant(operator, keys, "plan-1")
    outcome = run_to_outcome(executor, intent_of())
    restart(first)

    assert outcome == run_to_outcome(executor, intent_of())
    assert 1 == len(orders_of(operator, keys)) == len(results_of(operator, keys))


@pytest.mark.fault("F14")
def test_a_consumption_that_an_old_copy_forgot_is_not_repeated(
    data: Path,
    tmp_path: Path,
    first: RealServer,
    operator: redis.Redis,
    keys: Keys,
    executor: Parts,
    make_parts: Make,
) -> None:
    """F14, F15: the server comes back with data from before the consumption: record waiting, permits standing."""
    hold(operator, keys)
    for plan_id in ("taken-up", "not-taken-up"):
        if plan_id == "taken-up":
            assert isinstance(execute_once(executor, intent_of(plan_id)), Again)
        grant(operator, keys, plan_id)
    old_copy = tmp_path / "copy"
    shutil.copytree(data / "appendonlydir", old_copy / "appendonlydir")
    for plan_id in ("taken-up", "not-taken-up"):
        assert run_to_outcome(executor, intent_of(plan_id)).executed
    first.kill()

    with RealServer(old_copy) as second:
        parts = on(second, executor, make_parts)
        with redis.Redis(unix_socket_path=str(second.socket_path)) as client:
            assert 4 == client.exists(*permits(keys, "taken-up"), *permits(keys, "not-taken-up"))
            assert "waiting" == record_of(client, keys, "taken-up")["state"]
            outcomes = [run_to_outcome(parts, intent_of(plan_id)) for plan_id in ("taken-up", "not-taken-up")]
            # Nothing was ordered on the copy, where the journal was forgotten, too.
            assert [] == orders_of(client, keys)
    assert ["server_changed", "server_changed"] == [outcome.reason for outcome in outcomes]


@pytest.mark.parametrize("behind", [True, False], ids=["the-replica-missed-it", "the-replica-has-it"])
@pytest.mark.fault("F14")
def test_a_promoted_replica_repeats_nothing(
    first: RealServer, operator: redis.Redis, keys: Keys, executor: Parts, make_parts: Make, *, behind: bool
) -> None:
    """F14: whether the replica saw the consumption or not, the plan is ordered at most once over both."""
    hold(operator, keys)
    operator.config_set("repl-diskless-sync-delay", 0)
    assert isinstance(execute_once(executor, intent_of()), Again)
    grant(operator, keys, "plan-1")
    with RealServer() as second, redis.Redis(unix_socket_path=str(second.socket_path)) as client:
        replicate(first, operator, client)
        if behind:
            # Cut off: from here on it hears nothing of the first one.
            client.config_set("replica-read-only", "yes")
            client.replicaof("127.0.0.1", 1)
        executed = run_to_outcome(executor, intent_of())
        if not behind:
            wait_until(lambda: record_of(client, keys, "plan-1").get("state") == "done", "the replica has it all")
        first.kill()
        client.replicaof("NO", "ONE")
        parts = on(second, executor, make_parts)
        again: Outcome = run_to_outcome(parts, intent_of())

        assert executed.executed
        assert "server_changed" == again.reason if behind else again == executed
        assert (0 if behind else 1) == len(orders_of(client, keys))
        # From here on it is a server like any other.
        assert isinstance(execute_once(parts, intent_of("fresh")), Again)
        grant(client, keys, "fresh")
        assert run_to_outcome(parts, intent_of("fresh")).executed


def replicate(first: RealServer, operator: redis.Redis, client: redis.Redis) -> None:
    """Make the second server a replica, over TCP on a free port of the first, and wait until it is in step."""
    _ = first
    port = free_port(operator)
    client.replicaof("127.0.0.1", port)
    wait_until(lambda: client.info("replication")["master_link_status"] == "up", "in step")


def free_port(operator: redis.Redis) -> int:
    """Open the server on a TCP port that nobody else has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    operator.config_set("bind", "127.0.0.1")
    operator.config_set("port", port)
    return port


def test_the_server_is_met_once(operator: redis.Redis, keys: Keys, executor: Parts, first: RealServer) -> None:
    """Meeting it again changes nothing; what is known has a bounded life, refreshed by whoever meets it."""
    before = operator.hgetall(keys.server)
    operator.expire(keys.server, 5)
    executor.gate.meet_server()
    assert before == operator.hgetall(keys.server)
    assert 5 < operator.ttl(keys.server)

    grant(operator, keys, "plan-1")
    restart(first)
    executor.gate.meet_server()
    changed = operator.hgetall(keys.server)
    assert {f"permit:{key}".encode() for key in permits(keys, "plan-1")} < set(changed)

    operator.delete(*permits(keys, "plan-1"))
    restart(first)
    executor.gate.meet_server()
    assert {b"run_id", b"since_ms"} == set(operator.hgetall(keys.server))


def test_a_meeting_that_fails_has_met_nobody(
    operator: redis.Redis, keys: Keys, executor: Parts, first: RealServer
) -> None:
    """Out of memory on the way: the next call meets the server as if for the first time, and nothing is consumed."""
    hold(operator, keys)
    grant(operator, keys, "plan-1")
    restart(first)
    operator.config_set("maxmemory", 1)
    assert isinstance(execute_once(executor, intent_of()), Again)
    operator.config_set("maxmemory", 0)

    assert "server_changed" == run_to_outcome(executor, intent_of()).reason


class FarVenue:
    """A venue outside of this Redis, which remembers what Redis forgot, or cannot be asked."""

    def __init__(self, inner: Venue, order: Receipt | None) -> None:
        self._inner, self._order = inner, order

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def lookup(self, order: Order) -> Receipt | None:
        """The order it has, under the plan's client order id."""
        assert client_order_id("plan-1") == order.client_order_id
        if self._order is None:
            raise StoreUnavailable("the venue is away")
        return self._order


@pytest.mark.parametrize("reached", [True, False])
def test_an_order_that_redis_forgot_is_found_at_the_venue(
    first: RealServer, operator: redis.Redis, keys: Keys, executor: Parts, *, reached: bool
) -> None:
    """The refused plan's order stands there: it is told as executed. A venue that is away: the refusal says so."""
    order = Receipt("accepted", order_id="far-1", side="SELL", qty="0.008", executed_qty="0.008", status="filled")
    hold(operator, keys)
    assert isinstance(execute_once(executor, intent_of()), Again)
    restart(first)
    executor.gate.meet_server()
    parts = replace(executor, venue=FarVenue(executor.venue, order if reached else None))
    outcome = run_to_outcome(parts, intent_of())

    if reached:
        assert (True, "0.008", "far-1") == (outcome.executed, outcome.safe_qty, outcome.steps_results[0]["order_id"])
    else:
        assert ("server_changed", False) == (outcome.reason, outcome.executed)
        assert "the venue is away" in record_of(operator, keys, "plan-1")["detail"]
    assert 1 == len(results_of(operator, keys))

"""The connection under every script: what comes back is the answer to what was asked, or an error, in time."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tasks.address import RedisAddress
from tasks.store import Store, connect
from tasks.wire import Wire
from tests.helpers import wait_until
from tests.servers import RealServer

#: Milliseconds after which a call has failed.
TIMEOUT_MS = 300


@pytest.fixture
def own(tmp_path: Path) -> Iterator[RealServer]:
    """A server that this test may freeze and kill."""
    with RealServer(tmp_path / "data", appendfsync="always") as running:
        yield running


@pytest.fixture
def wire(own: RealServer) -> Iterator[Wire]:
    """A wire to that server."""
    made = Wire(connect(RedisAddress.parse(own.url), timeout_ms=TIMEOUT_MS))
    yield made
    made.close()


@pytest.fixture
def operator(own: RealServer) -> Iterator[redis.Redis]:
    """An operator's client on that server."""
    with redis.Redis(unix_socket_path=str(own.socket_path)) as plain:
        yield plain


def clients(operator: redis.Redis) -> int:
    """How many connections the server has, but for this one."""
    return len(operator.client_list()) - 1


def test_replies_come_in_order(wire: Wire) -> None:
    """Many commands in one piece, one of them refused, one with a long reply: each has its own reply."""
    text = b"x" * 300_000
    asked = [("SET", "a", text), ("LPUSH", "a", 1), ("GET", "a"), *[("ECHO", number) for number in range(500)]]
    stored, refused, got, *echoed = wire.ask(asked)

    assert (b"OK", text) == (stored, got)
    assert isinstance(refused, redis.ResponseError)
    assert "WRONGTYPE" in str(refused)
    assert [str(number).encode() for number in range(500)] == echoed


def test_errors_are_those_of_the_library(wire: Wire) -> None:
    """An unknown script is told from other refusals, as redis-py does."""
    (unknown,) = wire.ask([("EVALSHA", "0" * 40, 0)])

    assert isinstance(unknown, redis.exceptions.NoScriptError)


def test_a_server_that_stands_still_is_not_waited_for(wire: Wire, operator: redis.Redis) -> None:
    """A call fails in time, and the late reply answers no later question."""
    wire.ask([("SET", "a", "before")])
    operator.client_pause(4 * TIMEOUT_MS, all=True)
    with pytest.raises(redis.TimeoutError):
        wire.ask([("GETSET", "a", "late")])
    operator.client_unpause()

    assert [b"mine"] == wire.ask([("ECHO", "mine")])


def test_a_call_is_sent_again_only_where_it_may_be(wire: Wire, operator: redis.Redis) -> None:
    """A connection that ended under a call fails it; with `resend` the same call is made on a new one."""
    wire.ask([("PING",)])
    operator.client_kill_filter(_type="normal", skipme=True)
    with pytest.raises(redis.ConnectionError):
        wire.ask([("INCR", "sent")])
    wire.ask([("PING",)])
    operator.client_kill_filter(_type="normal", skipme=True)
    (counted,) = wire.ask([("INCR", "sent")], resend=True)

    assert 1 == counted


def test_a_rested_connection_that_ended_costs_no_call(
    wire: Wire, operator: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the server closed while nobody asked is opened again before a call that may not be sent twice."""
    monkeypatch.setattr("tasks.wire._RESTED_S", -1.0)
    wire.ask([("PING",)])
    operator.client_kill_filter(_type="normal", skipme=True)
    wait_until(lambda: 0 == clients(operator), "the connection gone")

    assert [b"once"] == wire.ask([("ECHO", "once")])


def test_what_is_about_a_connection_is_asked_over_no_other(
    wire: Wire, operator: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new connection has written nothing, and would be told that all of it is safe."""
    monkeypatch.setattr("tasks.wire._RESTED_S", -1.0)
    wire.ask([("SET", "a", 1)])
    assert 0 == wire.ask_there("WAIT", 0, 10)
    operator.client_kill_filter(_type="normal", skipme=True)
    wait_until(lambda: 0 == clients(operator), "the connection gone")
    for _ in range(2):
        with pytest.raises(redis.ConnectionError):
            wire.ask_there("WAIT", 0, 10)


def test_a_replica_is_left_for_its_master(wire: Wire, operator: redis.Redis) -> None:
    """After a refusal as read-only the next call is made on a new connection: with a sentinel, to the new master."""
    wire.ask([("PING",)])
    operator.replicaof("127.0.0.1", "1")
    before = operator.client_list()
    (refused,) = wire.ask([("SET", "a", 1)])
    operator.replicaof("NO", "ONE")
    (stored,) = wire.ask([("SET", "a", 1)])
    after = operator.client_list()

    assert isinstance(refused, redis.exceptions.ReadOnlyError)
    assert b"OK" == stored
    assert 1 == len({client["id"] for client in before} & {client["id"] for client in after})


def test_a_restarted_server_is_found(wire: Wire, own: RealServer) -> None:
    """A server that was killed fails calls until it is back, and then answers them."""
    wire.ask([("SET", "a", "kept")])
    own.kill()
    for _ in range(2):
        with pytest.raises(redis.ConnectionError):
            wire.ask([("GET", "a")])
    own.start()

    assert [b"kept"] == wire.ask([("GET", "a")])


def test_threads_do_not_share_a_wire(own: RealServer, operator: redis.Redis) -> None:
    """Each thread of a store has a connection of its own, and gets its own replies; all end with the store."""
    store = Store(connect(RedisAddress.parse(own.url), timeout_ms=5_000))
    wrong: list[Any] = []
    barrier = threading.Barrier(4)

    def ask(name: str) -> None:
        barrier.wait()
        wrong.extend(
            answer
            for number in range(300)
            for answer in store._wires.mine().ask([("ECHO", f"{name}-{number}")])
            if answer != f"{name}-{number}".encode()
        )
        barrier.wait()
        barrier.wait()

    threads = [threading.Thread(target=ask, args=(str(number),)) for number in range(3)]
    for thread in threads:
        thread.start()
    barrier.wait()
    barrier.wait()
    counted = clients(operator)
    store.close()
    wait_until(lambda: 0 == clients(operator), "every connection closed")
    barrier.wait()
    for thread in threads:
        thread.join()

    assert [] == wrong
    assert 3 == counted

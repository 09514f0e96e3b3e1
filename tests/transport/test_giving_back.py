"""What a dead worker took comes back, by Redis' clock; what cannot be a message is set aside then."""

import time
from typing import Any

import kombu
import pytest
import redis

import lua
from tests.helpers import some_always
from tests.servers import RealServer
from tests.transport.consuming import consuming, send
from tests.worker.entries import JUNK, RUNS, message, raw
from workers import junk


@pytest.mark.parametrize("entry", some_always(RUNS | JUNK, [*RUNS][:1] + [*JUNK][:2]))
@pytest.mark.fault("F4", "F25")
def test_what_a_dead_worker_took_comes_back_or_is_set_aside(
    server: RealServer, client: redis.Redis, monkeypatch: pytest.MonkeyPatch, entry: dict[str, Any] | bytes
) -> None:
    """A worker died between taking an entry and reading it: whatever it is, it is not dropped without a trace."""
    aside: list[bytes] = []
    monkeypatch.setattr(junk, "set_aside", lambda _queue, entry, _why: aside.append(entry))
    client.lpush("execute", raw(entry))
    keys = ["unacked", "unacked_index", "execute"]
    client.eval(lua.source("take_messages"), 3, *keys, "dead", 5, "", 1, '"execute"')
    assert (0, 1) == (client.llen("execute"), client.hlen("unacked"))

    client.zadd("unacked_index", {"dead.1": 1})
    with consuming(server) as consumer:
        consumer.turn_until(lambda: consumer.messages or aside, "redelivered, or set aside")

        assert 1 == len(consumer.messages) + len(aside)
        assert (entry in [*RUNS.values()]) <= bool(consumer.messages)


@pytest.mark.fault("F26")
def test_a_torn_acknowledgement_leaves_nothing_behind(server: RealServer, client: redis.Redis) -> None:
    """The connection ends between the two writes of an acknowledgement: what is left is dropped at the next restore."""
    send(client, 1)
    keys = ["unacked", "unacked_index", "execute"]
    client.eval(lua.source("take_messages"), 3, *keys, "dead", 5, "", 1, '"execute"')
    with consuming(server, queues=["position"]) as dying:
        (first, _), _ = dying.channel.qos._remove_from_indices("dead.1").command_stack
    client.execute_command(*first)  # type: ignore[no-untyped-call] # untyped in redis-py

    client.zadd("unacked_index", {"dead.1": 1}, xx=True)
    with consuming(server) as consumer:
        consumer.turn_until(lambda: not client.exists("unacked", "unacked_index"), "nothing is left")

        assert [] == consumer.messages
        assert 0 == client.llen("execute")


@pytest.mark.parametrize("skew_s", [-3600.0, -30.0, 30.0, 3600.0])
@pytest.mark.fault("F12")
def test_a_skewed_clock_restores_nothing_early_or_late(
    server: RealServer, client: redis.Redis, monkeypatch: pytest.MonkeyPatch, skew_s: float
) -> None:
    """Whether a message is given back depends on Redis' clock alone."""
    now_s = time.time()
    old, young = raw(message()).decode(), raw(message()).decode()
    client.hset("unacked", mapping={"old": f'[{old}, "", "execute"]', "young": f'[{young}, "", "execute"]'})
    client.zadd("unacked_index", {"old": now_s - 31, "young": now_s - 15})
    monkeypatch.setattr("workers.unacked.time", lambda: now_s + skew_s)
    monkeypatch.setattr("kombu.transport.redis.time", lambda: now_s + skew_s)

    options = {"visibility_timeout": 30}
    with kombu.Connection(server.url, transport_options=options) as connection:
        channel: Any = connection.default_channel
        channel.qos.restore_visible(interval=1)

    assert (1, [b"young"]) == (client.llen("execute"), client.hkeys("unacked"))

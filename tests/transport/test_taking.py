"""A message is in its queue or marked as unacknowledged, whatever is cut, killed, full or forgotten in between."""

import os
import signal
import socket
from functools import partial
from typing import Any

import pytest
import redis

from tests.helpers import wait_until
from tests.servers import RealServer
from tests.transport.consuming import QUEUES, consuming, marked, queued, send
from workers import take
from workers.take import Taker


def calls(client: redis.Redis) -> int:
    """How often the script was called."""
    stats: Any = client.info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("eval", "evalsha"))


def test_messages_are_taken_in_order_and_acknowledged(server: RealServer, client: redis.Redis) -> None:
    """Oldest first, each marked while it is worked on, nothing left of it afterwards."""
    with consuming(server) as consumer:
        sent = send(client, 3)
        consumer.turn_until(lambda: len(consumer.messages) == 3, "three messages")

        assert sent == consumer.ids
        assert sorted(sent) == sorted(marked(client))
        for got in consumer.messages:
            got.ack()
        consumer.turn_until(lambda: not client.exists("execute", "unacked", "unacked_index"), "nothing left")


def test_acknowledgements_of_one_turn_go_together(server: RealServer, client: redis.Redis) -> None:
    """One command each for index and marks, however many messages; nothing is waited for."""
    with consuming(server) as consumer:
        send(client, 20)
        consumer.turn_until(lambda: len(consumer.messages) == 20, "all of them")
        for got in consumer.messages:
            got.ack()
        consumer.turn_until(lambda: not marked(client), "nothing left")
        stats: Any = client.info("commandstats")

        assert (1, 1) == (stats["cmdstat_zrem"]["calls"], stats["cmdstat_hdel"]["calls"])


@pytest.mark.fault("F26")
def test_an_acknowledgement_whose_reply_is_lost_is_sent_again(server: RealServer, client: redis.Redis) -> None:
    """The connection ends under it: on the next one the mark goes all the same."""
    with consuming(server) as consumer:
        send(client, 2)
        consumer.turn_until(lambda: len(consumer.messages) == 2, "both messages")
        client.client_pause(300, all=False)
        for got in consumer.messages:
            got.ack()
        consumer.connection.transport.cycle.on_poll_start()
        consumer.channel.client.connection.disconnect()
        consumer.turn_until(lambda: not marked(client), "nothing left")


def test_acknowledgements_are_not_left_behind_by_a_close(server: RealServer, client: redis.Redis) -> None:
    """Acknowledged and closed in one turn, and acknowledged after the close: nothing is given back."""
    with consuming(server) as consumer:
        send(client, 2)
        consumer.turn_until(lambda: len(consumer.messages) == 2, "both messages")
        consumer.messages[0].ack()
        consumer.channel._closing = True
        consumer.messages[1].ack()
    assert 0 == client.exists("execute", "unacked", "unacked_index")


def test_no_more_are_taken_than_there_is_room_for(server: RealServer, client: redis.Redis) -> None:
    """What exceeds the prefetch limit stays in the queue, for any worker, and comes when there is room again."""
    with consuming(server, prefetch=2) as consumer:
        sent = send(client, 5)
        consumer.turn_until(lambda: len(consumer.messages) == 2, "two messages")
        for _ in range(3):
            consumer.turn()

        assert (sent[:2], sent[2:]) == (consumer.ids, queued(client))
        consumer.messages[0].ack()
        consumer.turn_until(lambda: len(consumer.messages) == 3, "one more")
        assert sent[3:] == queued(client)


def test_queues_take_turns_and_the_urgent_come_first(server: RealServer, client: redis.Redis) -> None:
    """A full queue starves no other one; a message with a higher priority (3, 6, 9: kombu's lists) goes first."""
    full = send(client, 4)
    other = send(client, 1, "position")
    urgent = send(client, 1, "execute\x06\x163")
    with consuming(server, prefetch=4) as consumer:
        consumer.turn_until(lambda: len(consumer.messages) == 4, "four messages")

        # kombu reads priority 0 first: the steps count downwards in urgency.
        assert urgent[0] not in consumer.ids
        assert {other[0], *full[:3]} == set(consumer.ids)


def test_the_server_tells_when_something_is_there(
    server: RealServer, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An idle consumer asks nothing until an entry arrives, and then at once."""
    monkeypatch.setattr(take, "ASK_AGAIN_S", 3600.0)
    with consuming(server) as consumer:
        for _ in range(10):
            consumer.turn()
        idle = calls(client)
        for _ in range(10):
            consumer.turn(0.01)
        assert idle == calls(client)

        for queue in QUEUES:
            (sent,) = send(client, 1, queue)
            consumer.turn_until(partial(consumer.has, sent), "the message")
        assert idle + 3 == calls(client)


def test_a_server_that_does_not_tell_is_asked(server: RealServer, client: redis.Redis) -> None:
    """An access list without CLIENT|TRACKING costs time, not messages."""
    rights = ["+@all", "-client|tracking"]
    client.acl_setuser("default", enabled=True, nopass=True, keys=["*"], channels=["*"], commands=rights)
    with consuming(server) as consumer:
        consumer.turn()
        sent = send(client, 2)
        consumer.turn_until(lambda: len(consumer.messages) == 2, "both messages")

        assert sent == consumer.ids


def test_a_missed_change_costs_a_second_not_a_message(
    server: RealServer, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a push is lost, the queues are asked again in any case."""
    monkeypatch.setattr(take, "ASK_AGAIN_S", 0.01)
    with consuming(server) as consumer:
        consumer.turn_until(lambda: consumer.channel._taker._told, "told of changes")
        consumer.channel._taker._reader = _Deaf(consumer.channel._taker._reader)
        sent = send(client, 1)
        consumer.turn_until(lambda: consumer.messages, "the message")

        assert sent == consumer.ids


class _Deaf:
    """A reader that drops pushes."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader
        self.feed = reader.feed

    def gets(self) -> Any:
        while (found := self._reader.gets()) is not False and "Push" in type(found).__name__:
            pass
        return found


@pytest.mark.fault("F16")
def test_a_forgotten_script_is_sent_again(server: RealServer, client: redis.Redis) -> None:
    """SCRIPT FLUSH between two calls."""
    with consuming(server) as consumer:
        for _ in range(3):
            client.script_flush()
            (sent,) = send(client, 1)
            consumer.turn_until(partial(consumer.has, sent), "the message")


def test_a_lost_reply_loses_nothing(server: RealServer, client: redis.Redis) -> None:
    """The connection dies after the script ran and before its reply is read: the same entries come, once each."""
    with consuming(server) as consumer:
        consumer.turn_until(lambda: not consumer.channel._taker.waiting, "the first answer")
        sent = send(client, 3)
        consumer.channel._taker._ask_at = 0.0
        consumer.connection.transport.cycle.on_poll_start()
        wait_until(lambda: len(marked(client)) == 3, "taken at the server")
        consumer.channel.client.connection._sock.shutdown(socket.SHUT_RDWR)
        consumer.channel.client.connection.disconnect()
        more = send(client, 1)
        consumer.turn_until(lambda: len(consumer.messages) == 4, "all of them")

        assert sent + more == consumer.ids
        assert sorted(sent + more) == sorted(marked(client))


@pytest.mark.fault("F26")
def test_what_a_closed_channel_took_goes_to_the_next(server: RealServer, client: redis.Redis) -> None:
    """A connection that is lost for good: the next channel of this process asks for what was on its way."""
    with consuming(server) as consumer:
        consumer.turn_until(lambda: not consumer.channel._taker.waiting, "the first answer")
        sent = send(client, 2)
        consumer.channel._taker._ask_at = 0.0
        consumer.connection.transport.cycle.on_poll_start()
        wait_until(lambda: len(marked(client)) == 2, "taken at the server")
        consumer.channel.client.connection.disconnect()
    assert sorted(sent) == sorted(marked(client))

    with consuming(server) as successor:
        successor.turn_until(lambda: len(successor.messages) == 2, "both messages")
        assert sent == successor.ids
    assert (sorted(sent), []) == (sorted(queued(client)), marked(client))


@pytest.mark.fault("F17")
def test_what_a_closed_channel_took_is_not_another_queues(server: RealServer, client: redis.Redis) -> None:
    """A channel with other queues, as a worker opens one first when it connects again, leaves that call alone."""
    with consuming(server) as consumer:
        consumer.turn_until(lambda: not consumer.channel._taker.waiting, "the first answer")
        sent = send(client, 1)
        consumer.channel._taker._ask_at = 0.0
        consumer.connection.transport.cycle.on_poll_start()
        wait_until(lambda: len(marked(client)) == 1, "taken at the server")
        consumer.channel.client.connection.disconnect()

    with consuming(server, queues=("answers",)) as other:
        other.turn_until(lambda: other.channel._taker._token == "" and other.channel._taker._asked_at, "its answer")
        assert [] == other.ids
        with consuming(server) as successor:
            successor.turn_until(lambda: successor.messages, "the message")
            assert sent == successor.ids


@pytest.mark.fault("F27")
def test_what_is_on_its_way_goes_back_when_the_channel_closes(server: RealServer, client: redis.Redis) -> None:
    """A stop in good order between call and reply: the entries are in their queue again, at once."""
    with consuming(server) as consumer:
        consumer.turn_until(lambda: not consumer.channel._taker.waiting, "the first answer")
        sent = send(client, 3)
        consumer.channel._taker._ask_at = 0.0
        consumer.connection.transport.cycle.on_poll_start()
        wait_until(lambda: len(marked(client)) == 3, "taken at the server")

    assert (sorted(sent), []) == (sorted(queued(client)), marked(client))


@pytest.mark.fault("F19")
def test_a_full_server_takes_nothing(server: RealServer, client: redis.Redis) -> None:
    """The mark is written before the entry leaves its queue: out of memory, it stays there, and comes later."""
    with consuming(server) as consumer:
        consumer.turn_until(lambda: not consumer.channel._taker.waiting, "the first answer")
        sent = send(client, 2)
        client.config_set("maxmemory", 1)
        for _ in range(5):
            consumer.turn()
        # A full Redis 7.0 refuses even to read within MULTI.
        client.config_set("maxmemory", 0)
        assert (sent, [], []) == (queued(client), marked(client), consumer.ids)

        consumer.turn_until(lambda: len(consumer.messages) == 2, "both messages")
        assert sent == consumer.ids


@pytest.mark.fault("F24")
def test_a_key_that_is_no_queue_keeps_nobody_from_the_others(server: RealServer, client: redis.Redis) -> None:
    """A queue's key of another type is passed over until it is mended."""
    with consuming(server) as consumer:
        client.set("position", "not a list")
        sent = send(client, 2)
        consumer.turn_until(lambda: len(consumer.messages) == 2, "both messages")
        client.delete("position")
        sent += send(client, 1, "position")
        consumer.turn_until(lambda: len(consumer.messages) == 3, "the mended queue's message")

        assert sorted(sent) == sorted(consumer.ids) == sorted(marked(client))


@pytest.mark.fault("F24")
def test_a_broken_index_takes_nothing(server: RealServer, client: redis.Redis) -> None:
    """A key of another type is met before the first write: nothing is marked that is still in its queue."""
    with consuming(server) as consumer:
        consumer.turn_until(lambda: not consumer.channel._taker.waiting, "the first answer")
        client.set("unacked_index", "not a set")
        sent = send(client, 2)
        consumer.turn_until(lambda: consumer.channel._taker._trouble, "refused")
        assert (sent, 0) == (queued(client), client.hlen("unacked"))

        client.delete("unacked_index")
        consumer.turn_until(lambda: len(consumer.messages) == 2, "both messages")
        assert sent == consumer.ids


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.fault("F15", "F26", promise="a message is in its queue or marked, never in neither")
def test_a_server_that_is_killed_keeps_every_message(server: RealServer, client: redis.Redis, how: int) -> None:
    """Restarted from its AOF: each message is in its queue or marked, never in neither, never in both."""
    with consuming(server, prefetch=50) as consumer:
        sent = send(client, 100)
        consumer.turn_until(lambda: consumer.messages, "some messages")
        os.kill(server.pid, how)
        wait_until(lambda: not server.running(), "the server gone")
        server.start()

        assert sorted(sent) == sorted(queued(client) + marked(client))


@pytest.mark.fault("F26")
def test_a_silent_server_is_left(server: RealServer, client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """A half-open connection never becomes readable: without a reply in time a new one is made."""
    monkeypatch.setattr(take, "SILENT_S", 0.2)
    with consuming(server) as consumer:
        consumer.turn_until(lambda: not consumer.channel._taker.waiting, "the first answer")
        old = consumer.channel.client.connection._sock
        os.kill(server.pid, signal.SIGSTOP)
        try:
            consumer.channel._taker._ask_at = 0.0
            consumer.connection.transport.cycle.on_poll_start()
            wait_until(lambda: consumer.channel._taker.silent, "overdue")
        finally:
            os.kill(server.pid, signal.SIGCONT)
        sent = send(client, 1)
        consumer.turn_until(lambda: consumer.messages, "the message")

        assert sent == consumer.ids
        assert old is not consumer.channel.client.connection._sock


def test_a_call_that_is_not_due_is_not_made() -> None:
    """Nothing is asked for without room, whatever is due."""
    taker = Taker()
    taker._socket = marker = object()

    class _Connection:
        _sock = marker

    assert taker.ask(_Connection(), [], [], 0) is False

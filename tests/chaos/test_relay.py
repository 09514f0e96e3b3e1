"""The relay in front of a server can do to a connection what networks do."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tasks.address import RedisAddress
from tasks.store import connect
from tests.chaos.relay import Relay, Relays
from tests.helpers import wait_until
from tests.servers import RealServer

SHORT_MS = 300


@pytest.fixture
def relay(server: RealServer, tmp_path: Path) -> Iterator[Relay]:
    """A relay in front of the test's server."""
    relays = Relays()
    folder = Path(f"/tmp/{tmp_path.parent.name}-{tmp_path.name}"[:60])  # noqa: S108 - a socket's path must be short
    folder.mkdir()
    yield relays.add(folder / "r", server.socket_path)
    relays.close()
    (folder / "r").unlink(missing_ok=True)
    folder.rmdir()


@pytest.fixture
def through(relay: Relay) -> Iterator[redis.Redis]:
    """A client behind the relay that does not wait for long, connected."""
    with connect(RedisAddress.parse(relay.url), timeout_ms=SHORT_MS) as client:
        assert answers(client)
        yield client


@pytest.fixture
def probe(relay: Relay) -> Iterator[redis.Redis]:
    """Another one, which finds out when the relay does what it was told."""
    with connect(RedisAddress.parse(relay.url), timeout_ms=SHORT_MS) as client:
        assert answers(client)
        yield client


def answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


def test_it_passes_everything_on(through: redis.Redis, client: redis.Redis, namespace: str) -> None:
    """A relay that is not told otherwise is not noticed, whatever the size."""
    through.set(f"{namespace}:permit:x", b"x" * 500_000)

    assert b"x" * 500_000 == client.get(f"{namespace}:permit:x") == through.get(f"{namespace}:permit:x")


def test_cut_means_dropped_and_refused(relay: Relay, through: redis.Redis) -> None:
    """A cut drops connections and refuses new ones until it is mended."""
    relay.cut()
    wait_until(lambda: not answers(through), "the connection is dropped")
    assert not answers(through)
    relay.mend()

    assert wait_until(lambda: answers(through), "new connections pass")


@pytest.mark.parametrize("late", [True, False])
def test_held_up_means_silence_then_late_or_never(
    relay: Relay, through: redis.Redis, probe: redis.Redis, client: redis.Redis, namespace: str, *, late: bool
) -> None:
    """What is said on a held-up connection arrives afterwards, or is lost with the connection."""
    key = f"{namespace}:permit:x"
    relay.hold_up()
    wait_until(lambda: not answers(probe), "silence")
    with pytest.raises(redis.TimeoutError):
        through.set(key, "late")
    assert client.get(key) is None
    relay.mend(late=late)
    assert wait_until(lambda: answers(through), "it passes again")

    if late:
        wait_until(lambda: client.get(key) == b"late", "the late command arrived")
    else:
        assert client.get(key) is None


def test_lost_replies_mean_done_and_not_heard(
    relay: Relay, through: redis.Redis, probe: redis.Redis, client: redis.Redis, namespace: str
) -> None:
    """A command whose reply is lost was executed; its connection is never used for another answer."""
    relay.lose_replies()
    wait_until(lambda: not answers(probe), "replies are lost")
    with pytest.raises(redis.TimeoutError):
        through.incr(f"{namespace}:permit:x")
    relay.mend()

    assert wait_until(lambda: answers(through), "it passes again")
    assert b"1" == client.get(f"{namespace}:permit:x")


def test_a_connection_that_lost_a_reply_ends(relay: Relay, server: RealServer) -> None:
    """After the mending a client cannot take the next reply for the lost one: its connection is closed."""
    path = RedisAddress.parse(relay.url).socket_path
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(10)
        line.connect(path)
        line.sendall(b"PING\r\n")
        assert b"+PONG\r\n" == line.recv(100)
        relay.lose_replies()
        wait_until(lambda: not echoes(path), "replies are lost")
        before = calls_of_ping(server)
        line.sendall(b"PING\r\n")
        wait_until(lambda: calls_of_ping(server) > before, "the server answered")
        relay.mend()

        assert b"" == line.recv(100)


def test_a_stale_connection_is_silent_for_ever(relay: Relay, through: redis.Redis) -> None:
    """What is connected hears nothing any more, not even an end; new connections pass."""
    path = RedisAddress.parse(relay.url).socket_path
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(SHORT_MS / 1000)
        line.connect(path)
        line.sendall(b"PING\r\n")
        assert b"+PONG\r\n" == line.recv(100)
        relay.go_stale()
        wait_until(lambda: not answers(through), "the connection is silent")
        assert wait_until(lambda: answers(through), "a new connection passes")
        relay.mend()
        line.sendall(b"PING\r\n")
        with pytest.raises(TimeoutError):
            line.recv(100)


def echoes(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(SHORT_MS / 1000)
        line.connect(path)
        line.sendall(b"PING\r\n")
        try:
            return bool(line.recv(100))
        except TimeoutError:
            return False


def calls_of_ping(server: RealServer) -> int:
    with connect(RedisAddress.parse(server.url)) as client:
        return int(client.info("commandstats")["cmdstat_ping"]["calls"])

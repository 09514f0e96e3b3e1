"""Whatever stands in a queue, the worker's process lives, and a good message behind it is answered."""

import base64
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from logging import ERROR, WARNING
from pathlib import Path
from typing import Any

import kombu
import pytest
import redis
from celery import Celery
from kombu import transport as kombu_transports
from kombu.transport import redis as stock

from tests.helpers import wait_until
from tests.servers import RealServer
from tests.worker.entries import BROADCASTS, JUNK, REFUSED, RUNS, TASK, message, older, raw
from workers import junk, transport

pytestmark = pytest.mark.broker("redis")

ROOT = Path(__file__).parents[2]
OVERRIDDEN = ("_brpop_read", "_brpop_start", "_get", "_poll_error", "_receive_one", "close")
Aside = list[tuple[str, bytes]]

APP = f"""
import redis
from celery import Celery
from workers import junk, transport

def keep(queue, raw, why):
    junk.log_junk(queue, raw, why)
    redis.Redis(unix_socket_path=SOCKET).rpush("aside", raw)

if OURS:
    transport.install()
    junk.on_junk(keep)
app = Celery("throwaway", broker="redis+socket://" + SOCKET, backend="redis+socket://" + SOCKET)
app.conf.update(task_default_queue="execute", task_acks_late=True, broker_connection_max_retries=3)

@app.task(name="{TASK}")
def echo(*args, **kwargs):
    return [args, kwargs]
"""


@dataclass(frozen=True)
class _Site:
    """A server, and the one worker on it with the throwaway application."""

    client: "redis.Redis"
    process: "subprocess.Popen[bytes]"
    log_path: Path

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def ended(self) -> bool:
        return self.process.poll() is not None

    def answered(self, task_id: str) -> bool:
        return bool(self.client.exists(f"celery-task-meta-{task_id}"))

    def push_and_wait(self, entry: bytes) -> None:
        """Push the entry and a good message behind it; return when that is answered and nothing is left of both."""
        good = message()
        self.client.delete("aside", "unacked", "unacked_index")
        self.client.lpush("execute", entry)
        self.client.lpush("execute", raw(good))
        wait_until(lambda: self.ended() or self.answered(good["headers"]["id"]), "the good message answered")
        wait_until(lambda: self.ended() or not self.client.exists("execute", "unacked", "unacked_index"), "all gone")


@contextmanager
def running(server: RealServer, folder: Path, *, ours: bool) -> Iterator[_Site]:
    """A real worker with threads, in a session of its own; killed at the end."""
    constants = f"SOCKET, OURS = {str(server.socket_path)!r}, {ours}\n"
    (folder / "throwaway.py").write_text(constants + APP, encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "celery",
        "-A",
        "throwaway",
        "worker",
        "--pool",
        "threads",
        "-c",
        "4",
        "-l",
        "INFO",
    ]
    env = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", "PYTHONWARNINGS": "ignore"}
    with (
        redis.Redis(unix_socket_path=str(server.socket_path)) as client,
        (folder / "log").open("wb") as log,
        subprocess.Popen(
            [*command, "--without-mingle"], cwd=folder, env=env, stdout=log, stderr=log, start_new_session=True
        ) as process,
    ):
        site = _Site(client, process, folder / "log")
        try:
            wait_until(lambda: site.ended() or " ready." in site.log(), "the worker ready", within_s=40)
            assert not site.ended(), site.log()

            yield site
        finally:
            if not site.ended():
                os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Site]:
    """One worker for all entries: if any ends it, every test behind that one fails too."""
    with RealServer() as server, running(server, tmp_path_factory.mktemp("ours"), ours=True) as site:
        yield site


@pytest.mark.parametrize("entry", JUNK.values(), ids=JUNK.keys())
@pytest.mark.fault("F25")
def test_junk_is_set_aside(site: _Site, entry: dict[str, Any] | bytes) -> None:
    """What no worker can run reaches the hook byte for byte, once; the same process goes on."""
    site.push_and_wait(raw(entry))

    assert [raw(entry)] == site.client.lrange("aside", 0, -1)
    assert (False, 1) == (site.ended(), site.log().count(" ready."))
    assert "Connection to broker lost" not in site.log()


@pytest.mark.parametrize(("entry", "line"), REFUSED.values(), ids=REFUSED.keys())
@pytest.mark.fault("F25", "F36")
def test_celery_still_refuses(site: _Site, entry: dict[str, Any], line: str) -> None:
    """What Celery refuses by itself is left to it: one line of its own, nothing set aside."""
    before = len(site.log())
    site.push_and_wait(raw(entry))

    assert line in site.log()[before:]
    assert ([], False) == (site.client.lrange("aside", 0, -1), site.ended())


@pytest.mark.parametrize("entry", RUNS.values(), ids=RUNS.keys())
def test_what_stock_runs_is_run(site: _Site, entry: dict[str, Any]) -> None:
    """No message is refused that a stock worker would run, however it was written."""
    body = entry["body"] if entry["properties"]["body_encoding"] == "utf-8" else base64.b64decode(entry["body"])
    task_id = (entry["headers"] or json.loads(body))["id"]
    site.push_and_wait(raw(entry))

    wait_until(lambda: site.answered(task_id), "the task's result")
    assert [] == site.client.lrange("aside", 0, -1)


@pytest.mark.parametrize("topic", ["/0.celery.pidbox", "/0.celeryev/worker.heartbeat"])
@pytest.mark.parametrize("entry", BROADCASTS.values(), ids=BROADCASTS.keys())
def test_a_junk_broadcast_is_dropped(site: _Site, topic: str, entry: bytes) -> None:
    """Junk among control commands and events leaves a line and the worker, and is not handed to the hook."""
    before = len(site.log())

    assert 1 == site.client.publish(topic, entry)
    wait_until(lambda: site.ended() or len(site.log()) > before, "a line about it")
    site.push_and_wait(raw(message()))
    assert ([], False) == (site.client.lrange("aside", 0, -1), site.ended())
    assert "Connection to broker lost" not in site.log()


def test_control_commands_are_answered(site: _Site) -> None:
    """Control commands, which come as broadcasts and are answered through a queue, work as ever."""
    socket = site.client.connection_pool.connection_kwargs["path"]
    with Celery("control", broker=f"redis+socket://{socket}", set_as_current=False) as control:
        answers = wait_until(lambda: control.control.ping(timeout=1), "an answer to ping")

    assert [{"ok": "pong"}] == [answer for reply in answers for answer in reply.values()]


def test_stock_kombu_still_dies(tmp_path: Path) -> None:
    """The control: a stock worker ends of one undecodable entry. Fails when upstream survives it: then drop ours."""
    with RealServer() as server, running(server, tmp_path, ours=False) as site:
        site.push_and_wait(b"garbage")

        assert site.process.wait(20) != 0
        assert "Unrecoverable error: JSONDecodeError" in site.log()


@pytest.fixture
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our transports in this process, for one test."""
    monkeypatch.setattr(kombu_transports, "TRANSPORT_ALIASES", dict(kombu_transports.TRANSPORT_ALIASES))
    monkeypatch.setattr(kombu_transports, "_transport_cache", {"redis": stock.Transport})
    transport.install()
    transport.install()


@pytest.fixture
def aside(monkeypatch: pytest.MonkeyPatch) -> Aside:
    """What is set aside in this process, as queue and entry."""
    found: Aside = []
    monkeypatch.setattr(junk, "set_aside", junk.set_aside)
    junk.on_junk(lambda queue, entry, _: found.append((queue, entry)))
    return found


@pytest.fixture
def channel(_installed: None) -> Iterator[Any]:
    """A channel of ours on a server without a worker."""
    with RealServer() as server, kombu.Connection(server.url) as connection:
        yield connection.default_channel


def consume(channel: Any, on_message: Callable[[Any], None]) -> None:
    """Deliver one entry of the queue `execute` as a worker does."""
    queue = kombu.Queue("execute", channel=channel)
    with kombu.Consumer(channel, [queue], on_message=on_message):
        channel.connection.client.drain_events(timeout=5)


@pytest.mark.usefixtures("_installed")
def test_addresses_lead_to_our_transports() -> None:
    """`install` may be called again, and counts even where a scheme was looked up before."""
    found = {
        scheme: kombu.Connection(f"{scheme}:///x").get_transport_cls()
        for scheme in ("redis", "rediss", "redis+socket", "sentinel")
    }

    ours, sentinel = transport.Transport, transport.SentinelTransport
    assert {"redis": ours, "rediss": ours, "redis+socket": ours, "sentinel": sentinel} == found
    assert (transport.Channel, transport.SentinelChannel) == (ours.Channel, sentinel.Channel)
    assert all(vars(transport.Channel)[name] is getattr(transport.SentinelChannel, name) for name in OVERRIDDEN)


def test_a_single_get_skips_junk(channel: Any, aside: Aside) -> None:
    """`basic_get` sets junk aside and returns the message behind it, then nothing."""
    good = message()
    channel.client.lpush("execute", b"garbage", b"", raw(good), b"null")

    assert good["headers"]["id"] == channel.basic_get("execute").headers["id"]
    assert channel.basic_get("execute") is None
    assert [("execute", b"garbage"), ("execute", b""), ("execute", b"null")] == aside


@pytest.mark.fault("F25")
def test_junk_among_the_unacknowledged_blocks_nothing(channel: Any, aside: Aside) -> None:
    """An entry that cannot be restored is set aside; older and newer messages of a dead worker come back."""
    entries = {"old": raw(message()), "junk": b"garbage", "new": raw(message())}
    kept = {tag: f'[{entry.decode()}, "", "execute"]' if tag != "junk" else entry for tag, entry in entries.items()}
    channel.client.hset("unacked", mapping=kept)
    channel.client.zadd("unacked_index", {tag: score for score, tag in enumerate(entries, 1)})

    channel.qos.restore_visible(interval=1)

    assert [("unacked", b"garbage")] == aside
    assert (2, 0) == (channel.client.llen("execute"), channel.client.exists("unacked", "unacked_index"))


@pytest.mark.parametrize("headers", [None, {}])
@pytest.mark.parametrize("named", [("nowhere", "execute"), ("", "")])
def test_a_message_goes_back_to_its_queue(channel: Any, named: tuple[str, str], headers: dict[str, str] | None) -> None:
    """An unacknowledged message returns to the queue it came from, whatever exchange it names."""
    entry = older(args=[]) | {"headers": headers}
    entry["properties"] |= {"delivery_info": dict(zip(("exchange", "routing_key"), named, strict=True))}
    channel.client.lpush("execute", raw(entry))
    consume(channel, lambda taken: taken.requeue())

    back = json.loads(channel.client.rpop("execute"))
    assert (entry["body"], True) == (back["body"], back["properties"]["delivery_info"]["redelivered"])
    assert 0 == channel.client.exists("unacked", "unacked_index")


def _raise(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize("error", [TypeError("bad"), KeyError("bad"), RecursionError(), ZeroDivisionError()])
def test_a_failed_delivery_is_blamed_on_the_entry(channel: Any, aside: Aside, error: Exception) -> None:
    """An error that the consumer raises over a message sets it aside and leaves nothing unacknowledged."""
    entry = raw(message())
    channel.client.lpush("execute", entry)

    consume(channel, lambda _: _raise(error))

    assert [("execute", entry)] == aside
    assert 0 == channel.client.exists("execute", "unacked", "unacked_index")


@pytest.mark.parametrize("error", [redis.ConnectionError, redis.ResponseError, OSError, RuntimeError, SystemExit])
def test_the_broker_is_not_blamed_on_the_entry(channel: Any, aside: Aside, error: type[BaseException]) -> None:
    """A lost connection, a full pool, a stop reach the worker as ever, and the message stays to be redelivered."""
    channel.client.lpush("execute", raw(message()))

    with pytest.raises(error):
        consume(channel, lambda _: _raise(error()))

    assert ([], 1) == (aside, channel.client.hlen("unacked"))


def test_nothing_is_blamed_on_an_entry_while_closing(channel: Any, aside: Aside) -> None:
    """An error out of half-closed parts is no reason to set a good message aside: it stays to be redelivered."""
    channel.client.lpush("execute", raw(message()))
    channel._closing = True

    with pytest.raises(AttributeError):
        consume(channel, lambda _: _raise(AttributeError()))

    assert ([], 1) == (aside, channel.client.hlen("unacked"))


def test_a_failing_hook_hurts_nothing(
    channel: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A hook that raises is logged, the entry too, and the next message is delivered."""
    monkeypatch.setattr(junk, "set_aside", junk.set_aside)
    junk.on_junk(lambda *_: _raise(ZeroDivisionError()))
    channel.client.lpush("execute", b"garbage", raw(message()))

    assert channel.basic_get("execute") is not None
    assert [ERROR, WARNING] == [record.levelno for record in caplog.records]
    assert "head=b'garbage'" in caplog.messages[1]


def test_the_default_hook_logs_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """Queue, size, reason and the first 200 bytes, escaped, on logger `permitwait`."""
    junk.log_junk("execute", b"\n" + b"A" * 999, "why not")

    (record,) = caplog.records
    assert ("permitwait", WARNING) == (record.name, record.levelno)
    assert rf"[SET_ASIDE] queue=execute bytes=1000 why=why not head=b'\n{'A' * 199}'" == record.getMessage()

"""Whatever is published over AMQP, the worker's process lives, and a good plan behind it is executed."""

import inspect
import json
import pickle
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import amqp
import kombu
import pytest
from kombu.transport import pyamqp as stock

from tests.helpers import grant, hold, orders_of, stream, wait_until
from tests.servers import RealServer
from tests.worker.entries import ABSENT, BAD_CONTENTS, BAD_PARTS
from tests.worker.nodes import SYMBOLS, Site, Worker, permit_texts, plan, site_on, start_worker, wait_for_ends

SYMBOL = SYMBOLS[0]
only_rabbitmq = pytest.mark.broker("rabbitmq")

_numbers = count(1)


@pytest.fixture(scope="module")
def live() -> Iterator[tuple[Site, Worker, Any]]:
    """One worker for all messages, and a channel of somebody who publishes what he likes."""
    with (
        RealServer() as server,
        start_worker(server) as worker,
        site_on(server) as site,
        kombu.Connection(server.broker_url) as connection,
    ):
        hold(site.client, site.keys, "1000", SYMBOL)
        yield site, worker, connection.default_channel


def publish(channel: Any, body: bytes, exchange: str = "", **properties: Any) -> None:
    """Publish bytes as they are, with any properties."""
    message = amqp.Message(body, **{"content_type": "application/json", "content_encoding": "utf-8"} | properties)
    channel.basic_publish(message, exchange=exchange, routing_key="execute")


def check_the_same_worker_works(site: Site, worker: Worker, pid: int) -> None:
    """Nothing is left of what came before, and the same process executes a good plan."""
    before, plan_id = len(orders_of(site.client, site.keys)), f"after-{next(_numbers)}"
    grant(site.client, site.keys, plan_id, *permit_texts(SYMBOL))
    site.send(plan(plan_id, SYMBOL), plan_id)
    wait_for_ends(site, [plan_id])
    wait_until(lambda: 0 == site.server.queue.ready() == site.server.queue.unacknowledged(), "every message done")

    assert (pid, "running", 1) == (worker.pid, worker.status, len(worker.lines(" ready.")))
    assert [] == worker.lines("Connection to broker lost")
    assert before + 1 == len(orders_of(site.client, site.keys))


def task(**changes: Any) -> dict[str, Any]:
    """Properties of a task message with these headers; what is ABSENT is left out."""
    headers = {"lang": "py", "task": "tasks.execute", "id": f"id-{next(_numbers)}"} | changes
    return {"application_headers": {name: value for name, value in headers.items() if value is not ABSENT}}


def as_bytes(content: Any) -> bytes:
    return content if isinstance(content, bytes) else json.dumps(content).encode()


GOOD_BODY = as_bytes([[], {"intent": plan("never", SYMBOL)}, {}])

#: Body and properties of what a stock worker dies of, or takes again for ever.
JUNK: dict[str, tuple[bytes, dict[str, Any]]] = {
    "empty": (b"", task()),
    "no JSON and no headers": (b"garbage", {}),
    "no content type": (GOOD_BODY, task() | {"content_type": "", "content_encoding": "binary"}),
    "a megabyte": (b"A" * 1_000_000, task()),
    "deep lists": (b"[" * 100_000 + b"]" * 100_000, task()),
    **{f"content {content!r:.20}": (as_bytes(content), task()) for content in BAD_CONTENTS},
    **{
        f"{path} {value!r:.20}": (GOOD_BODY, task(**{path.removeprefix("headers__"): value}))
        for path, values in BAD_PARTS.items()
        # What nesting a table may have is the client library's and the broker's to say.
        if path.startswith("headers__") and path != "headers__more"
        for value in values
        if value != "\ud800"
    },
    "id bytes": (GOOD_BODY, task(id=b"\xff")),
}


@only_rabbitmq
@pytest.mark.parametrize(("body", "properties"), JUNK.values(), ids=JUNK.keys())
@pytest.mark.fault("F25")
def test_junk_is_set_aside(live: tuple[Site, Worker, Any], body: bytes, properties: dict[str, Any]) -> None:
    """What no worker can run is kept for the operator, once, and rejected; the same process goes on."""
    site, worker, channel = live
    pid, before = worker.pid, site.client.xlen(site.keys.rejected)
    publish(channel, body, **properties)
    wait_until(lambda: site.client.xlen(site.keys.rejected) > before, "the message set aside")

    check_the_same_worker_works(site, worker, pid)
    (kept,) = stream(site.client, site.keys.rejected)[before:]
    assert ("execute", "undecodable", ascii(body[:500])) == (kept["queue"], kept["reason"], kept["message"])
    assert 0 == site.client.exists(site.keys.record("never"))


class Bomb:
    """Makes a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._path,)


@only_rabbitmq
@pytest.mark.fault("F36")
def test_only_json_is_read(live: tuple[Site, Worker, Any], tmp_path: Path) -> None:
    """A body in another format is refused unread: reading pickle would run code."""
    site, worker, channel = live
    pid, mark = worker.pid, tmp_path / "exploded"
    kinds = {
        "pickle": pickle.dumps(Bomb(mark)),
        "yaml": f"!!python/object/apply:os.mknod ['{mark}']".encode(),
    }
    for kind, body in kinds.items():
        properties = {"content_type": f"application/x-{kind.replace('pickle', 'python-serialize')}"}
        publish(channel, body, **task(), content_encoding="binary", **properties)
        wait_until(lambda: worker.lines("Refusing to deserialize untrusted content", kind), f"a refusal of {kind}")  # noqa: B023 - called at once

    check_the_same_worker_works(site, worker, pid)
    assert not mark.exists()


#: Refused by Celery itself, with a line that holds this.
REFUSED: dict[str, tuple[bytes, dict[str, Any], str]] = {
    "no headers": (b"[]", {}, "unknown message"),
    "unknown task": (GOOD_BODY, task(task="tasks.nope"), "unregistered task"),
    "no JSON": (GOOD_BODY, task() | {"content_type": "text/plain"}, "Refusing to deserialize untrusted content"),
}


@only_rabbitmq
@pytest.mark.parametrize(("body", "properties", "line"), REFUSED.values(), ids=REFUSED.keys())
@pytest.mark.fault("F25", "F36")
def test_celery_still_refuses(
    live: tuple[Site, Worker, Any], body: bytes, properties: dict[str, Any], line: str
) -> None:
    """What Celery refuses by itself is left to it, with one line of its own."""
    site, worker, channel = live
    pid, before = worker.pid, len(worker.lines(line))
    publish(channel, body, **properties)
    wait_until(lambda: len(worker.lines(line)) > before, "the refusal")

    check_the_same_worker_works(site, worker, pid)


@only_rabbitmq
@pytest.mark.parametrize("exchange", ["celery.pidbox", "celeryev"])
@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b'{"type": 5}', b"[" * 100_000, b'{"method": 5}'], ids=lambda body: repr(body)[:20]
)
@pytest.mark.fault("F25")
def test_a_junk_broadcast_is_dropped(live: tuple[Site, Worker, Any], exchange: str, body: bytes) -> None:
    """Junk among control commands and events ends no worker."""
    site, worker, channel = live
    pid = worker.pid
    for headers in ({}, {"hostname": 5}, {"clock": "x"}):
        publish(channel, body, exchange, application_headers=headers)

    check_the_same_worker_works(site, worker, pid)
    assert wait_until(lambda: site.producer.control.ping(timeout=1), "an answer to ping")


def test_upstream_is_what_we_know() -> None:
    """Other internals of the AMQP transport than those we override fail here and not in a worker."""
    taken = inspect.getsource(kombu.Consumer._receive_callback)

    assert {"queue", "callback", "no_ack"} <= set(inspect.signature(amqp.Channel.basic_consume).parameters)
    assert ["self", "reply_code", "reply_text", "class_id", "method_id"] == list(
        inspect.signature(vars(amqp.Channel)["_on_close"]).parameters
    )
    assert "message = m2p(message)" in taken
    assert stock.Connection.Channel is stock.Channel
    assert stock.Transport.Connection is stock.SSLTransport.Connection is stock.Connection

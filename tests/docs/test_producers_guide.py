"""The producer's guide does what it says: each of its ways brings a plan to a real worker, which executes it."""

import io
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from itertools import dropwhile, takewhile
from signal import SIGINT
from typing import Any
from urllib.parse import urlsplit

import amqp
import pytest
import redis

from tasks.settings import read_settings
from tasks.submit import _app, _store_at
from tests.docs.documents import Block, blocks_of, prose_of
from tests.helpers import GOVERNOR, P33, grant, hold, orders_of
from tests.servers import RabbitQueue, RealServer, node
from tests.worker.nodes import Site, Worker, clean_environment, plan, site_on, start_worker, wait_for_ends

GUIDE = "docs/producers-guide.md"
SHOWN_URL = "redis://localhost:6379/0"


@pytest.fixture
def site() -> Iterator[Site]:
    """A server of this test's own, with a position to close."""
    with RealServer() as server, site_on(server) as site:
        hold(site.client, site.keys, "100")
        yield site


@pytest.fixture
def worker(site: Site) -> Iterator[Worker]:
    """A worker that trades the symbol of the guide; the tests write the permits."""
    with start_worker(site.server, APPLY_ALLOWLIST="BTCUSDT", APPLY_PERMIT_WAIT_MS="20000") as worker:
        yield worker


def marked(language: str, part: str) -> Block:
    """The one block of the guide that is marked to be run and holds `part`."""
    [block] = [
        block
        for block in blocks_of(GUIDE)
        if block.run and block.language == language and part in "\n".join(block.lines)
    ]
    return block


def redis_cli(client: redis.Redis, block: Block) -> list[Any]:
    """Run each `$ redis-cli …` line of a block, word for word, and answer what the server answered."""
    calls = [shlex.split(line.removeprefix("$ ")) for line in block.lines if line.startswith("$ ")]

    assert calls
    assert {"redis-cli"} == {words[0] for words in calls}
    return [client.execute_command(*words[1:]) for words in calls]  # type: ignore[no-untyped-call]


def run_python(block: Block, url: str) -> str:
    """Run a Python block with the address of this test's server; what it printed."""
    printed = io.StringIO()
    with redirect_stdout(printed):
        exec(compile("\n".join(block.lines).replace(SHOWN_URL, url), block.place, "exec"), {})  # noqa: S102 - our own document
    return printed.getvalue()


def ordered(site: Site) -> list[str]:
    """Plans with an order, in order."""
    return [order["plan_id"] for order in orders_of(site.client, site.keys)]


def test_one_lpush_is_a_plan(site: Site, worker: Worker) -> None:
    """The message that is shown byte for byte is taken up, executed once, and answered where the guide says."""
    plan_id = "67e6da21fa9fe508"
    grant(site.client, site.keys, plan_id, GOVERNOR, P33)
    pushed = redis_cli(site.client, marked("console", "LPUSH execute"))
    wait_for_ends(site, [plan_id])
    answer = marked("console", "HMGET")
    [values] = redis_cli(site.client, answer)
    shown = [line.split('"')[1] for line in answer.lines[1:]]
    [[[stream, entries]]] = redis_cli(site.client, marked("console", "XREAD"))

    assert [1] == pushed
    assert [plan_id] == ordered(site)
    assert [(text, True) for text in shown] == [
        (text, text in {"…", value.decode()}) for text, value in zip(shown, values, strict=True)
    ]
    assert site.keys.results == stream.decode()
    assert [plan_id] == [fields[b"plan_id"].decode() for _, fields in entries]
    assert [] == worker.lines("Traceback")


def test_the_shown_message_is_all_that_is_needed() -> None:
    """Its body is the text that the guide describes, and each part that it names is there."""
    [line] = [line for line in marked("console", "LPUSH execute").lines if line.startswith("$ ")]
    message = json.loads(shlex.split(line)[-1])
    args, kwargs, rest = json.loads(message["body"])

    assert ([], {"intent"}, None) == (args, set(kwargs), rest)
    assert message["headers"]["id"] == kwargs["intent"]["plan_id"]
    assert {"task", "id"} == set(message["headers"])
    assert {"body_encoding", "delivery_tag", "delivery_info"} == set(message["properties"])


def test_submit_hands_back_the_outcome(site: Site, worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Python of the guide runs as it stands, and prints what became of the plan."""
    monkeypatch.setitem(os.environ, "APPLY_REDIS_URL", site.server.url)
    monkeypatch.setattr("tasks.submit.settings_of_process", read_settings)
    grant(site.client, site.keys, "67e6da21fa9fe506", GOVERNOR, P33)
    printed = run_python(marked("python", "import submit"), site.server.url)
    _store_at(site.server.url).close()
    _app(site.server.url).close()
    _store_at.cache_clear()
    _app.cache_clear()

    assert printed.startswith("EXECUTE  0.008 ")
    assert ["67e6da21fa9fe506"] == ordered(site)
    assert [] == worker.lines("Traceback")


def test_any_celery_client_will_do(site: Site, worker: Worker) -> None:
    """Nothing of ours is imported by the second way."""
    block = marked("python", "send_task")
    grant(site.client, site.keys, "67e6da21fa9fe507", GOVERNOR, P33)
    printed = run_python(block, site.server.url)

    assert "EXECUTE\n" == printed
    assert ["67e6da21fa9fe507"] == ordered(site)
    assert [] == [line for line in block.lines if "tasks" in line and "import" in line]
    assert [] == worker.lines("Traceback")


def test_a_stream_entry_is_a_plan(site: Site, worker: Worker) -> None:
    """The entry that is shown becomes a task by `permitwait feed`, and an order."""
    plan_id = "67e6da21fa9fe509"
    grant(site.client, site.keys, plan_id, GOVERNOR, P33)
    redis_cli(site.client, marked("console", "XADD"))
    feed = subprocess.Popen(
        [sys.executable, "-m", "ops", "feed"],
        env=clean_environment(APPLY_REDIS_URL=site.server.url),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for_ends(site, [plan_id])
    finally:
        feed.send_signal(SIGINT)
        feed.wait(20)

    assert [plan_id] == ordered(site)
    assert [] == worker.lines("Traceback")


@pytest.mark.long
@pytest.mark.parametrize("exchange", ["execute", ""])
def test_one_publish_is_a_plan(exchange: str) -> None:
    """Over AMQP, the parts of the guide's table are a plan, through our exchange and through the default one."""
    wanted = {row[0]: row[1] for row in rows_under("## Any language, over AMQP")}
    intent = plan("over-amqp", "BTCUSDT")
    with RealServer() as server, site_on(server) as site:
        queue = RabbitQueue(node())
        hold(site.client, site.keys, "100")
        grant(site.client, site.keys, "over-amqp", GOVERNOR, P33)
        settings = {"APPLY_ALLOWLIST": "BTCUSDT", "APPLY_BROKER_URL": queue.url, "APPLY_PERMIT_WAIT_MS": "20000"}
        parts = urlsplit(queue.url)
        with start_worker(server, **settings) as worker:
            connection = amqp.Connection(
                f"{parts.hostname}:{parts.port}",
                parts.username or "",
                parts.password or "",
                virtual_host=parts.path[1:],
            )
            with connection:
                message = amqp.Message(
                    wanted["body"].split("`")[1].replace("PLAN", json.dumps(intent)),
                    content_type="application/json",
                    content_encoding="utf-8",
                    application_headers={"task": "tasks.execute", "id": "over-amqp"},
                    delivery_mode=2,
                )
                connection.channel().basic_publish(message, exchange=exchange, routing_key="execute")
            wait_for_ends(site, ["over-amqp"])

            assert {"body", "content type, encoding", "headers", "delivery mode"} == set(wanted)
            assert "`task`: `tasks.execute`, `id`: the plan id" == wanted["headers"]
            assert ["over-amqp"] == ordered(site)
            assert [] == worker.lines("Traceback")
        queue.close()


def rows_under(heading: str) -> list[list[str]]:
    """The first table under a heading of the guide, without its head, cell by cell."""
    lines = [piece.text for piece in prose_of(GUIDE)]
    after = lines[lines.index(heading) :]
    table = list(takewhile(lambda line: line.startswith("|"), dropwhile(lambda line: not line.startswith("|"), after)))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]

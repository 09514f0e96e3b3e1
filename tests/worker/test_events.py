"""What a real worker tells those who watch: one event for each end, named after it, and nothing that is secret."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from celery import Celery
from celery.events.receiver import EventReceiver
from celery.events.state import State

from tests.helpers import GOVERNOR, P33, grant, hold, orders_of, wait_until
from tests.servers import RealServer
from tests.worker.nodes import (
    SYMBOLS,
    Site,
    celery_command,
    clean_environment,
    permit_texts,
    plan,
    site_on,
    start_worker,
)

SYMBOL = SYMBOLS[0]
SECRET = "sk-8d1f"  # noqa: S105 - what a careless client sends
WAIT = {"APPLY_PERMIT_WAIT_MS": "1000"}


@pytest.fixture
def site() -> Iterator[Site]:
    """A server of this test's own, with a position to close."""
    with RealServer() as server, site_on(server) as site:
        hold(site.client, site.keys, "100", SYMBOL)
        yield site


@contextmanager
def watching(site: Site) -> Iterator[list[dict[str, Any]]]:
    """Every event from now on, as any dashboard receives them."""
    heard: list[dict[str, Any]] = []
    with site.producer.connection_for_read() as connection:
        receiver = EventReceiver(connection, handlers={"*": heard.append}, app=site.producer)
        listener = Thread(target=receiver.capture, daemon=True)
        listener.start()
        try:
            # Its queue is there when the workers' answers to its greeting come in.
            wait_until(lambda: heard, "the receiver hears the worker")
            yield heard
        finally:
            receiver.should_stop = True
            listener.join(10)


def switch_on(site: Site) -> None:
    """What Flower does every 5 s; returns when the worker has answered."""
    assert site.producer.control.enable_events(reply=True, timeout=10, limit=1)


def told(heard: list[dict[str, Any]], plan_id: str) -> list[str]:
    """Types of the events about one plan, in order."""
    return [event["type"] for event in heard if event.get("uuid") == plan_id]


def shown_state(heard: list[dict[str, Any]], plan_id: str) -> str:
    """The state that every dashboard built on Celery's events shows for a plan."""
    state: Any = State()
    for event in list(heard):
        state.event(dict(event))
    return str(state.tasks[plan_id].state)


@pytest.mark.parametrize(
    "pool", ["threads", pytest.param("prefork", marks=pytest.mark.long), pytest.param("solo", marks=pytest.mark.long)]
)
def test_each_end_is_told_by_its_own_event(site: Site, pool: str) -> None:
    """Executed, blocked and rejected plans end in events of different names, waiting ones are told too."""
    refused = {"safe_close_qty": 1000, "exchange_position_amt": 1000}
    with start_worker(site.server, "--pool", pool, "--concurrency", "2", **WAIT), watching(site) as heard:
        switch_on(site)
        grant(site.client, site.keys, "done", *permit_texts(SYMBOL))
        grant(site.client, site.keys, "above", *permit_texts(SYMBOL))
        p33 = json.dumps(json.loads(permit_texts(SYMBOL)[1]) | refused)
        site.client.set(site.keys.permit("p33", "above"), p33, ex=60)
        results = [site.send(plan(plan_id, SYMBOL), plan_id) for plan_id in ("done", "above", "late")]
        states = [result.get(timeout=30)["decision"] for result in results]
        ends = {"done": "task-succeeded", "above": "task-venue-rejected", "late": "task-blocked"}
        wait_until(lambda: all(end in told(heard, plan_id) for plan_id, end in ends.items()), f"ends in {heard}")
        site.send(plan("late", SYMBOL), "late").get(timeout=30)
        wait_until(lambda: told(heard, "late").count("task-blocked") == 2, "the repeat's end")

        assert ["EXECUTE", "REJECTED", "BLOCKED"] == states
        assert "task-waiting" in told(heard, "late")
        assert "task-waiting" not in told(heard, "done")
        assert ends == {plan_id: told(heard, plan_id)[-1] for plan_id in ends}
        assert 1 == sum(event["type"] == "task-succeeded" for event in heard)
        assert ("SUCCESS", "VENUE-REJECTED", "BLOCKED") == tuple(shown_state(heard, plan_id) for plan_id in ends)
        assert "{'decision': 'BLOCKED', 'reason': 'missing_both'" in heard[-1]["result"]


@pytest.mark.long
def test_a_dry_run_is_not_told_as_an_order(site: Site) -> None:
    """What would have executed is told apart from what did."""
    with start_worker(site.server, APPLY_MODE="dry_run") as _, watching(site) as heard:
        switch_on(site)
        grant(site.client, site.keys, "dry", *permit_texts(SYMBOL))
        site.send(plan("dry", SYMBOL), "dry").get(timeout=30)

        wait_until(lambda: "task-dry-run" in told(heard, "dry"), "the event of a dry run")

        assert "task-succeeded" not in told(heard, "dry")
        assert [] == orders_of(site.client, site.keys)


def test_what_a_client_put_in_reaches_no_dashboard(site: Site) -> None:
    """Events and `celery inspect` name the plan; other fields, and arguments of another kind, are not repeated."""
    with start_worker(site.server, APPLY_PERMIT_WAIT_MS="20000") as worker, watching(site) as heard:
        switch_on(site)
        site.send(plan("parked", SYMBOL, api_key=SECRET, source=SECRET), "parked")
        site.producer.send_task("tasks.execute", args=(SECRET,), kwargs={"key": SECRET}, task_id="odd", queue="execute")
        wait_until(lambda: "task-blocked" in told(heard, "odd"), "the odd message refused")
        inspect = site.producer.control.inspect(timeout=10, limit=1)
        scheduled = wait_until(inspect.scheduled, "the worker's answer")
        found = inspect.query_task("parked")
        permits = (GOVERNOR.replace("BTCUSDT", SYMBOL), P33.replace("BTCUSDT", SYMBOL))
        grant(site.client, site.keys, "parked", *permits)
        wait_until(lambda: "task-succeeded" in told(heard, "parked"), "the parked plan executed")
        received = next(event for event in heard if (event["type"], event.get("uuid")) == ("task-received", "parked"))

        assert SECRET not in json.dumps([heard, scheduled, found])
        assert (
            "{'plan_id': 'parked', 'symbol': 'T00USDT', 'action': 'PARTIAL_75', 'decision': 'EXECUTE'}"
            == (received["kwargs"])
        )
        assert 1 == sum(len(entries) for entries in scheduled.values())
        assert [] == worker.lines("Traceback")


@pytest.mark.long
def test_nobody_watches_nothing_is_told(site: Site) -> None:
    """Events of tasks start when a dashboard asks for them, and cost nothing before."""
    with start_worker(site.server, **WAIT), watching(site) as heard:
        site.send(plan("unseen", SYMBOL), "unseen").get(timeout=30)
        wait_until(lambda: site.server.queue.unacknowledged() == 0, "the worker done with it")
        switch_on(site)
        site.send(plan("seen", SYMBOL), "seen").get(timeout=30)
        wait_until(lambda: "task-blocked" in told(heard, "seen"), "the seen plan's end")

        assert [] == told(heard, "unseen")


@pytest.mark.broker("redis")
def test_a_worker_does_not_tell_the_brokers_password(site: Site) -> None:
    """`inspect stats`, which Flower shows, names the broker and the user; Celery's own tells a socket's password."""
    site.client.acl_setuser(
        "desk", enabled=True, passwords=[f"+{SECRET}"], keys=["*"], channels=["*"], categories=["+@all"]
    )
    # This Redis is the broker here, whatever the run is about.
    url = site.server.url.replace("://", f"://desk:{SECRET}@")
    with start_worker(site.server, APPLY_REDIS_URL=url, APPLY_BROKER_URL=url), closing(Celery(broker=url)) as client:
        inspect = client.control.inspect(timeout=10, limit=1)
        stats = wait_until(inspect.stats, "the worker's statistics")
        conf = inspect.conf(with_defaults=True)

        assert "redis+socket://desk:**@" in json.dumps(stats)
        assert conf
        assert SECRET not in json.dumps([stats, conf])


@pytest.mark.parametrize(
    ("options", "env", "line"),
    [
        ((), {}, "Flower needs a login"),
        (("--read_only=False",), {"FLOWER_BASIC_AUTH": "desk:twelve-chars"}, "Flower must be read-only"),
        pytest.param(
            (), {"APPLY_FLOWER_AUTH_FILE": "none"}, "APPLY_FLOWER_AUTH_FILE=none cannot be read", marks=pytest.mark.long
        ),
        pytest.param(
            (),
            {"FLOWER_BASIC_AUTH": "desk:twelve-chars", "APPLY_REDIS_URL": ""},
            "APPLY_REDIS_URL is not set",
            marks=pytest.mark.long,
        ),
    ],
)
def test_flower_does_not_start_open(tmp_path: Path, options: tuple[str, ...], env: dict[str, str], line: str) -> None:
    """From whatever folder, one line says what is missing, and nothing listens."""
    settings = {"APPLY_REDIS_URL": f"redis+socket://{tmp_path}/none.sock"} | env
    ended = subprocess.run(
        celery_command("flower", "--port=0", *options),
        cwd=tmp_path,
        env=clean_environment(**settings),
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert 1 == ended.returncode
    assert ended.stderr.splitlines()[-1].startswith(f"permitwait: {line}")
    assert "Visit me" not in ended.stderr

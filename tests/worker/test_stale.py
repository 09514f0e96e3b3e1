"""A network that forgets connections without a word: a worker notices, and takes plans again by itself."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from celery import Celery

from tests.chaos.relay import Relay, Relays
from tests.helpers import grant, hold, record_of, wait_until
from tests.servers import RealServer
from tests.worker.nodes import SYMBOLS, Site, permit_texts, plan, start_worker

pytestmark = pytest.mark.broker("redis")

SYMBOL = SYMBOLS[0]
#: Until a worker has noticed: generous, a network's own timeouts are minutes to hours.
NOTICED_WITHIN_S = 40.0


@pytest.fixture
def server() -> Iterator[RealServer]:
    """A server of this test's own."""
    with RealServer() as running:
        yield running


@pytest.fixture
def ways(server: RealServer) -> Iterator[dict[str, Relay]]:
    """The worker's ways to its store and to its broker, which are one server."""
    relays = Relays()
    with TemporaryDirectory(prefix="pw-") as folder:
        yield {name: relays.add(Path(folder) / name, server.socket_path) for name in ("store", "broker")}
        relays.close()


@contextmanager
def producing(server: RealServer) -> Iterator[Site]:
    """A producer of its own on the same server, whatever broker this run is about."""
    app = Celery("any-producer", broker=server.url, set_as_current=False)
    with closing(Site(server, app)) as site:
        yield site
        app.pool.force_close_all()  # type: ignore[attr-defined] # typed as the pool of producers
        app.close()


def executes(site: Site, plan_id: str) -> bool:
    grant(site.client, site.keys, plan_id, *permit_texts(SYMBOL))
    site.send(plan(plan_id, SYMBOL), plan_id)
    try:
        wait_until(lambda: record_of(site.client, site.keys, plan_id).get("state") == "done", "done", within_s=1)
    except pytest.fail.Exception:
        return False
    return True


@pytest.mark.parametrize(
    ("forgotten", "busy"),
    [
        pytest.param("broker", True, id="busy, broker", marks=pytest.mark.long),
        pytest.param("broker", False, id="idle, broker", marks=pytest.mark.long),
        pytest.param("store", True, id="busy, store", marks=pytest.mark.long),
        pytest.param("store", False, id="idle, store", marks=pytest.mark.long),
    ],
)
@pytest.mark.fault("F21", "F26")
def test_a_worker_survives_that_its_connections_are_forgotten(
    server: RealServer, ways: dict[str, Relay], forgotten: str, *, busy: bool
) -> None:
    """All connections go silent at once, with and without plans in hand: later plans execute."""
    urls = {"APPLY_REDIS_URL": ways["store"].url, "APPLY_BROKER_URL": ways["broker"].url}
    with start_worker(server, **urls), producing(server) as site:
        hold(site.client, site.keys, "100", SYMBOL)
        numbers = count()
        wait_until(lambda: executes(site, f"plan-{next(numbers)}"), "a plan executes")
        if busy:
            for number in range(10):
                site.send(plan(f"waiting-{number}", SYMBOL), f"waiting-{number}")
            wait_until(lambda: site.client.exists(site.keys.record("waiting-9")), "plans wait")
        ways[forgotten].go_stale()
        wait_until(lambda: executes(site, f"plan-{next(numbers)}"), "a plan executes again", NOTICED_WITHIN_S)
        wait_until(lambda: 0 == site.client.llen("execute"), "all are taken up", NOTICED_WITHIN_S)
        wait_until(lambda: 0 == site.client.zcard(site.keys.open), "all have ended", NOTICED_WITHIN_S)

"""Real workers and their signs of life: what they tell, when they stop telling, and what is remembered."""

from collections.abc import Iterator
from typing import Any

import pytest

from tasks.keys import Keys
from tasks.life import LIFE_MS, Life
from tests.helpers import texts, wait_until
from tests.servers import RealServer
from tests.worker.nodes import SYMBOLS, Site, Worker, plan, site_on, start_worker

SYMBOL = SYMBOLS[0]


@pytest.fixture
def site() -> Iterator[Site]:
    """A server of this test's own."""
    with RealServer() as server, site_on(server) as site:
        yield site


def hostname(worker: Worker) -> str:
    """The worker's node name."""
    return f"{worker.worker_name()}@{worker.id[:12]}"


def life_of(site: Site, worker: Worker) -> Life | None:
    """The worker's last sign; None where it has expired or was taken back."""
    return Life.read(texts(site.client.hgetall(site.keys.worker(hostname(worker)))))  # type: ignore[arg-type] # bytes


def told(site: Site, worker: Worker, **facts: object) -> Life:
    """Wait for a sign that tells these facts."""

    def found() -> Life | None:
        life = life_of(site, worker)
        return life if life and all(getattr(life, name) == value for name, value in facts.items()) else None

    life: Life = wait_until(found, f"a sign of life with {facts}")
    return life


def remembered(site: Site, keys: Keys) -> list[str]:
    """The workers in the index."""
    return [name.decode() for name in site.client.zrange(keys.workers, 0, -1)]  # type: ignore[union-attr] # bytes


@pytest.mark.parametrize(
    ("pool", "concurrency", "options"),
    [
        ("threads", 16, ()),
        pytest.param("prefork", 2, ("--pool", "prefork", "--concurrency", "2"), marks=pytest.mark.long),
    ],
)
def test_a_worker_tells_what_it_runs(site: Site, pool: str, concurrency: int, options: tuple[str, ...]) -> None:
    """Pool, queues, settings in force, what waits in it and whether permits wake it; taken back when it stops."""
    with start_worker(site.server, "-Q", "execute", *options, APPLY_PERMIT_WAIT_MS="30000") as worker:
        idle = told(site, worker, watch="alive")
        for name in ("p1", "p2", "p3"):
            site.send(plan(name, SYMBOL), name)
        waiting = told(site, worker, parked=3)
        now_s, micros = site.client.time()

        assert (worker.pid, pool, concurrency, ("execute",)) == (idle.pid, idle.pool, idle.concurrency, idle.queues)
        assert ("paper", "30000", "15") == (
            idle.config["APPLY_MODE"],
            idle.config["APPLY_PERMIT_WAIT_MS"],
            idle.config["P33_COOLDOWN_SEC"],
        )
        assert (0, 0) == (idle.parked, waiting.running)
        assert idle.started_ms <= idle.watch_since_ms <= idle.at_ms
        # One clock, on one machine.
        assert abs(idle.clock_offset_ms) < 1000
        assert 0 <= now_s * 1000 + micros // 1000 - waiting.at_ms < LIFE_MS
        assert 0 < site.client.pttl(site.keys.worker(hostname(worker))) <= LIFE_MS
        assert [hostname(worker)] == remembered(site, site.keys)
        worker.kill("SIGTERM")
        worker.wait()

        assert life_of(site, worker) is None
        assert [] == remembered(site, site.keys)


def test_a_killed_worker_is_missed(site: Site) -> None:
    """Its sign expires by itself, and the index remembers that there was one."""
    with start_worker(site.server) as worker:
        told(site, worker, watch="alive")
        worker.kill()
        wait_until(lambda: life_of(site, worker) is None, "the end of its last sign", LIFE_MS / 1000 + 10)

        assert [hostname(worker)] == remembered(site, site.keys)


@pytest.mark.long
def test_a_blind_watch_shows(site: Site) -> None:
    """A worker that may not track keys says that it is blind, and since when; allowed again, that it is alive."""
    everything: dict[str, Any] = {"enabled": True, "nopass": True, "keys": ["*"], "channels": ["*"]}
    site.client.acl_setuser("default", commands=["+@all", "-client|tracking"], **everything)
    with start_worker(site.server) as worker:
        blind = told(site, worker, watch="blind")
        site.client.acl_setuser("default", commands=["+@all"], **everything)
        alive = told(site, worker, watch="alive")

        assert blind.started_ms <= blind.watch_since_ms < alive.watch_since_ms <= alive.at_ms

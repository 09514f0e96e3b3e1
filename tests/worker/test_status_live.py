"""`status` and `ready` about real workers: validated by what they did, told to be gone when they are."""

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.helpers import hold, wait_until
from tests.servers import RealServer
from tests.worker.nodes import (
    ROOT,
    SYMBOLS,
    Site,
    clean_environment,
    permit_texts,
    plan,
    site_on,
    start_workers,
    wait_for_ends,
)

SYMBOL = SYMBOLS[0]


@pytest.fixture
def site() -> Iterator[Site]:
    """A server of this test's own, with a position."""
    with RealServer() as server, site_on(server) as site:
        hold(site.client, site.keys, "1", SYMBOL)
        yield site


def tool(site: Site, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """`permitwait …` as an operator runs it, with no setting but the address."""
    return subprocess.run(
        [sys.executable, "-m", "ops", *arguments],
        env=clean_environment(APPLY_REDIS_URL=site.server.url, COLUMNS="80"),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.long
@pytest.mark.parametrize("options", [(), ("--pool", "prefork", "--concurrency", "2")], ids=["threads", "prefork"])
def test_real_plans_validate_and_a_killed_worker_is_missed(site: Site, options: tuple[str, ...]) -> None:
    """Two workers and five executed plans: ready and validated. Killed: not ready, not validated, and by name."""
    names = [f"p{number}" for number in range(5)]
    with start_workers(2, site.server, *options, APPLY_PERMIT_WAIT_MS="30000") as workers:
        ready = wait_until(lambda: (done := tool(site, "ready")).returncode == 0 and done, "a ready worker", 30)
        for name in names:
            site.send(plan(name, SYMBOL), name)
            for issuer, text in zip(("governor", "p33"), permit_texts(SYMBOL), strict=True):
                site.client.set(site.keys.permit(issuer, name), text, ex=60)
        wait_for_ends(site, names)
        wait_until(lambda: len(json.loads(tool(site, "status", "--json").stdout)["workers"]) == 2, "both signs", 30)
        good = tool(site, "status", "--json")
        for worker in workers:
            worker.kill()
        hostname = f"w@{workers[0].id[:12]}"
        missed = wait_until(
            lambda: (done := tool(site, "ready", "--worker", hostname)).returncode == 1 and done,
            "the end of a sign",
            30,
        )
        bad = tool(site, "status")

    assert "alive, permits wake their plans" in ready.stdout
    assert (0, "") == (good.returncode, good.stderr)
    assert (5, 5) == tuple(json.loads(good.stdout)["decisions"][name] for name in ("taken_up", "executed"))
    assert f"the last sign of life of {hostname} is" in missed.stdout
    assert 1 == bad.returncode
    assert "FAILED   worker and version seen    none; w@" in bad.stdout
    assert f"{hostname}  GONE without a farewell" in bad.stdout

"""What is no message is kept for the operator, beside the messages that were set aside."""

import pytest

from tests.helpers import stream, wait_until
from tests.servers import RealServer
from tests.worker.nodes import site_on, start_worker


@pytest.mark.broker("redis")
@pytest.mark.fault("F25")
def test_an_undecodable_entry_is_kept_and_the_worker_lives() -> None:
    """Raw bytes in the queue leave an entry with their queue, the reason and their first bytes; the worker goes on."""
    with RealServer() as server, site_on(server) as site, start_worker(server) as worker:
        pid = worker.pid
        site.client.lpush("execute", b"garbage \xff")
        wait_until(lambda: site.client.xlen(site.keys.rejected), "the entry set aside")
        outcome = site.send({"plan_id": "p1"}, "p1").get(timeout=20)

        assert [("execute", "undecodable", "b'garbage \\xff'")] == [
            (entry["queue"], entry["reason"], entry["message"])
            for entry in stream(site.client, site.keys.rejected)
            if entry["reason"] == "undecodable"
        ]
        assert "invalid_intent" == outcome["reason"]
        assert (pid, "running") == (worker.pid, worker.status)

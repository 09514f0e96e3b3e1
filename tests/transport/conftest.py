"""Our transport in the test's own process, on a server that the test may kill."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from kombu import transport as kombu_transports
from kombu.transport import redis as stock

from tests.servers import RealServer
from workers import take, transport


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our transports in this process, for one test, and no call left from another."""
    monkeypatch.setattr(kombu_transports, "TRANSPORT_ALIASES", dict(kombu_transports.TRANSPORT_ALIASES))
    monkeypatch.setattr(kombu_transports, "_transport_cache", {"redis": stock.Transport})
    monkeypatch.setattr(take, "_unanswered", [])
    transport.install()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RealServer]:
    """A server of this test's own, which keeps what it acknowledged."""
    with RealServer(tmp_path / "data", appendfsync="always") as running:
        yield running


@pytest.fixture
def client(server: RealServer) -> Iterator[redis.Redis]:
    """A plain client, which no test's channel uses."""
    with redis.Redis(unix_socket_path=str(server.socket_path)) as plain:
        yield plain

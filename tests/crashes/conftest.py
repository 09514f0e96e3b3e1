"""What the crash tests share: a server of each test's own."""

from collections.abc import Iterator

import pytest

from tests.servers import RealServer
from tests.worker.nodes import Site, site_on


@pytest.fixture
def site() -> Iterator[Site]:
    """A server of this test's own, without data on disk."""
    with RealServer() as server, site_on(server) as site:
        yield site

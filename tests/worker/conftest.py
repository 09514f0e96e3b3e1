"""pytest-celery on processes: three fixtures overridden, one server and two workers per test process."""

from collections.abc import Generator, Iterator

import pytest
from pytest_celery import (
    CeleryBackendCluster,
    CeleryBrokerCluster,
    CeleryTestBroker,
    CeleryTestSetup,
    CeleryTestWorker,
    CeleryWorkerCluster,
    RedisTestBackend,
)

from tests.servers import RealServer
from tests.worker.nodes import ServerProcess, Site, Worker, log_tail, start_workers

#: Long enough that a busy machine never ends a plan of these tests: the bound itself is tested elsewhere.
WAIT_MS = "30000"


@pytest.fixture(scope="session")
def celery_broker_cluster() -> Iterator[CeleryBrokerCluster]:
    """One server, also the permits' Redis, or the broker beside it."""
    server = RealServer()
    server.start()
    cluster = CeleryBrokerCluster(CeleryTestBroker(ServerProcess(server, server.broker_url)))
    yield cluster
    for node in cluster:
        node.teardown()


@pytest.fixture(scope="session")
def celery_backend_cluster(celery_broker_cluster: CeleryBrokerCluster) -> Iterator[CeleryBackendCluster]:
    """The same server."""
    server = celery_broker_cluster[0].container.server
    cluster = CeleryBackendCluster(RedisTestBackend(ServerProcess(server, server.url)))
    yield cluster
    for node in cluster:
        node.teardown()


@pytest.fixture(scope="session")
def celery_worker_cluster(
    celery_broker_cluster: CeleryBrokerCluster, celery_backend_cluster: CeleryBackendCluster
) -> Iterator[CeleryWorkerCluster]:
    """Two workers with the shipped defaults, but for the bound of the wait."""
    _ = celery_backend_cluster  # its teardown must come after the workers'
    server = celery_broker_cluster[0].container.server
    with start_workers(2, server, APPLY_PERMIT_WAIT_MS=WAIT_MS) as workers:
        yield CeleryWorkerCluster(*(CeleryTestWorker(worker, app=None) for worker in workers))


@pytest.fixture
def site(celery_setup: CeleryTestSetup) -> Iterator[Site]:
    """The cluster's server, with pytest-celery's own application as the producer."""
    site = Site(celery_setup.broker.container.server, celery_setup.app)
    yield site
    site.close()


@pytest.fixture
def workers(celery_setup: CeleryTestSetup) -> list[Worker]:
    """The cluster's two workers."""
    return [node.container for node in celery_setup.worker_cluster]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test of the cluster shows what its workers logged last."""
    report = yield
    workers = item.funcargs.get("workers") if isinstance(item, pytest.Function) else None
    if report.failed and isinstance(workers, list):
        report.sections += [(f"log of worker {worker.id}", log_tail(worker)) for worker in workers]
    return report

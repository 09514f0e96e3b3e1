"""What every test shares: no inherited settings, one real server per test process, one namespace per test."""

import os
from collections.abc import Callable, Iterator
from itertools import count

import pytest
import redis

from tasks.address import RedisAddress
from tasks.keys import Keys
from tasks.parts import Parts
from tasks.parts import make_parts as assemble_parts
from tasks.settings import GovernorSettings, PositionSettings, Settings
from tasks.store import Store, connect
from tests import servers
from tests.faults import check_markers
from tests.record import Recorder
from tests.servers import RealServer

_numbers = count(1)

#: Keys that live on without a time to live or a length, by promise (CONTRACT "Keys").
_LASTING = (":apply:open", ":apply:stats", ":global:kill_switch", ":paper:position:", ":paper:order_number", ":stream:")


def pytest_addoption(parser: pytest.Parser) -> None:
    """What a run is about."""
    group = parser.getgroup("permitwait")
    group.addoption(
        "--server",
        choices=servers.SERVERS,
        default=servers.SERVERS[0],
        help="Redis of the tests: the embedded Valkey, or the redis-server of this machine",
    )
    group.addoption(
        "--broker",
        choices=servers.BROKERS,
        default=servers.BROKERS[0],
        help="broker of the tests: that Redis, or a RabbitMQ node of our own",
    )
    group.addoption("--record", action="store_true", help="write down how tests of faults ended, for the fault matrix")


def pytest_configure(config: pytest.Config) -> None:
    """Choose the servers before the first test asks for one."""
    server, broker = config.getoption("--server"), config.getoption("--broker")
    servers.choose(server, broker)
    # Of several test processes the one that collects the reports.
    if config.getoption("--record") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Recorder(server, broker))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """See that markers of faults are right, and leave out what is about the other broker."""
    check_markers(items)
    chosen = config.getoption("--broker")
    other = [item for item in items if any(mark.args != (chosen,) for mark in item.iter_markers("broker"))]
    config.hook.pytest_deselected(items=other)
    items[:] = [item for item in items if item not in other]


@pytest.fixture(autouse=True, scope="session")
def _broker_ends_with_the_tests() -> Iterator[None]:
    """A node that was started for the tests ends with them."""
    yield
    servers.end_node()


@pytest.fixture(autouse=True, scope="session")
def _no_inherited_settings() -> Iterator[None]:
    """A developer's own settings must not decide what a test sees."""
    kept = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith(("APPLY_", "GOV_", "P33_"))}
    yield
    os.environ.update(kept)


@pytest.fixture(scope="session")
def server() -> Iterator[RealServer]:
    """A real server on its own socket, for all tests of this process."""
    with RealServer() as running:
        yield running


@pytest.fixture
def namespace() -> str:
    """A namespace that no other test uses."""
    return f"t{os.getpid()}x{next(_numbers)}"


@pytest.fixture
def keys(namespace: str) -> Keys:
    """Key names of this test."""
    return Keys(namespace)


@pytest.fixture
def client(server: RealServer, namespace: str) -> Iterator[redis.Redis]:
    """A plain client, as issuers and operators have one; afterwards no key of ours may lack its bound."""
    plain = connect(RedisAddress.parse(server.url), timeout_ms=5_000)
    yield plain
    leaked = [
        key
        for key in (raw.decode() for raw in plain.scan_iter(match=f"{namespace}:*", count=1000))
        if plain.ttl(key) == -1
        and not any(part in key for part in _LASTING)
        and not (":apply:execution:" in key and plain.hget(key, "ended_ms") is None)
        and ":permit:" not in key
        and ":governor:block:" not in key
    ]
    plain.close()

    assert [] == leaked


@pytest.fixture
def settings(server: RealServer, namespace: str) -> Settings:
    """Paper trading in one symbol, with the contract's defaults otherwise."""
    return Settings(redis_url=server.url, namespace=namespace, mode="paper", _env_file=None)


@pytest.fixture
def make_parts() -> Iterator[Callable[..., Parts]]:
    """Makes what a worker process has: the shipped gate, judges' limits and the paper venue, on the real server."""
    stores: list[Store] = []

    def make(
        settings: Settings, governor: GovernorSettings | None = None, position: PositionSettings | None = None
    ) -> Parts:
        limits = governor or GovernorSettings(_env_file=None), position or PositionSettings(_env_file=None)
        made = assemble_parts(settings, *limits, timeout_ms=5_000)
        stores.append(made.store)
        return made

    yield make
    for store in stores:
        store.close()


@pytest.fixture
def parts(make_parts: Callable[..., Parts], settings: Settings) -> Parts:
    """One executor with the settings of this test."""
    return make_parts(settings)

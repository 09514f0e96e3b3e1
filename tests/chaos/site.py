"""The run's machinery: two servers (or one for both), relays in front of them, a fleet of workers behind those."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from tasks.settings import Settings, read_settings
from tests.chaos.fleet import Fleet
from tests.chaos.load import ALLOWED
from tests.chaos.relay import Relay, Relays
from tests.chaos.schedule import CLIENTS
from tests.chaos.unit import Unit
from tests.servers import RealServer
from tests.venue.process import VENUE_APP, VenueProcess

ServerName = Literal["store", "broker"]

#: Shorter than the defaults, so that a run sees many leases and ages pass.
LEASE_MS: Final = 4_000
MAX_AGE_MS: Final = 20_000
WAIT_MS: Final = 1_200

#: Name and command line of every worker.
WORKERS: Final = {
    "w1": ("--pool", "threads", "--concurrency", "8"),
    "w2": ("--pool", "threads", "--concurrency", "8"),
    "w3": ("--pool", "prefork", "--concurrency", "2"),
}
FORKING: Final = ("w3",)

#: How the far venue treats orders: most as they should be; slow, late, silent, refusing, broken for the rest.
MIX: Final = (
    "accept=60,accept_slowly=6,acknowledge_first=4,accept_and_hang=5,accept_and_reset=4,accept_and_fail=3,"
    "accept_hang_and_hide=4,no_lookup_for_a_while=3,hang=4,reset=3,fail=3,refuse=3,refuse_and_hang=2,"
    "half_then_expired=2,half_then_expired_and_hang=1,expired=2"
)
#: How long after the last check of its claim an order may reach the far venue: its adapter's own figure.
ON_THE_WIRE_MS: Final = 1_000


@dataclass(frozen=True)
class Site:
    """Everything that can be broken, and the addresses to reach it by.

    Attributes:
        relays: by site and server.
        venue: a process of its own; None where orders go to the paper venue, which is in the store.
    """

    servers: Mapping[ServerName, RealServer]
    relays: Mapping[tuple[str, ServerName], Relay]
    fleet: Fleet
    venue: VenueProcess | None

    @property
    def settings(self) -> Settings:
        """For what runs in this process: producers, issuers, and who reads the journals."""
        return _settings(self.relays[CLIENTS, "store"].url, self.relays[CLIENTS, "broker"].url)

    def of_server(self, name: ServerName) -> Sequence[Relay]:
        """Every way to one server."""
        return [relay for (_, server), relay in self.relays.items() if server == name]


def _settings(store_url: str, broker_url: str) -> Settings:
    return read_settings(
        redis_url=store_url,
        broker_url=broker_url,
        mode="paper",
        allowlist=",".join(ALLOWED),
        issuers="",
        claim_lease_ms=LEASE_MS,
        plan_max_age_ms=MAX_AGE_MS,
        permit_wait_ms=WAIT_MS,
        _env_file=None,
    )


def _environment(store_url: str, broker_url: str) -> dict[str, str]:
    return {
        "APPLY_REDIS_URL": store_url,
        "APPLY_BROKER_URL": broker_url,
        "APPLY_MODE": "paper",
        "APPLY_ALLOWLIST": ",".join(ALLOWED),
        "APPLY_ISSUERS": "",
        "APPLY_CLAIM_LEASE_MS": str(LEASE_MS),
        "APPLY_PLAN_MAX_AGE_MS": str(MAX_AGE_MS),
        "APPLY_PERMIT_WAIT_MS": str(WAIT_MS),
    }


@contextmanager
def open_site(folder: Path, seed: str, *, one_server: bool, far_venue: bool) -> Iterator[Site]:
    """Servers that keep every acknowledged write, relays, and workers (not started). All gone afterwards."""
    with ExitStack() as at_end:
        store = at_end.enter_context(RealServer(folder / "store", appendfsync="always"))
        broker = store
        if not one_server:
            broker = at_end.enter_context(RealServer(folder / "broker", appendfsync="always"))
        servers: dict[ServerName, RealServer] = {"store": store, "broker": broker}
        relays = Relays()
        at_end.callback(relays.close)
        ways = {
            (site, name): relays.add(folder / f"{site}-{name}", server.socket_path)
            for site in (*WORKERS, CLIENTS)
            for name, server in servers.items()
        }
        venue = at_end.enter_context(VenueProcess(folder, seed, MIX)) if far_venue else None
        application = VENUE_APP if venue else "workers"
        venue_env = venue.env() if venue else {}
        fleet = Fleet(
            [
                Unit(
                    name,
                    folder,
                    *options,
                    application=application,
                    **_environment(ways[name, "store"].url, ways[name, "broker"].url),
                    **venue_env,
                )
                for name, options in WORKERS.items()
            ]
        )
        at_end.callback(fleet.kill)
        yield Site(servers, ways, fleet, venue)

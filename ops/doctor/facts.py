"""Everything that a check may look at: values read once, never a connection."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tasks.life import Life
from tasks.settings import GovernorSettings, PositionSettings, Settings

#: How far away an address is: this machine, a private network, the Internet, or a name that could not be looked up.
Reach = Literal["local", "private", "public", "unresolved"]


@dataclass(frozen=True)
class Address:
    """One configured address: the setting's name, where it leads, whether the way is encrypted and verified."""

    setting: str
    shown: str
    reach: Reach
    encrypted: bool
    verified: bool


@dataclass(frozen=True)
class Server:
    """One Redis or Valkey, as this login sees it.

    Attributes:
        role: what it is to us; the broker only where it is another server than the permits'.
        info: its INFO.
        config: its CONFIG, None where this login may not read it.
        user: the login's name.
        open_to_all: whether a client without a login is let in.
        blind_to: what this login may not ask, as the commands that were refused.
        offset_s: this machine's clock minus the server's, seconds.
        tracking_error: why pushes of changed keys are refused; empty where they are not.
        refused: per user of a worker's connection (else this login), the commands of ours that it may not run;
            None where that cannot be asked.
    """

    role: Literal["permits", "broker"]
    info: Mapping[str, Any]
    config: Mapping[str, str] | None = None
    user: str = "default"
    open_to_all: bool = False
    blind_to: tuple[str, ...] = ()
    offset_s: float = 0.0
    tracking_error: str = ""
    refused: Mapping[str, tuple[str, ...]] | None = field(default_factory=dict)

    def option(self, name: str) -> str | None:
        """A server option; None where it cannot be read or does not exist."""
        return None if self.config is None else self.config.get(name)

    @property
    def version(self) -> tuple[int, ...]:
        """The Redis version it is compatible with."""
        return tuple(int(part) for part in str(self.info.get("redis_version", "0")).split(".") if part.isdigit())


@dataclass(frozen=True)
class Broker:
    """Celery's broker.

    Attributes:
        error: why it gave no answer; empty where it did.
        waiting: messages per queue of ours.
        readers: per worker that answered, the queues it reads.
        unacked: messages that workers hold; oldest_unacked_s is the age of the oldest, 0 without one.
        visibility_s: after this long an unacknowledged message is delivered again; None where the broker has no such.
    """

    error: str = ""
    waiting: Mapping[str, int] = field(default_factory=dict)
    readers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unacked: int = 0
    oldest_unacked_s: float = 0.0
    visibility_s: float | None = None


@dataclass(frozen=True)
class State:
    """What stands in the permits' Redis.

    Attributes:
        kill_switch: its raw value; switch_info who set it and why.
        open_plans: plans without an outcome, `overdue` of them past their time, the oldest by `oldest_overdue_s`.
        issuers: seconds since the last sign of life of each issuer of ours, None where there is none.
        workers: what each live worker says of itself, by hostname; None where this version cannot read it.
    """

    kill_switch: bytes = b""
    switch_info: Mapping[str, str] = field(default_factory=dict)
    open_plans: int = 0
    overdue: int = 0
    oldest_overdue_s: float = 0.0
    issuers: Mapping[str, float | None] = field(default_factory=dict)
    workers: Mapping[str, Life | None] = field(default_factory=dict)

    @property
    def lives(self) -> list[Life]:
        """The live workers that can be read."""
        return [life for life in self.workers.values() if life]


@dataclass(frozen=True)
class Host:
    """The machine and the environment that this command runs in.

    Attributes:
        root: whether this command runs as root.
        hiredis: whether redis-py uses the parser in C.
        readable_env: the `.env` file where others may read it, else empty.
        versions: of our packages here.
        flower: what an address at which a Flower answers shows to anybody: "pages", "tasks"; empty where it asks
            for a login or none answers.
    """

    root: bool = False
    hiredis: bool = True
    readable_env: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    flower_url: str = ""
    flower: tuple[str, ...] = ()


@dataclass(frozen=True)
class Facts:
    """One look at a deployment."""

    settings: Settings
    governor: GovernorSettings
    position: PositionSettings
    addresses: tuple[Address, ...]
    servers: tuple[Server, ...]
    broker: Broker
    state: State
    host: Host

    @property
    def permits_server(self) -> Server:
        """The one that holds permits and records."""
        return self.servers[0]

    @property
    def money(self) -> bool:
        """Whether real orders leave."""
        return self.settings.mode == "live"

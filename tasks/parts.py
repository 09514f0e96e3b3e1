"""Everything one process needs to take plans through the gate; assembled in one place, opened by the worker."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from uuid import uuid4

from tasks.address import RedisAddress
from tasks.consume import Gate
from tasks.errors import NotConfigured
from tasks.judge import Rules
from tasks.keys import Keys
from tasks.settings import (
    ACK_WAIT_MS,
    CALL_TIMEOUT_MS,
    FUTURE_TOLERANCE_MS,
    GovernorSettings,
    PositionSettings,
    Settings,
)
from tasks.store import Store, connect
from tasks.venues import Venue
from tasks.venues.paper import PaperVenue
from tasks.wait import WaitPolicy


@dataclass(frozen=True)
class Parts:
    """Settings, the gate, the venue and the store they share; safe to share between threads, not over a fork.

    `name`: of the worker, or of the operator's command; it shows in the timelines of plans.
    """

    settings: Settings
    gate: Gate
    venue: Venue
    store: Store
    governor: GovernorSettings = field(default_factory=GovernorSettings)
    position: PositionSettings = field(default_factory=PositionSettings)
    name: str = ""

    def token(self) -> str:
        """A fresh token for one attempt: the name of this process, so that a timeline tells who, and a random part."""
        return f"{self.name}/{uuid4().hex}"

    @cached_property
    def rules(self) -> Rules:
        """The part of the settings that the judge needs; made once, as every look is judged by it."""
        return Rules(
            allowlist=frozenset(self.settings.allowlist),
            permit_max_ttl_ms=self.settings.permit_max_ttl_ms,
            plan_max_age_ms=self.settings.plan_max_age_ms,
            future_tolerance_ms=FUTURE_TOLERANCE_MS,
        )

    @cached_property
    def wait(self) -> WaitPolicy:
        """The bounded wait, as configured; made once, as every look asks it when to look next."""
        return WaitPolicy(self.settings.permit_wait_ms, self.settings.permit_step_ms)


def make_parts(
    settings: Settings,
    governor: GovernorSettings,
    position: PositionSettings,
    *,
    timeout_ms: int = CALL_TIMEOUT_MS,
    name: str = "",
) -> Parts:
    """The parts for these settings; connections open on first use."""
    address = RedisAddress.parse(settings.redis_url)
    store = Store(connect(address, timeout_ms=timeout_ms))
    # Waiting for acknowledgements is a blocking call: that client must outlast it.
    patient = Store(connect(address, timeout_ms=timeout_ms + ACK_WAIT_MS)) if settings.consume_acks else store
    venue = PaperVenue(store, Keys(settings.namespace), settings.record_ttl_s)
    return Parts(settings, Gate(store, patient, settings), venue, store, governor, position, name)


_parts: Callable[[], Parts] | None = None


def configure(parts: Callable[[], Parts]) -> None:
    """Open the tasks for this process. Until this was called they refuse every message."""
    global _parts  # noqa: PLW0603 - one process, one gate; Celery builds tasks without arguments
    _parts = parts


def parts_of_process() -> Parts:
    """The parts of this process.

    Raises:
        NotConfigured: in a process that is not our worker.
    """
    if _parts is None:
        raise NotConfigured("this task runs only in `celery -A workers worker`; nothing was executed")
    return _parts()

"""`permitwait feed`: EXECUTE entries of the plan stream become tasks, at least once each.

An entry is acknowledged after its task was sent, or after it was passed over or set aside. What a crashed
feed had in hand is claimed by another one. Sending twice is harmless: a plan has one outcome.
"""

import os
import signal
import socket
import threading
from dataclasses import dataclass, field
from typing import Final, cast

import redis

from ops import screen
from ops.feed_entry import PassedOver, read_entry
from tasks.address import RedisAddress
from tasks.errors import InvalidIntent, PlanConflict, StoreUnavailable
from tasks.intent import ExecuteIntent
from tasks.keys import Keys
from tasks.parts import Parts, make_parts
from tasks.refuse import refuse, set_conflict_aside
from tasks.settings import Settings, governor_settings, position_settings
from tasks.store import connect
from tasks.submit import forward

#: One group for all feeds of a namespace: each entry goes to one of them.
GROUP: Final = "permitwait.feed"

#: An entry that another feed has held for this long without acknowledging it is ours to send.
RECLAIM_AFTER_MS: Final = 10_000

_BATCH: Final = 100
_BLOCK_MS: Final = 500
#: Pause after Redis or the broker gave no answer.
_PAUSE_S: Final = 1.0

Entries = list[tuple[bytes, dict[bytes, bytes] | None]]


@dataclass
class Feed:
    """One consumer of the plan stream."""

    settings: Settings
    consumer: str = field(default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}")
    as_json: bool = False

    def __post_init__(self) -> None:
        self._client = connect(RedisAddress.parse(self.settings.redis_url), timeout_ms=_BLOCK_MS + 2_000)
        self._keys = Keys(self.settings.namespace)
        self._parts: Parts = make_parts(self.settings, governor_settings(), position_settings(), timeout_ms=2_000)

    def run(self, stop: threading.Event) -> None:
        """Feed until `stop` is set; waits out a Redis or a broker that does not answer."""
        while not stop.is_set():
            try:
                self._join()
                while not stop.is_set():
                    self.turn()
            except (redis.RedisError, StoreUnavailable) as error:
                screen.say(f"no answer, again in {_PAUSE_S:g} s: {error}")
                stop.wait(_PAUSE_S)

    def turn(self) -> int:
        """Take what is new and what others left behind; returns how many entries were handled.

        Raises:
            StoreUnavailable: Redis or the broker gave no answer; the entry in hand stays unacknowledged.
            redis.RedisError: the plan stream could not be read.
        """
        handled, refused = 0, None
        for entry_id, fields in (*self._left_behind(), *self._new()):
            # A trimmed entry comes back without fields: there is nothing left to send.
            if fields is not None:
                try:
                    self._handle(entry_id.decode(), {_text(name): _text(value) for name, value in fields.items()})
                except StoreUnavailable as error:
                    # Redis answers, and refuses this one: it stays unacknowledged, and those behind it go on.
                    if not isinstance(error.__cause__, redis.ResponseError):
                        raise
                    refused = error
                    continue
            self._client.xack(self._keys.plans, GROUP, entry_id)
            handled += 1
        if refused:
            raise refused
        return handled

    def _join(self) -> None:
        try:
            # From the beginning: a plan published while no feed ran is as good as any; its age decides.
            self._client.xgroup_create(self._keys.plans, GROUP, id="0", mkstream=True)
        except redis.ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise

    def _left_behind(self) -> Entries:
        reply = self._client.xautoclaim(
            self._keys.plans, GROUP, self.consumer, min_idle_time=RECLAIM_AFTER_MS, count=_BATCH
        )
        return cast("Entries", reply[1])

    def _new(self) -> Entries:
        reply = self._client.xreadgroup(GROUP, self.consumer, {self._keys.plans: ">"}, count=_BATCH, block=_BLOCK_MS)
        return cast("Entries", reply[0][1]) if reply else []  # type: ignore[index] # a list on a synchronous client

    def _handle(self, entry_id: str, fields: dict[str, str]) -> None:
        try:
            plan = read_entry(entry_id, fields)
            if isinstance(plan, PassedOver):
                return
            forward(plan, settings=self.settings)
        except InvalidIntent as invalid:
            refuse(self._parts, invalid, f"feed-{entry_id}", fields)
            self._tell("set_aside", entry_id, str(invalid))
        except PlanConflict as conflict:
            set_conflict_aside(self._parts, cast("ExecuteIntent", plan), str(conflict))
            self._tell("set_aside", entry_id, str(conflict))
        else:
            self._tell("sent", plan.plan_id, "")

    def _tell(self, what: str, which: str, detail: str) -> None:
        if self.as_json:
            screen.data_line({"event": what, "id": which, "detail": detail})
        else:
            screen.out.print(f"{what} {which} {detail}".rstrip(), markup=False)


def _text(raw: bytes) -> str:
    return raw.decode(errors="replace")


def run(settings: Settings, *, as_json: bool) -> int:
    """Feed until Ctrl-C or TERM; exit code 0."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    feed = Feed(settings, as_json=as_json)
    screen.say(f"feeding EXECUTE plans from {Keys(settings.namespace).plans} as {feed.consumer}; stop: Ctrl-C")
    feed.run(stop)
    return 0

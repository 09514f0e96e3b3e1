"""A worker's sign of life: what it tells about itself, every few seconds, for `status`, `ready`, `doctor` and metrics.

It comes from the event loop that takes messages: a worker whose loop hangs is not alive. The HASH exists only while
signs keep coming, so whoever finds it has found a worker that works.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Final, Self

#: Seconds between two signs.
EVERY_S: Final = 2.0

#: A worker may miss two signs before it counts as gone.
LIFE_MS: Final = 7_000

#: Which workers there were is remembered for a day, of so many at most.
MEMORY_MS: Final = 86_400_000
MOST_REMEMBERED: Final = 200


@dataclass(frozen=True)
class Life:
    """What one worker runs, as of its last sign.

    Attributes:
        hostname: the worker's node name, as Celery knows it.
        version: of permitwait.
        pool: threads, prefork or solo; `concurrency` is its size.
        queues: the queues it reads.
        config: every setting in force by name; secrets are masked.
        parked: plans that wait for permits in it.
        running: attempts in hand.
        watch: `alive` (permits wake their plans), `blind` (plans are looked at once per step), or `starting`.
        watch_since_ms: since when, epoch ms on the worker's clock; 0 while it starts.
        kombu, redis_py: versions of these packages.
        root: "yes" where it runs as root.
        events: "yes" while it sends events to Flower or `celery events`.
        started_ms: when it started, epoch ms on the worker's clock.
        at_ms: when the sign reached Redis, epoch ms on the Redis clock.
        clock_offset_ms: the Redis clock minus the worker's; the way of the sign to Redis is part of it.
    """

    hostname: str
    pid: int
    version: str
    celery: str
    pool: str
    concurrency: int
    queues: tuple[str, ...]
    config: Mapping[str, str]
    parked: int
    running: int
    watch: str
    watch_since_ms: int
    started_ms: int
    kombu: str = ""
    redis_py: str = ""
    root: str = ""
    events: str = ""
    at_ms: int = 0
    clock_offset_ms: int = 0

    def fields(self) -> list[str]:
        """Field, value, … as text for `lua/sign_of_life.lua`, which adds the last two itself."""
        facts = asdict(self) | {"queues": ",".join(self.queues), "config": json.dumps(dict(self.config))}
        told = {name: str(value) for name, value in facts.items() if name not in {"at_ms", "clock_offset_ms"}}
        return [part for fact in told.items() for part in fact]

    @classmethod
    def read(cls, fields: Mapping[str, str]) -> Self | None:
        """What a worker's HASH tells; None where there is none, or another version wrote something else there."""
        try:
            return cls(
                hostname=fields["hostname"],
                pid=int(fields["pid"]),
                version=fields["version"],
                celery=fields["celery"],
                pool=fields["pool"],
                concurrency=int(fields["concurrency"]),
                queues=tuple(name for name in fields["queues"].split(",") if name),
                config={str(name): str(value) for name, value in json.loads(fields["config"]).items()},
                parked=int(fields["parked"]),
                running=int(fields["running"]),
                watch=fields["watch"],
                watch_since_ms=int(fields["watch_since_ms"]),
                started_ms=int(fields["started_ms"]),
                **{name: fields.get(name, "") for name in ("kombu", "redis_py", "root", "events")},
                at_ms=int(fields["at_ms"]),
                clock_offset_ms=int(fields["clock_offset_ms"]),
            )
        except (KeyError, ValueError, AttributeError):
            return None


def own_version() -> str:
    """The version of permitwait that runs here."""
    try:
        return version("permitwait")
    except PackageNotFoundError:
        return "unknown"

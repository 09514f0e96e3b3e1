"""Who takes part: the gate, and Celery as it comes. How each is started, fed and read."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final
from uuid import uuid4

from kombu import Connection, Producer

from bench.bed import Bed, Cost, worker
from ops.child import celery_command
from tasks.execute import execute
from tasks.wire import Wire

#: The documented command, at its own log level: the gate tells two lines per plan, Celery none.
_QUIET: Final = ("--without-mingle", "--without-gossip")


@dataclass(frozen=True)
class Contestant:
    """One worker program: its command, the task and queue it reads, the streams it writes, and when it is ready."""

    name: str
    command: tuple[str, ...]
    task: str
    queue: str
    orders: str
    results: str
    settings: dict[str, str] = field(default_factory=dict)
    ready: str = "[START]"


GATE: Final = Contestant(
    "gate",
    tuple(celery_command("worker", *_QUIET)),
    execute.name,
    "execute",
    "quantum:stream:paper.orders",
    "quantum:stream:apply.result",
)

#: The gate on one core (`workers.core`), which it chooses a second after its start.
ONE_CORE: Final = replace(GATE, name="gate one core", settings={"APPLY_ONE_CORE": "yes"}, ready="[CORE] keeps to core")

_STOCK: Final = (*celery_command()[:3], "-A", "bench.stock", "worker", *_QUIET)

#: Waits as Celery's manual would: `self.retry(countdown=0.1)`.
RETRY: Final = Contestant("stock retry", _STOCK, "bench.attempt", "stock", "bench:orders", "bench:results")

#: The least a Celery task can do: write one entry.
NOOP: Final = Contestant("stock no-op", _STOCK, "bench.noop", "stock", "bench:results", "bench:results")


@contextmanager
def running(on: Bed, who: Contestant, **settings: str) -> Iterator[Cost]:
    """One worker of this contestant on the bed, ready; its cost is counted from then on."""
    env = {
        "APPLY_REDIS_URL": on.server.url,
        "APPLY_BROKER_URL": on.broker_url,
        "APPLY_MODE": "paper",
        "APPLY_ISSUERS": "",
        **who.settings,
        **settings,
    }
    with worker(who.command, env, who.ready) as process:
        yield Cost(process)


def intent_of(number: int) -> dict[str, Any]:
    """A plan of the workloads."""
    return {"plan_id": f"bench-{number}", "symbol": "BTCUSDT", "action": "PARTIAL_75", "decision": "EXECUTE"}


class Sender:
    """Sends plans as any client may: on Redis the bare message, on AMQP through kombu. Cheap, to leave the cores alone.

    `queue` replaces the list that a message is put into.
    """

    def __init__(self, on: Bed, who: Contestant, queue: str = "") -> None:
        self._wire, self._who, self._queue = Wire(on.client), who, queue or who.queue
        self._producer = None
        if on.broker_url.startswith("amqp"):
            self._producer = Producer(Connection(on.broker_url).channel())

    def send(self, number: int) -> None:
        """Send plan `number`; its id is also the task's."""
        intent = intent_of(number)
        task_id, who = intent["plan_id"], self._who
        headers = {
            "lang": "py",
            "task": who.task,
            "id": task_id,
            "root_id": task_id,
            "retries": 0,
            "ignore_result": False,
        }
        body = json.dumps([[], {"intent": intent}, {}])
        if self._producer is not None:
            self._producer.publish(
                body,
                routing_key=self._queue,
                headers=headers,
                content_type="application/json",
                content_encoding="utf-8",
                correlation_id=task_id,
            )
            return
        message = {
            "body": base64.b64encode(body.encode()).decode(),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": headers,
            "properties": {
                "correlation_id": task_id,
                "delivery_mode": 2,
                "delivery_info": {"exchange": "", "routing_key": who.queue},
                "priority": 0,
                "body_encoding": "base64",
                "delivery_tag": uuid4().hex,
            },
        }
        self._wire.ask([("LPUSH", self._queue, json.dumps(message))])

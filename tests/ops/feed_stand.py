"""What tests of the feed share: an empty broker of their own, feeds that do not wait, and both queues to look into."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, cast

import pytest
import redis

from ops import feed as feed_module
from ops.feed import GROUP, Feed
from tasks.address import RedisAddress
from tasks.keys import Keys
from tasks.settings import Settings
from tasks.store import connect
from tests.helpers import record_of, results_of, stream

PLAN: Final = {"plan_id": "plan-1", "symbol": "BTCUSDT", "action": "PARTIAL_75", "decision": "EXECUTE"}

#: Number of the broker's database: its queues have no namespace.
_BROKER_DB: Final = 9


@dataclass
class FeedStand:
    """A plan stream on one side, a task queue on the other, and any number of feeds between them."""

    client: redis.Redis
    keys: Keys
    settings: Settings
    broker: redis.Redis
    feeds: list[Feed] = field(default_factory=list)

    def feed(self, consumer: str = "feed-1", **changed: Any) -> Feed:
        """One more feed."""
        made = Feed(self.settings.model_copy(update=changed), consumer=consumer, as_json=True)
        made._join()
        self.feeds.append(made)
        return made

    def publish(self, changed: dict[Any, Any] | None = None, /, **more: str) -> str:
        """Add an entry as a plan's author does: a good plan but for what is changed; returns its id."""
        fields = PLAN | (changed or {}) | more
        return cast("bytes", self.client.xadd(self.keys.plans, cast("Any", fields))).decode()

    def messages(self) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """Headers and keyword arguments of every task in the queue, oldest first."""
        queue = [json.loads(raw) for raw in reversed(cast("list[bytes]", self.broker.lrange("execute", 0, -1)))]
        return [(message["headers"], json.loads(base64.b64decode(message["body"]))[1]) for message in queue]

    def intents(self) -> list[dict[str, Any]]:
        """The intent of every task in the queue, oldest first."""
        return [arguments["intent"] for _, arguments in self.messages()]

    def sent(self) -> list[str]:
        """The id of every task in the queue, oldest first."""
        return [headers["id"] for headers, _ in self.messages()]

    def pending(self) -> int:
        """Entries that a feed took and did not acknowledge."""
        return int(self.client.xpending(self.keys.plans, GROUP)["pending"])

    def untouched(self) -> int:
        """Entries that no feed was given yet."""
        return int(self.client.xinfo_groups(self.keys.plans)[0]["lag"] or 0)

    def abandon(self, *, idle_ms: int) -> list[bytes]:
        """A feed takes every new entry and is never heard of again, for `idle_ms` by now; their ids."""
        reply = cast("Any", self.client.xreadgroup(GROUP, "dead", {self.keys.plans: ">"}, count=1000))
        ids = [entry_id for entry_id, _ in reply[0][1]]
        self.client.xclaim(self.keys.plans, GROUP, "dead", 0, ids, idle=idle_ms, justid=True)
        return ids

    def sets_aside(self, bad: dict[Any, Any]) -> None:
        """A bad entry between two good ones: both are sent, and the bad one has its result under its own name."""
        feed = self.feed()
        self.publish(plan_id="before")
        task_id = f"feed-{self.publish(bad)}"
        self.publish(plan_id="after")

        feed.turn()

        results = [
            (found["plan_id"], found["decision"], found["reason"]) for found in results_of(self.client, self.keys)
        ]

        assert ["before", "after"] == self.sent()
        assert [(task_id, "BLOCKED", "invalid_intent")] == results
        assert [task_id] == [entry["task_id"] for entry in stream(self.client, self.keys.rejected)]
        assert {} == record_of(self.client, self.keys, "plan-1")
        assert [0, 0] == [self.pending(), self.untouched()]


@contextmanager
def feed_stand(client: redis.Redis, settings: Settings) -> Iterator[FeedStand]:
    """A stand on the server of this test; its broker database is empty before and after."""
    with_broker = settings.model_copy(update={"broker_url": f"{settings.redis_url}?db={_BROKER_DB}"})
    broker = connect(RedisAddress.parse(with_broker.broker_url), timeout_ms=5_000)
    broker.flushdb()
    stand = FeedStand(client, Keys(settings.namespace), with_broker, broker)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feed_module, "_BLOCK_MS", 1)
        yield stand
    for feed in stand.feeds:
        feed._client.close()
        feed._parts.store.close()
    broker.flushdb()
    broker.close()

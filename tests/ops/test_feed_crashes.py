"""Feeds that crash, share, lose their broker or their group: every plan is sent at least once, none is forgotten."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from ops import feed as feed_module
from ops.feed import GROUP, RECLAIM_AFTER_MS
from tasks.errors import StoreUnavailable
from tasks.settings import Settings
from tests.helpers import wait_until
from tests.ops.feed_stand import FeedStand, feed_stand

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def stand(client: redis.Redis, settings: Settings) -> Iterator[FeedStand]:
    """The plan stream and the task queue of this test."""
    with feed_stand(client, settings) as opened:
        yield opened


@contextmanager
def process(settings: Settings) -> Iterator[subprocess.Popen[str]]:
    """`permitwait feed --json` as an operator runs it."""
    env = {
        "APPLY_REDIS_URL": settings.redis_url,
        "APPLY_BROKER_URL": settings.broker_url,
        "APPLY_NAMESPACE": settings.namespace,
    }
    running = subprocess.Popen(
        [sys.executable, "-m", "ops", "feed", "--json"],
        cwd=ROOT,
        env=os.environ | env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield running
    finally:
        running.kill()
        running.communicate()


# What a crashed feed had in hand


def test_what_a_crashed_feed_left_is_sent_by_another(stand: FeedStand, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries that a feed took and never acknowledged are sent by the next one, with the new ones, once each."""
    monkeypatch.setattr(feed_module, "RECLAIM_AFTER_MS", 0)
    feed = stand.feed("feed-2")
    for number in range(5):
        stand.publish(plan_id=f"left-{number}")
    stand.abandon(idle_ms=0)
    stand.publish(plan_id="new")

    handled = [feed.turn() for _ in range(2)]

    assert [6, 0] == handled
    assert [f"left-{number}" for number in range(5)] + ["new"] == stand.sent()
    assert 0 == stand.pending()


def test_what_a_living_feed_has_in_hand_is_left_to_it(stand: FeedStand) -> None:
    """Before its time is over, an entry belongs to the feed that took it."""
    feed = stand.feed("feed-2")
    stand.publish()
    stand.abandon(idle_ms=0)

    assert 0 == feed.turn()
    assert [] == stand.sent()
    assert 1 == stand.pending()


def test_an_entry_that_was_trimmed_meanwhile_is_let_go(stand: FeedStand, monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry that a crashed feed had in hand and that the stream has forgotten blocks nobody."""
    monkeypatch.setattr(feed_module, "RECLAIM_AFTER_MS", 0)
    feed = stand.feed("feed-2")
    stand.publish()
    stand.abandon(idle_ms=0)
    stand.client.xtrim(stand.keys.plans, maxlen=0, approximate=False)
    stand.publish(plan_id="after")

    feed.turn()

    assert ["after"] == stand.sent()
    assert 0 == stand.pending()


def test_more_than_a_batch_is_left_behind(stand: FeedStand, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much a crashed feed had in hand, turn by turn all of it is sent."""
    monkeypatch.setattr(feed_module, "RECLAIM_AFTER_MS", 0)
    monkeypatch.setattr(feed_module, "_BATCH", 3)
    feed = stand.feed("feed-2")
    for number in range(10):
        stand.publish(plan_id=f"left-{number}")
    stand.abandon(idle_ms=0)

    while feed.turn():
        pass

    assert [f"left-{number}" for number in range(10)] == stand.sent()
    assert 0 == stand.pending()


# Several feeds, lost brokers, lost groups


def test_two_feeds_share_the_stream(stand: FeedStand) -> None:
    """Of several feeds each takes its part: every plan is sent once."""
    feeds = [stand.feed("feed-1"), stand.feed("feed-2")]
    stop = threading.Event()
    threads = [threading.Thread(target=feed.run, args=(stop,), daemon=True) for feed in feeds]
    for thread in threads:
        thread.start()

    plans = [f"plan-{number}" for number in range(60)]
    for plan_id in plans:
        stand.publish(plan_id=plan_id)
    wait_until(lambda: len(stand.sent()) >= len(plans) and not stand.pending(), "every plan is sent")
    stop.set()
    for thread in threads:
        thread.join(10)

    assert sorted(plans) == sorted(stand.sent())


def test_a_plan_published_before_the_first_feed_is_sent(stand: FeedStand) -> None:
    """A feed that is started late begins at the beginning of the stream: a plan's age decides, not the feed's."""
    stand.publish()

    stand.feed().turn()

    assert ["plan-1"] == stand.sent()


@pytest.mark.fault("F9", promise="the feed keeps the plan and sends it later")
def test_a_broker_that_takes_nothing_loses_nothing(stand: FeedStand, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the broker takes no message the entry stays unacknowledged, and is sent when it does."""
    monkeypatch.setattr(feed_module, "RECLAIM_AFTER_MS", 0)
    stand.publish()
    cut_off = stand.feed("feed-1", broker_url=f"{stand.settings.redis_url}.gone")

    with pytest.raises(StoreUnavailable, match="submit the same plan again"):
        cut_off.turn()

    assert 1 == stand.pending()

    stand.feed("feed-2").turn()

    assert ["plan-1"] == stand.sent()
    assert 0 == stand.pending()


def test_a_lost_group_is_made_again(stand: FeedStand, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever deletes the stream or the group under a running feed does not end it."""
    monkeypatch.setattr(feed_module, "_PAUSE_S", 0.01)
    feed, stop = stand.feed(), threading.Event()
    thread = threading.Thread(target=feed.run, args=(stop,), daemon=True)
    thread.start()

    stand.client.xgroup_destroy(stand.keys.plans, GROUP)
    stand.publish(plan_id="plan-1")
    wait_until(lambda: "plan-1" in stand.sent(), "the first plan is sent")
    stand.client.delete(stand.keys.plans)
    stand.publish(plan_id="plan-2")
    wait_until(lambda: "plan-2" in stand.sent(), "the second plan is sent")
    stop.set()
    thread.join(10)

    assert not thread.is_alive()


def test_a_server_that_is_gone_is_waited_for(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A feed without Redis says so, tries again, and stops when it is told to."""
    said: list[str] = []
    stop = threading.Event()
    monkeypatch.setattr(feed_module, "_PAUSE_S", 0.01)
    monkeypatch.setattr("ops.screen.say", lambda line: said.append(line) if len(said) < 2 else stop.set())
    nowhere = settings.model_copy(update={"redis_url": f"{settings.redis_url}.gone"})

    feed_module.Feed(nowhere, consumer="feed-1").run(stop)

    assert ["no answer, again in 0.01 s"] * 2 == [line.partition(":")[0] for line in said]


# The command


@pytest.mark.fault("F7", promise="the plan that a killed feed sent twice is one")
def test_a_killed_feed_loses_nothing(stand: FeedStand, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed in the middle of its work, the feed's rest is sent by the next; at most one plan goes twice."""
    plans = [f"plan-{number}" for number in range(500)]
    with stand.client.pipeline() as pipeline:
        for plan_id in plans:
            pipeline.xadd(
                stand.keys.plans, {"plan_id": plan_id, "symbol": "BTCUSDT", "action": "HOLD", "decision": "EXECUTE"}
            )
        pipeline.execute()
    with process(stand.settings) as running:
        wait_until(lambda: stand.broker.llen("execute") > 20, "the feed is in the middle of it")
        running.send_signal(signal.SIGKILL)
        running.wait(10)
    by_the_killed = len(stand.sent())
    monkeypatch.setattr(feed_module, "RECLAIM_AFTER_MS", 0)
    feed = stand.feed("feed-2")

    while feed.turn():
        pass

    sent = stand.sent()

    assert 20 < by_the_killed < len(plans)
    assert set(plans) == set(sent)
    assert len(sent) <= len(plans) + 1
    assert [0, 0] == [stand.pending(), stand.untouched()]


def test_the_command_takes_over_and_stops_when_told(stand: FeedStand) -> None:
    """`permitwait feed` sends what a dead feed left and what is new, tells each as a line, and ends with 0 on TERM."""
    stand.feed()
    stand.publish(plan_id="left")
    stand.abandon(idle_ms=RECLAIM_AFTER_MS + 1)
    bad = stand.publish(plan_id="new", symbol="")
    with process(stand.settings) as running:
        wait_until(lambda: stand.sent() == ["left"] and not stand.pending() and not stand.untouched(), "all is handled")
        running.send_signal(signal.SIGTERM)
        told, messages = running.communicate(timeout=20)

    assert 0 == running.returncode
    assert [("sent", "left"), ("set_aside", bad)] == [
        (line["event"], line["id"]) for line in map(json.loads, told.splitlines())
    ]
    assert stand.keys.plans in messages

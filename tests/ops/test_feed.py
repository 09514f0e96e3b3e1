"""The plan stream on a real server: what becomes a task, what is passed over, what is set aside; nothing blocks it."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
import redis

from ops import feed as feed_module
from tasks.errors import StoreUnavailable
from tasks.intent import parse_intent
from tasks.keys import Keys
from tasks.parts import Parts
from tasks.settings import Settings
from tasks.submit import submit
from tests.helpers import grant, hold, intent_of, orders_of, record_of, results_of, run_to_outcome, stream
from tests.ops.feed_stand import PLAN, FeedStand, feed_stand

#: The example of the system we re-create, as its own program publishes it: all text.
EXAMPLE = {
    "plan_id": "f1a8d7f48713d5cf",
    "symbol": "BTCUSDT",
    "action": "PARTIAL_75",
    "kill_score": "0.5390",
    "k_regime_flip": "0.0",
    "k_sigma_spike": "0.1084",
    "k_ts_drop": "0.1789",
    "k_age_penalty": "0.0417",
    "new_sl_proposed": "100.2",
    "R_net": "7.0136",
    "decision": "EXECUTE",
    "reason_codes": "regime_flip,sigma_spike",
    "steps": '[{"step": "CLOSE_PARTIAL_75", "type": "market_reduce_only", "side": "close", "pct": 75.0}]',
    "close_qty": "0.0075",
    "price": "50123.40",
    "timestamp": "1700000000.25",
}


@pytest.fixture
def stand(client: redis.Redis, settings: Settings) -> Iterator[FeedStand]:
    """The plan stream and the task queue of this test."""
    with feed_stand(client, settings) as opened:
        yield opened


# What becomes a task


def test_a_plan_becomes_one_task(stand: FeedStand) -> None:
    """An EXECUTE entry is sent once, under its plan id, and the plan is registered and not published again."""
    stand.publish()
    feed = stand.feed()

    handled = [feed.turn() for _ in range(3)]

    (headers, arguments), *others = stand.messages()

    assert [1, 0, 0] == handled
    assert [] == others
    assert ("tasks.execute", "plan-1") == (headers["task"], headers["id"])
    assert {"intent"} == arguments.keys()
    assert PLAN.items() <= arguments["intent"].items()
    assert "registered" == record_of(stand.client, stand.keys, "plan-1")["state"]
    assert [b"plan-1"] == stand.client.zrange(stand.keys.open, 0, -1)
    assert [0, 1] == [stand.pending(), stand.client.xlen(stand.keys.plans)]


def test_every_field_of_the_stream_arrives_with_its_type(stand: FeedStand) -> None:
    """In the stream all is text; in the task numbers are numbers, steps a list, and the author's time the plan's."""
    stand.publish(EXAMPLE, unknown="kept out")

    stand.feed().turn()

    assert [
        {name: EXAMPLE[name] for name in ("plan_id", "symbol", "action", "decision", "reason_codes")}
        | {
            "kill_score": 0.539,
            "k_regime_flip": 0.0,
            "k_sigma_spike": 0.1084,
            "k_ts_drop": 0.1789,
            "k_age_penalty": 0.0417,
            "new_sl_proposed": 100.2,
            "R_net": 7.0136,
            "steps": [{"step": "CLOSE_PARTIAL_75", "type": "market_reduce_only", "side": "close", "pct": 75.0}],
            "close_qty": 0.0075,
            "price": 50123.4,
            "timestamp": 1700000000.25,
            "created_at": 1700000000.25,
        }
    ] == stand.intents()
    assert Decimal("0.0075") == parse_intent(stand.intents()[0]).close_qty


@pytest.mark.parametrize(
    ("fields", "created_at"),
    [
        ({"timestamp": "1700000000.5"}, 1700000000.5),
        ({"timestamp": "1700000000", "created_at": "1700000001.5"}, 1700000001.5),
        ({"timestamp": ""}, None),
        ({}, None),
    ],
)
def test_a_plan_is_as_old_as_its_author_says(
    stand: FeedStand, fields: dict[str, str], created_at: float | None
) -> None:
    """`created_at`, else `timestamp`, else the time of the entry is when the plan was made."""
    entry_id = stand.publish(fields)

    stand.feed().turn()

    assert (created_at or int(entry_id.partition("-")[0]) / 1000) == stand.intents()[0]["created_at"]


def test_an_old_plan_does_not_execute(stand: FeedStand, parts: Parts) -> None:
    """An entry whose author's time is two minutes ago becomes a task, and ends as too old, permits or not."""
    stand.publish(timestamp=str(stand.client.time()[0] - 120))
    hold(stand.client, stand.keys)
    grant(stand.client, stand.keys, "plan-1")

    stand.feed().turn()
    outcome = run_to_outcome(parts, parse_intent(stand.intents()[0]))

    assert "plan_expired" == outcome.reason
    assert [] == orders_of(stand.client, stand.keys)


def test_a_plan_published_twice_executes_once(stand: FeedStand, parts: Parts) -> None:
    """The same plan in several entries is one plan: however many tasks carry it, one order and one result."""
    hold(stand.client, stand.keys)
    for _ in range(3):
        stand.publish()
    stand.feed().turn()
    grant(stand.client, stand.keys, "plan-1")

    outcomes = [run_to_outcome(parts, parse_intent(intent)) for intent in stand.intents()]

    assert {"plan-1"} == set(stand.sent())
    assert outcomes[:1] * len(outcomes) == outcomes
    assert [1, 1] == [len(read(stand.client, stand.keys)) for read in (orders_of, results_of)]
    assert 0 == stand.pending()


# What is passed over


@pytest.mark.parametrize("decision", ["SKIP", "BLOCKED", "ERROR"])
def test_what_is_not_to_be_executed_is_passed_over(stand: FeedStand, decision: str) -> None:
    """Other decisions are acknowledged, whatever else they hold, and leave no trace."""
    stand.publish(decision=decision)
    stand.publish(decision=decision, symbol="", steps="not JSON")

    assert 2 == stand.feed().turn()
    assert [] == stand.sent()
    assert [[], []] == [results_of(stand.client, stand.keys), stream(stand.client, stand.keys.rejected)]
    assert {} == record_of(stand.client, stand.keys, "plan-1")
    assert 0 == stand.pending()


def test_what_submit_sent_is_not_sent_again(stand: FeedStand) -> None:
    """A plan that `submit()` published was sent by it already: the feed acknowledges it and sends nothing."""
    submit(intent_of(), settings=stand.settings)

    assert 1 == stand.feed().turn()
    assert ["plan-1"] == stand.sent()
    assert 0 == stand.pending()


# What is set aside

MALFORMED: dict[str, dict[Any, Any]] = {
    "no symbol": {"symbol": ""},
    "binary symbol": {"symbol": b"\xff\xfe\x00"},
    "lower case symbol": {"symbol": "btcusdt"},
    "no plan id": {"plan_id": ""},
    "colon in the plan id": {"plan_id": "p33:plan-1"},
    "binary plan id": {"plan_id": b"\xff"},
    "no action": {"action": ""},
    "no decision": {"decision": ""},
    "unknown decision": {"decision": "MAYBE"},
    "lower case decision": {"decision": "execute"},
    "steps not JSON": {"steps": "CLOSE"},
    "steps an object": {"steps": "{}"},
    "steps too deep": {"steps": "[" * 100_000},
    "steps with half a character": {"steps": '[{"step": "\\ud800"}]'},
    "NaN": {"kill_score": "NaN"},
    "infinity": {"kill_score": "-Infinity"},
    "beyond a float": {"kill_score": "1e400"},
    "very many digits": {"kill_score": "1" * 5000},
    "text for a number": {"kill_score": '"0.5"'},
    "true for a number": {"close_qty": "true"},
    "negative quantity": {"close_qty": "-1"},
    "infinite price": {"price": "Infinity"},
    "time in milliseconds": {"timestamp": "1700000000000"},
    "negative time": {"timestamp": "-1"},
    "no number for a time": {"timestamp": "yesterday"},
    "very long text": {"reason_codes": "x" * 100_000},
    "binary number": {"R_net": b"\xff\xfe"},
    "nothing of a plan": dict.fromkeys(PLAN, "") | {"x": "y"},
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_entry_is_recorded_and_blocks_nothing(stand: FeedStand, case: str) -> None:
    """What is no plan is refused with a result entry, kept among the set-aside messages, and acknowledged."""
    stand.sets_aside(MALFORMED[case])


def test_a_binary_field_name_blocks_nothing(stand: FeedStand) -> None:
    """A field whose name is no text is as harmless as one whose value is none."""
    stand.sets_aside({b"\xff\xfe": b"x", "symbol": ""})


def test_a_plan_that_cannot_be_registered_blocks_nothing(stand: FeedStand, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Redis refuses one plan's record, that entry waits, and the plans behind it are sent."""
    monkeypatch.setattr(feed_module, "RECLAIM_AFTER_MS", 0)
    stand.client.set(stand.keys.record("plan-1"), "not a HASH", ex=60)
    feed = stand.feed()
    stand.publish()
    stand.publish(plan_id="after")

    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            feed.turn()

    assert "after" in stand.sent()


def test_a_malformed_entry_delivered_again_has_one_result(stand: FeedStand, monkeypatch: pytest.MonkeyPatch) -> None:
    """A feed that crashed between refusing and acknowledging leaves no second result behind."""

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    feed = stand.feed()
    stand.publish(symbol="")
    monkeypatch.setattr(feed._client, "xack", crash)
    with pytest.raises(KeyboardInterrupt):
        feed.turn()
    monkeypatch.setattr(feed_module, "RECLAIM_AFTER_MS", 0)

    assert 1 == stand.feed("feed-2").turn()
    assert 1 == len(results_of(stand.client, stand.keys))
    assert 0 == stand.pending()
    assert [] == stand.sent()


def test_a_malformed_entry_does_not_touch_the_plan_it_names(stand: FeedStand) -> None:
    """A known plan keeps its record, and gets no result from an entry that is not a plan."""
    feed = stand.feed()
    stand.publish()
    feed.turn()
    known = record_of(stand.client, stand.keys, "plan-1")
    stand.publish(kill_score="NaN")

    feed.turn()

    assert known == record_of(stand.client, stand.keys, "plan-1")
    assert [] == results_of(stand.client, stand.keys)
    assert [("plan-1", "invalid_intent")] == rejected(stand.client, stand.keys)
    assert ["plan-1"] == stand.sent()


@pytest.mark.parametrize("other", [{"symbol": "ETHUSDT"}, {"action": "FULL_CLOSE_PROPOSED"}])
def test_a_plan_that_contradicts_a_known_one_is_set_aside(stand: FeedStand, other: dict[str, str]) -> None:
    """The same id with another symbol or action is not sent; the known plan stays, the plans behind it are sent."""
    stand.publish()
    stand.publish(other)
    stand.publish(plan_id="after")

    stand.feed().turn()

    assert ["plan-1", "after"] == stand.sent()
    assert "BTCUSDT|PARTIAL_75|EXECUTE" == record_of(stand.client, stand.keys, "plan-1")["content"]
    assert [("plan-1", "plan_conflict")] == rejected(stand.client, stand.keys)
    assert [] == results_of(stand.client, stand.keys)
    assert 0 == stand.pending()


def rejected(client: redis.Redis, keys: Keys) -> list[tuple[str, str]]:
    """Plan and reason of every message that was set aside."""
    return [(entry["plan_id"], entry["reason"]) for entry in stream(client, keys.rejected)]

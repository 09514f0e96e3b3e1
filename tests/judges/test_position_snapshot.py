"""What the Position judge knows of the venue: asked when needed, kept, never guessed; and the tasks around it."""

import json
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any, cast

import pytest
import redis

import celeryconfig
from tasks import parts as process_parts
from tasks.errors import InvalidIntent, NotConfigured, StoreUnavailable
from tasks.keys import Keys
from tasks.parts import Parts
from tasks.position import evaluate, position, refresh_snapshots
from tasks.settings import PositionSettings, Settings
from tasks.snapshot import Positions
from tests.helpers import GOVERNOR, hold, intent_of, orders_of, run_to_outcome, wait_until
from tests.judges.position_bed import (
    NO_REST,
    Watched,
    answer_of,
    give_ledger,
    give_snapshot,
    permit_of,
    silent,
    snapshot_of,
)


@pytest.fixture
def parts(make_parts: Callable[..., Parts], settings: Settings) -> Parts:
    """An executor whose Position judge needs no cooldown."""
    return make_parts(settings, position=NO_REST)


@pytest.mark.parametrize(("held", "side"), [("0.062", "LONG"), ("-0.062", "SHORT"), ("0", "FLAT")])
def test_the_snapshot_keeps_what_the_venue_said(
    client: redis.Redis, keys: Keys, parts: Parts, held: str, side: str
) -> None:
    """The venue's answer stands in a HASH with its time and source, and expires after an hour."""
    hold(client, keys, held)
    before = client.time()[0]

    evaluate(parts, NO_REST, intent_of())

    kept = snapshot_of(client, keys)
    said = ("position_amt", "side", "mark_price", "source")

    assert before <= Decimal(kept["ts_epoch"])
    assert [held, side, "50000", "paper"] == [kept[name] for name in said]
    assert 0 < client.ttl(keys.snapshot("BTCUSDT")) <= 3600


def test_the_snapshot_has_the_fields_its_readers_know(client: redis.Redis, keys: Keys, parts: Parts) -> None:
    """Other programs find every field of the snapshot, empty where the venue does not state it."""
    hold(client, keys)
    known = {"position_amt", "side", "entry_price", "mark_price", "leverage", "unrealized_pnl", "ts_epoch", "source"}

    evaluate(parts, NO_REST, intent_of())

    assert set() == known - snapshot_of(client, keys).keys()


def test_a_later_answer_is_not_replaced_by_an_earlier_one(client: redis.Redis, keys: Keys, parts: Parts) -> None:
    """Of two answers that overtake each other the one asked for later stays."""
    hold(client, keys, "1")
    positions = Positions(parts.store, keys)

    def overtaken(_: int) -> None:
        hold(client, keys, "0.5")
        earlier = parts.store.now_s()
        wait_until(lambda: parts.store.now_s() - earlier > Decimal("0.002"), "the clock goes on")
        positions.refresh(parts.venue, "BTCUSDT")

    positions.refresh(Watched(parts.venue, after=overtaken), "BTCUSDT")

    assert "0.5" == snapshot_of(client, keys)["position_amt"]


def test_a_snapshot_is_never_dated_after_the_answer(client: redis.Redis, keys: Keys, parts: Parts) -> None:
    """What the venue says is as old as the question: a later time would hide an order placed in between."""
    hold(client, keys)
    asked: list[Decimal] = []
    venue = Watched(parts.venue, before=lambda _: asked.append(parts.store.now_s()))
    positions = Positions(parts.store, keys)
    kept = [positions.refresh(venue, "BTCUSDT") for _ in range(100)]

    assert [] == [at for at, snapshot in zip(asked, kept, strict=True) if snapshot and Decimal(snapshot.ts_epoch) > at]


def test_a_young_snapshot_is_judged_on_without_asking(client: redis.Redis, keys: Keys, parts: Parts) -> None:
    """Up to the limit the stored snapshot counts, and the venue is left in peace."""
    hold(client, keys, "0.8")
    give_snapshot(client, keys, "5", "0.4")
    venue = Watched(parts.venue)

    evaluate(replace(parts, venue=venue), NO_REST, intent_of())

    assert 0 == venue.positions
    assert (Decimal("0.4"), Decimal("0.3")) == tuple(
        permit_of(client, keys)[name] for name in ("exchange_position_amt", "safe_close_qty")
    )


@pytest.mark.parametrize("broken", [{"position_amt": "junk"}, {"ts_epoch": "junk"}, {"position_amt": "NaN"}, None])
def test_an_old_or_unreadable_snapshot_is_asked_for_again(
    client: redis.Redis, keys: Keys, parts: Parts, broken: dict[str, str] | None
) -> None:
    """A snapshot beyond the limit, or one that cannot be read, is replaced by the venue's answer, then judged."""
    hold(client, keys, "0.8")
    give_snapshot(client, keys, "11" if broken is None else "1", "0.4")
    if broken:
        client.hset(keys.snapshot("BTCUSDT"), mapping=cast("Any", broken))

    assert ("written", "") == evaluate(parts, NO_REST, intent_of())
    assert Decimal("0.8") == permit_of(client, keys)["exchange_position_amt"]
    assert ("0.8", "paper") == tuple(snapshot_of(client, keys)[name] for name in ("position_amt", "source"))


@pytest.fixture
def of_process(monkeypatch: pytest.MonkeyPatch, make_parts: Callable[..., Parts], settings: Settings) -> Parts:
    """The parts that tasks of this process find, for two symbols."""
    made = make_parts(settings.model_copy(update={"allowlist": ("BTCUSDT", "ETHUSDT")}), position=NO_REST)
    monkeypatch.setattr(process_parts, "_parts", lambda: made)
    return made


@pytest.mark.usefixtures("of_process")
def test_the_beat_refreshes_every_allowed_symbol(client: redis.Redis, keys: Keys) -> None:
    """The scheduled task asks the venue for every symbol of APPLY_ALLOWLIST, and only for those."""
    for symbol, held in (("BTCUSDT", "0.5"), ("ETHUSDT", "-3"), ("SOLUSDT", "7")):
        hold(client, keys, held, symbol)

    refresh_snapshots()

    kept = {
        symbol: snapshot_of(client, keys, symbol).get("position_amt") for symbol in ("BTCUSDT", "ETHUSDT", "SOLUSDT")
    }

    assert {"BTCUSDT": "0.5", "ETHUSDT": "-3", "SOLUSDT": None} == kept


@pytest.mark.usefixtures("of_process")
def test_one_bad_symbol_does_not_keep_the_beat_from_the_others(client: redis.Redis, keys: Keys) -> None:
    """A symbol whose position cannot be read is reported, and the others are refreshed all the same."""
    hold(client, keys, "junk", "BTCUSDT")
    hold(client, keys, "-3", "ETHUSDT")

    with pytest.raises(StoreUnavailable, match="BTCUSDT"):
        refresh_snapshots()

    assert "-3" == snapshot_of(client, keys, "ETHUSDT").get("position_amt")


def test_beat_knows_the_task_and_its_queue() -> None:
    """The schedule names the refresh as it is registered, more often than a snapshot may be old, never piled up."""
    entry: dict[str, Any] = celeryconfig.beat_schedule["refresh-snapshots"]

    assert refresh_snapshots.name == entry["task"]
    assert "position" == entry["options"]["queue"] == celeryconfig.task_routes[entry["task"]]["queue"]
    assert entry["schedule"] < PositionSettings(_env_file=None).stale_threshold_sec
    assert entry["options"]["expires"] <= entry["schedule"]


def test_an_answer_from_before_our_order_is_not_kept(client: redis.Redis, keys: Keys, parts: Parts) -> None:
    """An order recorded between the question and its keeping outdates the answer: the venue is asked again."""
    hold(client, keys, "0.010")
    client.set(keys.permit("governor", "plan-1"), GOVERNOR, ex=60)
    evaluate(parts, NO_REST, intent_of())

    def order_now(times: int) -> None:
        if times == 1:
            run_to_outcome(parts, intent_of())

    venue = Watched(parts.venue, after=order_now)
    kept = Positions(parts.store, keys).refresh(venue, "BTCUSDT")

    assert 1 == len(orders_of(client, keys))
    assert 2 == venue.positions
    assert kept is not None
    assert Decimal("0.003") == kept.amt == Decimal(snapshot_of(client, keys)["position_amt"])


@pytest.mark.parametrize(("stored_age_s", "expected"), [(None, "no_exchange_snapshot"), ("11", "stale_exchange_state")])
def test_answers_that_are_overtaken_for_ever_are_none(
    client: redis.Redis, keys: Keys, parts: Parts, stored_age_s: str | None, expected: str
) -> None:
    """A venue whose every answer is overtaken by our orders is not known, and the plan is denied as such."""
    hold(client, keys)
    give_ledger(client, keys, "0.062")
    if stored_age_s:
        give_snapshot(client, keys, stored_age_s, "0.062")
    before = snapshot_of(client, keys)

    def order_recorded(_: int) -> None:
        client.hset(keys.ledger("BTCUSDT"), "last_order_at", f"{parts.store.now_s() + 1:.3f}")

    venue = Watched(parts.venue, after=order_recorded)

    assert ("written", expected) == evaluate(replace(parts, venue=venue), NO_REST, intent_of())
    assert before == snapshot_of(client, keys)


@pytest.mark.parametrize(
    ("stored_age_s", "expected"), [(None, "no_exchange_snapshot"), ("11", "stale_exchange_state"), ("5", "allow")]
)
def test_a_silent_venue_is_never_flat(
    client: redis.Redis, keys: Keys, parts: Parts, stored_age_s: str | None, expected: str
) -> None:
    """Without an answer of the venue only a snapshot within the limit counts; all else is denied by name."""
    hold(client, keys)
    if stored_age_s:
        give_snapshot(client, keys, stored_age_s, "0.062")
    venue = Watched(parts.venue, before=silent)

    evaluate(replace(parts, venue=venue), NO_REST, intent_of())

    assert expected == answer_of(client, keys)
    assert bool(stored_age_s and expected == "allow") == bool(client.exists(keys.ledger("BTCUSDT")))


def test_a_venue_without_a_step_is_not_known(client: redis.Redis, keys: Keys, parts: Parts) -> None:
    """Where the venue does not say in what steps it trades, no quantity can be safe."""
    hold(client, keys)
    venue = Watched(parts.venue, at_step=silent)

    evaluate(replace(parts, venue=venue), NO_REST, intent_of())

    assert "no_exchange_snapshot" == answer_of(client, keys)


@pytest.mark.parametrize(
    "position_hash",
    [
        {"position_amt": "junk"},
        {"position_amt": ""},
        {"position_amt": "NaN"},
        {"position_amt": "-Infinity"},
        {"position_amt": "0.062", "mark_price": "junk"},
        {"position_amt": "0.062", "step": "0"},
        {"position_amt": "0.062", "step": "-0.001"},
        {"position_amt": "0.062", "step": "junk"},
        {"position_amt": "0.062", "step": ""},
        {"position_amt": b"\xff\xfe"},
    ],
)
def test_a_malformed_paper_position_is_not_known(
    client: redis.Redis, keys: Keys, parts: Parts, position_hash: dict[str, str | bytes]
) -> None:
    """A position that is no number is a venue that cannot be asked: denied, and no ledger is started from it."""
    client.hset(keys.paper_position("BTCUSDT"), mapping=cast("Any", position_hash))

    evaluate(parts, NO_REST, intent_of())

    assert "no_exchange_snapshot" == answer_of(client, keys)
    assert 0 == client.exists(keys.ledger("BTCUSDT"))


def test_without_redis_nothing_is_answered(make_parts: Callable[..., Parts], settings: Settings) -> None:
    """A judge that cannot reach Redis raises; nothing is allowed by guessing."""
    nowhere = make_parts(settings.model_copy(update={"redis_url": f"{settings.redis_url}.gone"}), position=NO_REST)

    with pytest.raises(StoreUnavailable):
        evaluate(nowhere, NO_REST, intent_of())


@pytest.mark.usefixtures("of_process")
def test_the_task_judges_the_plan_of_its_message(client: redis.Redis, keys: Keys) -> None:
    """`tasks.position` takes the intent as it travels and leaves the permit."""
    hold(client, keys, "0.010")

    said = position(json.loads(json.dumps(intent_of().wire())))

    assert "written" == said
    assert Decimal("0.007") == permit_of(client, keys)["safe_close_qty"]


@pytest.mark.usefixtures("of_process")
@pytest.mark.parametrize("message", [None, {}, {"plan_id": "a:b"}, "text", intent_of().wire() | {"close_qty": "1"}])
def test_the_task_refuses_what_is_no_intent(client: redis.Redis, namespace: str, message: Any) -> None:
    """A message that is no intent fails and leaves nothing behind."""
    with pytest.raises(InvalidIntent):
        position(message)

    assert [] == list(client.scan_iter(match=f"{namespace}:*"))


def test_the_task_runs_only_in_our_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that was never given the gate's parts judges nothing."""
    monkeypatch.setattr(process_parts, "_parts", None)

    with pytest.raises(NotConfigured):
        position(intent_of().wire())
    with pytest.raises(NotConfigured):
        refresh_snapshots()

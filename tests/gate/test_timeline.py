"""The timeline of a plan: complete, in order, and never so full that what mattered is pushed out."""

from collections.abc import Callable
from dataclasses import replace
from typing import cast

import pytest
import redis

from tasks import governor, position
from tasks.act import Again, execute_once
from tasks.errors import InvalidIntent
from tasks.keys import Keys
from tasks.parts import Parts
from tasks.refuse import refuse
from tasks.settings import GovernorSettings, Settings
from tasks.submit import _register
from tests.helpers import GOVERNOR, P33, grant, hold, intent_of, record_of, run_to_outcome, stream
from tests.judges.desk import limits
from tests.judges.position_bed import NO_REST, Watched

#: The cap of a timeline, and by how much the server may exceed it: it trims whole blocks.
CAP, BLOCK = 200, 100


@pytest.fixture
def named(parts: Parts) -> Parts:
    """An executor whose process has a name, and time enough."""
    return replace(parts, name="celery@one")


@pytest.fixture
def patient(make_parts: Callable[..., Parts], settings: Settings) -> Parts:
    """An executor that has met its server and whose plans wait long."""
    made = make_parts(settings.model_copy(update={"permit_wait_ms": 60_000}))
    made.gate.meet_server()
    return made


def told(client: redis.Redis, keys: Keys, plan_id: str = "plan-1") -> list[dict[str, str]]:
    """Every entry."""
    return stream(client, keys.timeline(plan_id))


def events(client: redis.Redis, keys: Keys, plan_id: str = "plan-1") -> list[str]:
    """What happened, in order."""
    return [entry["event"] for entry in told(client, keys, plan_id)]


def seen(entry: dict[str, str], keys: Keys, name: str) -> tuple[str, str]:
    """Redis type and content of a permit, as a look told them."""
    _, kind, content = entry[keys.permit(name, "plan-1")].split(" ", 2)
    return kind, content


def test_a_plan_is_told_from_its_registration_to_its_order(
    client: redis.Redis, keys: Keys, settings: Settings, named: Parts
) -> None:
    """Registered, taken up by whom, both verdicts, each arrival, consumed by whom, recorded with the order."""
    hold(client, keys)
    _register(intent_of(), settings, ["plan_id", "plan-1"])
    execute_once(named, intent_of())
    governor.evaluate(named, limits(), intent_of())
    execute_once(named, intent_of())
    position.evaluate(named, NO_REST, intent_of())
    outcome = run_to_outcome(named, intent_of())
    entries = told(client, keys)

    assert outcome.executed
    assert [
        "submitted",
        "taken_up",
        "governor",
        "look",
        "ledger_started",
        "position",
        "look",
        "consumed",
        "ended",
    ] == events(client, keys)
    assert "submit" == entries[0]["via"]
    assert {"celery@one"} == {entry["by"].rpartition("/")[0] for entry in entries if "by" in entry}
    assert ("none", "") == seen(entries[1], keys, "governor")
    assert ("none", "string") == (seen(entries[3], keys, "p33")[0], seen(entries[3], keys, "governor")[0])
    assert '"safe_close_qty":0.046' in seen(entries[6], keys, "p33")[1]
    assert ("0.046", "10000") == (entries[7]["safe_qty"], entries[7]["lease_ms"])
    assert ("done", "SELL", "0.046", "0.016") == tuple(
        entries[8][name] for name in ("state", "side", "qty", "ledger_amt")
    )


def test_polling_is_counted_and_not_told(client: redis.Redis, keys: Keys, patient: Parts) -> None:
    """A thousand looks that see the same leave one entry, and their number, time and lives in the record."""
    client.set(keys.permit("governor", "plan-1"), GOVERNOR, ex=60)
    for _ in range(1_000):
        patient.gate.look(intent_of(), patient.token())
    record = record_of(client, keys, "plan-1")

    assert ["taken_up"] == events(client, keys)
    assert "1000" == record["attempts"]
    assert int(record["last_look_ms"]) >= int(record["taken_up_ms"])
    governor_ttl, p33_ttl = record["last_look_ttls_ms"].split(",")
    assert 0 < int(governor_ttl) <= 60_000
    assert "-2" == p33_ttl


@pytest.mark.parametrize(
    "change",
    [
        lambda client, keys: client.set(keys.permit("p33", "plan-1"), P33, ex=60),
        lambda client, keys: client.delete(keys.permit("governor", "plan-1")),
        lambda client, keys: client.set(keys.permit("governor", "plan-1"), GOVERNOR.replace("BTC", "ETH"), ex=60),
        lambda client, keys: client.set(keys.kill_switch, "true"),
        lambda client, keys: client.set(keys.governor_block("plan-1"), '{"reason": "x"}', ex=60),
    ],
    ids=["arrives", "goes", "other content, same size", "switch", "block record"],
)
def test_every_change_is_told(
    client: redis.Redis, keys: Keys, patient: Parts, change: Callable[[redis.Redis, Keys], object]
) -> None:
    """Whatever a look sees for the first time has an entry of its own."""
    client.set(keys.permit("governor", "plan-1"), GOVERNOR, ex=60)
    patient.gate.look(intent_of(), "a")
    patient.gate.look(intent_of(), "b")
    change(client, keys)
    patient.gate.look(intent_of(), "c")
    patient.gate.look(intent_of(), "d")

    assert ["taken_up", "look"] == events(client, keys)
    assert "3" == told(client, keys)[1]["attempt"]


def test_a_change_between_look_and_consumption_is_told(client: redis.Redis, keys: Keys, patient: Parts) -> None:
    """An attempt that lost what it had judged says what it found instead."""
    hold(client, keys)
    grant(client, keys, "plan-1")

    def change(_: int) -> None:
        client.set(keys.permit("p33", "plan-1"), '{"allow": false, "symbol": "BTCUSDT", "reason": "late"}', ex=60)

    # The step of the quantity is asked for between the two.
    outcome = run_to_outcome(replace(patient, venue=Watched(patient.venue, at_step=change)), intent_of())

    assert "p33_denied" == outcome.reason
    assert ["taken_up", "look", "ended"] == events(client, keys)
    assert "late" in seen(told(client, keys)[1], keys, "p33")[1]


def test_a_permit_that_never_rests_pushes_nothing_out(client: redis.Redis, keys: Keys, patient: Parts) -> None:
    """Hundreds of changes leave the beginning and the end of the plan in its timeline, within its cap."""
    hold(client, keys)
    patient.gate.look(intent_of(), "first")
    for number in range(400):
        client.set(keys.permit("governor", "plan-1"), GOVERNOR.replace("}", f', "n": {number}}}'), ex=60)
        patient.gate.look(intent_of(), f"t{number}")
    grant(client, keys, "plan-1")
    run_to_outcome(patient, intent_of())
    found = events(client, keys)

    assert ("taken_up", "consumed", "ended") == (found[0], found[-2], found[-1])
    assert len(found) <= CAP


def test_a_flood_of_bad_messages_pushes_nothing_out(client: redis.Redis, keys: Keys, patient: Parts) -> None:
    """Five hundred messages set aside under a plan's id leave its own history readable, and all stand in the stream."""
    execute_once(patient, intent_of())
    for number in range(500):
        refuse(patient, InvalidIntent("no", "plan-1"), f"task-{number}", {})
    grant(client, keys, "plan-1")
    hold(client, keys)
    run_to_outcome(patient, intent_of())
    found = events(client, keys)

    assert ("taken_up", "ended") == (found[0], found[-1])
    assert len(found) <= CAP + BLOCK
    assert 500 == client.xlen(keys.rejected)


def test_long_and_unreadable_content_is_cut(client: redis.Redis, keys: Keys, patient: Parts) -> None:
    """Of each permit the first 512 bytes are told, whatever they are."""
    client.set(keys.permit("p33", "plan-1"), b"\xff" * 5_000, ex=60)
    patient.gate.look(intent_of(), "a")

    assert ("string", "\N{REPLACEMENT CHARACTER}" * 512) == seen(told(client, keys)[0], keys, "p33")


def test_repeats_are_numbered_and_few(client: redis.Redis, keys: Keys, patient: Parts) -> None:
    """Fifty messages of a finished plan leave the first ones and the last one; the record stays as it is."""
    hold(client, keys)
    grant(client, keys, "plan-1")
    first = run_to_outcome(patient, intent_of())
    record = record_of(client, keys, "plan-1")
    answers = {run_to_outcome(patient, intent_of()).model_dump_json() for _ in range(50)}
    repeats = [entry["number"] for entry in told(client, keys) if entry["event"] == "repeat"]

    assert {first.model_dump_json()} == answers
    assert ["1", "2", "50"] == repeats
    assert record == record_of(client, keys, "plan-1")


def test_a_repeat_makes_no_timeline(client: redis.Redis, keys: Keys, patient: Parts) -> None:
    """Where the timeline has expired, a repeat leaves none without an end."""
    hold(client, keys)
    grant(client, keys, "plan-1")
    run_to_outcome(patient, intent_of())
    client.delete(keys.timeline("plan-1"))
    run_to_outcome(patient, intent_of())

    assert 0 == client.exists(keys.timeline("plan-1"))


@pytest.mark.parametrize(
    ("bounds", "limit", "room"),
    [
        (limits(max_exec_per_hour=2), "2", (1, 3_600)),
        (limits(max_exec_per_5min=3), "3", (0, 300)),
        (limits(max_exec_per_hour=0), "0", None),
    ],
)
def test_a_refusal_tells_its_figures(
    client: redis.Redis, keys: Keys, patient: Parts, bounds: GovernorSettings, limit: str, room: tuple[int, int] | None
) -> None:
    """The limit, what was counted against it, and when there is room again: when enough grants are old enough."""
    hold(client, keys)
    for number in range(3):
        governor.evaluate(patient, limits(), intent_of(f"p{number}"))
    granted = cast("list[tuple[bytes, float]]", client.zrange(keys.governor_exec("BTCUSDT"), 0, -1, withscores=True))
    governor.evaluate(patient, bounds, intent_of())
    refused = told(client, keys)[-1]

    assert (limit, "3") == (refused["limit"], refused["counted"])
    assert ("" if room is None else str(int(granted[room[0]][1]) + room[1] * 1000)) == refused["room_at_ms"]


def test_a_symbol_that_is_held_names_its_holder(client: redis.Redis, keys: Keys, patient: Parts) -> None:
    """Position says whose permit stands in the way."""
    hold(client, keys)
    position.evaluate(patient, NO_REST, intent_of("plan-0"))
    position.evaluate(patient, NO_REST, intent_of())

    assert "plan-0" == told(client, keys)[-1]["holder"]


def test_judges_that_come_late_say_so(client: redis.Redis, keys: Keys, parts: Parts) -> None:
    """After a plan was blocked both leave a word in its timeline, and nothing else anywhere."""
    hold(client, keys)
    assert isinstance(execute_once(parts, intent_of()), Again)
    run_to_outcome(parts, intent_of())
    governor.evaluate(parts, limits(), intent_of())
    position.evaluate(parts, NO_REST, intent_of())
    late = told(client, keys)[-2:]

    assert [("governor", "late"), ("position", "late")] == [(entry["event"], entry["verdict"]) for entry in late]
    assert 0 == client.exists(keys.permit("governor", "plan-1"), keys.permit("p33", "plan-1"))
    assert 0 < client.ttl(keys.timeline("plan-1"))

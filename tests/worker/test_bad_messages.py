"""Whatever is sent, the worker lives on: what can be read is recorded, the rest is refused, nothing is ordered."""

import base64
import json
import pickle
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import grant, hold, orders_of, record_of, results_of, stream, wait_until
from tests.servers import RealServer
from tests.worker.nodes import (
    SYMBOLS,
    Site,
    Worker,
    of_plans,
    permit_texts,
    plan,
    site_on,
    start_worker,
    wait_for_ends,
)

SYMBOL = SYMBOLS[0]
GOOD = plan("good-1", SYMBOL)
MEGABYTE = "x" * 1_000_000

_numbers = count(1)


@pytest.fixture(scope="module")
def live() -> Iterator[tuple[Site, Worker]]:
    """One worker for every bad message of this file, and a position that only good plans may touch."""
    with RealServer() as server, start_worker(server) as worker, site_on(server) as site:
        hold(site.client, site.keys, "1000", SYMBOL)
        yield site, worker


@pytest.fixture
def site(live: tuple[Site, Worker]) -> Site:
    return live[0]


@pytest.fixture(autouse=True)
def _the_same_worker_still_works(live: tuple[Site, Worker]) -> Iterator[None]:
    """After every bad message no order more than before is there, and the same process executes a good plan."""
    site, worker = live
    before, pid = orders_in_symbol(site), worker.pid
    yield
    plan_id = f"after-{next(_numbers)}"
    grant(site.client, site.keys, plan_id, *permit_texts(SYMBOL))
    site.send(plan(plan_id, SYMBOL), plan_id)
    wait_for_ends(site, [plan_id])

    assert [*before, plan_id] == orders_in_symbol(site)
    assert (pid, "running", 1) == (worker.pid, worker.status, len(worker.lines(" ready.")))


def orders_in_symbol(site: Site) -> list[str]:
    return [order["plan_id"] for order in orders_of(site.client, site.keys) if order["symbol"] == SYMBOL]


def without(field: str) -> dict[str, Any]:
    return {name: value for name, value in GOOD.items() if name != field}


def nested(depth: int) -> Any:
    value: Any = "bottom"
    for _ in range(depth):
        value = [value]
    return value


INVALID = {
    **{f"no {field}": {"intent": without(field)} for field in GOOD},
    **{f"{field} a number": {"intent": GOOD | {field: 7}} for field in GOOD},
    **{f"{field} null": {"intent": GOOD | {field: None}} for field in GOOD},
    "plan id with a colon": {"intent": plan("p33:good-1", SYMBOL)},
    "plan id with a newline": {"intent": plan("good-1\n", SYMBOL)},
    "plan id too long": {"intent": plan("x" * 65, SYMBOL)},
    "decision in small letters": {"intent": plan("unknown-1", SYMBOL, decision="execute")},
    "decision SKIP": {"intent": plan("unknown-2", SYMBOL, decision="SKIP")},
    "created_at as text": {"intent": plan("unknown-3", SYMBOL, created_at="1700000000")},
    "created_at NaN": {"intent": plan("unknown-4", SYMBOL, created_at=float("nan"))},
    "created_at infinite": {"intent": plan("unknown-5", SYMBOL, created_at=float("inf"))},
    "kill_score NaN": {"intent": plan("unknown-6", SYMBOL, kill_score=float("nan"))},
    "half a character": {"intent": plan("unknown-7", SYMBOL, action="\ud800")},
    "a megabyte of text": {"intent": MEGABYTE},
    "a megabyte in a field": {"intent": plan("unknown-8", SYMBOL, action=MEGABYTE)},
    "a megabyte as plan id": {"intent": plan(MEGABYTE, SYMBOL)},
    "none": {"intent": None},
    "a list": {"intent": [GOOD]},
    "a text": {"intent": json.dumps(GOOD)},
    "true": {"intent": True},
    "NaN": {"intent": float("nan")},
    "nested": {"intent": nested(80)},
    "another keyword": {"intent": GOOD, "skip_gate": True},
    "a misspelled keyword": {"intention": GOOD},
    "no keyword": {},
}


@pytest.mark.parametrize("kwargs", INVALID.values(), ids=INVALID.keys())
@pytest.mark.fault("F25", "F36")
def test_an_invalid_intent_is_recorded(site: Site, kwargs: dict[str, Any]) -> None:
    """What is no intent ends as `invalid_intent`: the task's result, one result entry under its id, no record."""
    task_id = f"invalid-{next(_numbers)}"
    sent = site.producer.send_task("tasks.execute", kwargs=kwargs, task_id=task_id, queue="execute")

    result = sent.get(timeout=30)

    assert ("BLOCKED", "invalid_intent", False) == (result["decision"], result["reason"], result["executed"])
    assert [("BLOCKED", "invalid_intent", "False")] == [
        (entry["decision"], entry["reason"], entry["executed"])
        for entry in of_plans(results_of(site.client, site.keys), [task_id])
    ]
    assert 1 == len([entry for entry in stream(site.client, site.keys.rejected) if entry["task_id"] == task_id])
    assert 0 == site.client.exists(site.keys.record(task_id), site.keys.record("good-1"))


@pytest.mark.fault("F36")
def test_positional_arguments_are_no_intent(site: Site) -> None:
    """A valid intent in the wrong place is refused: there is one way to say EXECUTE."""
    sent = site.producer.send_task("tasks.execute", args=(GOOD,), task_id="positional", queue="execute")

    result = sent.get(timeout=30)

    assert ("BLOCKED", "invalid_intent", "positional") == (result["decision"], result["reason"], result["plan_id"])
    assert 1 == len(of_plans(results_of(site.client, site.keys), ["positional"]))


def test_an_unknown_action_ends_its_plan(site: Site) -> None:
    """An action that closes nothing ends as `unsupported_action`, with its permits left alone."""
    grant(site.client, site.keys, "odd-action", *permit_texts(SYMBOL))

    result = site.send(plan("odd-action", SYMBOL, action="UPDATE_SL"), "odd-action").get(timeout=30)

    assert ("BLOCKED", "unsupported_action") == (result["decision"], result["reason"])
    assert 1 == len(of_plans(results_of(site.client, site.keys), ["odd-action"]))
    assert 2 == site.client.exists(*(site.keys.permit(name, "odd-action") for name in ("governor", "p33")))


def test_a_repeated_invalid_message_has_one_entry(site: Site) -> None:
    """An invalid message delivered three times leaves one result entry, and every delivery the same answer."""
    task_id = "invalid-again"
    first = site.send("junk", task_id).get(timeout=30)
    for _ in range(2):
        site.send("junk", task_id)
    wait_until(
        lambda: 3 == len([e for e in stream(site.client, site.keys.rejected) if e["task_id"] == task_id]),
        "all three deliveries set aside",
    )
    last = site.send("junk", task_id).get(timeout=30)

    assert first == last
    assert 1 == len(of_plans(results_of(site.client, site.keys), [task_id]))


@pytest.mark.parametrize(
    ("field", "value", "waiting", "ended"),
    [
        ("action", "PARTIAL_50", ("BLOCKED", "plan_conflict"), ("EXECUTE", "")),
        ("symbol", SYMBOLS[1], ("BLOCKED", "plan_conflict"), ("EXECUTE", "")),
        ("decision", "SKIP", ("BLOCKED", "plan_conflict"), ("BLOCKED", "plan_conflict")),
        ("created_at", "now", ("BLOCKED", "invalid_intent"), ("BLOCKED", "invalid_intent")),
    ],
)
@pytest.mark.fault("F7", "F36")
def test_a_known_plan_is_not_touched(
    site: Site, field: str, value: str, waiting: tuple[str, str], ended: tuple[str, str]
) -> None:
    """What contradicts a known plan gets its own answer, or the stored outcome once there is one; the plan stays."""
    plan_id = f"known-{field}"
    hold(site.client, site.keys, "1000", SYMBOLS[2])
    odd = plan(plan_id, SYMBOLS[2]) | {field: value}
    known = site.send(plan(plan_id, SYMBOLS[2]), plan_id)
    wait_until(lambda: site.client.exists(site.keys.record(plan_id)), "the plan is known")
    answers = [site.send(odd, f"{plan_id}-2").get(timeout=30)]
    grant(site.client, site.keys, plan_id, *permit_texts(SYMBOLS[2]))
    outcome = known.get(timeout=30)
    record, results = record_of(site.client, site.keys, plan_id), results_of(site.client, site.keys)
    answers.append(site.send(odd, f"{plan_id}-3").get(timeout=30))

    assert [(*waiting, plan_id), (*ended, plan_id)] == [
        tuple(answer[name] for name in ("decision", "reason", "plan_id")) for answer in answers
    ]
    assert ("EXECUTE", SYMBOLS[2]) == (outcome["decision"], outcome["symbol"])
    assert record == record_of(site.client, site.keys, plan_id)
    assert results == results_of(site.client, site.keys)
    assert 1 == len(of_plans(results, [plan_id]))


class Bomb:
    """Makes a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._path,)


@pytest.mark.broker("redis")
@pytest.mark.fault("F36")
def test_only_json_is_read(live: tuple[Site, Worker], tmp_path: Path) -> None:
    """A body in another format is refused unread: reading pickle would run code."""
    site, worker = live
    mark = tmp_path / "exploded"
    push(site, envelope("p", body=pickle.dumps(Bomb(mark)), content_type="application/x-python-serialize"))
    push(
        site,
        envelope("y", body=f"!!python/object/apply:os.mknod ['{mark}']".encode(), content_type="application/x-yaml"),
    )

    for kind in ("pickle", "yaml"):
        wait_until(lambda: worker.lines("Refusing to deserialize untrusted content", kind), f"a refusal of {kind}")  # noqa: B023 - called at once
    wait_until(lambda: 0 == site.client.hlen("unacked"), "nothing unacknowledged")
    assert not mark.exists()


@pytest.mark.fault("F25")
def test_an_unknown_task_is_refused(live: tuple[Site, Worker]) -> None:
    """A task that is not ours is discarded with its name in the log."""
    site, worker = live
    site.producer.send_task("tasks.nonsense", kwargs={"intent": GOOD}, task_id="nonsense", queue="execute")

    wait_until(lambda: worker.lines("unregistered task", "tasks.nonsense"), "the refusal")


def envelope(task_id: str = "raw", *, body: bytes | None = None, **changes: Any) -> dict[str, Any]:
    """A message as kombu writes it into the queue list."""
    text = json.dumps([[], {"intent": GOOD}, {}]).encode() if body is None else body
    message: dict[str, Any] = {
        "body": base64.b64encode(text).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"lang": "py", "task": "tasks.execute", "id": task_id, "root_id": task_id, "argsrepr": "()"},
        "properties": {
            "correlation_id": task_id,
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": "execute"},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": f"tag-{task_id}",
        },
    }
    return message | {name.replace("_", "-"): value for name, value in changes.items()}


def push(site: Site, entry: dict[str, Any] | bytes) -> None:
    """Put an entry into the queue's list, past every client."""
    site.client.lpush("execute", entry if isinstance(entry, bytes) else json.dumps(entry))


def lacking(part: str) -> dict[str, Any]:
    whole = envelope()
    for place in (whole, whole["headers"], whole["properties"]):
        place.pop(part, None)
    return whole


UNREADABLE: dict[str, dict[str, Any] | bytes] = {
    "garbage": b"garbage",
    "empty": b"",
    "a list": b"[]",
    "null": b"null",
    "a number": b"17",
    "an object": b"{}",
    "binary": bytes(range(256)),
    "half a message": json.dumps(envelope()).encode()[:-20],
    "deeper than the stack": b"[" * 100_000 + b"]" * 100_000,
    "a megabyte": MEGABYTE.encode(),
    **{
        f"without {part}": lacking(part)
        for part in ("body", "content-type", "headers", "properties", "delivery_tag", "delivery_info", "task", "id")
    },
    "body not base64": envelope(body=b"") | {"body": "%%%"},
    "body not JSON": envelope(body=b"not json"),
    "body not UTF-8": envelope(body=b"\xff\xfe\x00"),
    "body an object": envelope(body=b"{}"),
    "body a number": envelope(body=b"5"),
    "body too short": envelope(body=b"[[]]"),
    "body deeper than the stack": envelope(body=b"[" * 100_000 + b"]" * 100_000),
    "kwargs a list": envelope(body=b'[[], ["intent"], {}]'),
    "headers a text": envelope(headers="tasks.execute"),
}


@pytest.mark.broker("redis")
@pytest.mark.parametrize("entry", UNREADABLE.values(), ids=UNREADABLE.keys())
@pytest.mark.fault("F25")
def test_an_unreadable_entry_is_refused(live: tuple[Site, Worker], entry: dict[str, Any] | bytes) -> None:
    """An entry that is no task message leaves the queue, is not kept for ever, and stops nothing."""
    site, worker = live
    before = len(worker.logs())
    push(site, entry)

    wait_until(lambda: 0 == site.client.llen("execute") and 0 == site.client.hlen("unacked"), "the entry is gone")
    wait_until(lambda: len(worker.logs()) > before, "a line about it")
    assert [] == of_plans(results_of(site.client, site.keys), ["good-1"])
    assert 0 == site.client.exists(site.keys.record("good-1"))


@pytest.mark.broker("redis")
def test_nesting_is_answered_or_refused(site: Site) -> None:
    """Nesting near the limits of parsers and stacks gets an answer or a refusal, never silence in between."""
    for depth in (90, 300, 600, 900, 990, 5_000):
        body = b'[[], {"intent": ' + b"[" * depth + b"]" * depth + b"}, {}]"
        push(site, envelope(f"deep-{depth}", body=body))

    wait_until(lambda: of_plans(results_of(site.client, site.keys), ["deep-90"]), "an answer to what can be read")
    wait_until(lambda: 0 == site.client.llen("execute") and 0 == site.client.hlen("unacked"), "all are gone")


@pytest.mark.broker("redis")
@pytest.mark.parametrize(
    ("headers", "embed"),
    [
        ({"headers": "x"}, {}),
        ({"chain": "x"}, {}),
        ({}, {"chain": "x"}),
        ({}, {"chain": [1]}),
        ({}, {"chain": {"a": 1}}),
    ],
)
@pytest.mark.fault("F25", "F36")
def test_odd_headers_lose_no_plan(live: tuple[Site, Worker], headers: dict[str, Any], embed: dict[str, Any]) -> None:
    """A valid intent among odd headers is executed or set aside; it does not stay in the worker for ever."""
    site, worker = live
    plan_id, set_aside_before = f"odd-{next(_numbers)}", len(worker.lines("[SET_ASIDE]"))
    hold(site.client, site.keys, "1000", SYMBOLS[3])
    grant(site.client, site.keys, plan_id, *permit_texts(SYMBOLS[3]))
    message = envelope(plan_id, body=json.dumps([[], {"intent": plan(plan_id, SYMBOLS[3])}, embed]).encode())
    push(site, message | {"headers": message["headers"] | headers})

    def answers() -> int:
        executed = of_plans(results_of(site.client, site.keys), [plan_id])
        return len(executed) + len(worker.lines("[SET_ASIDE]")) - set_aside_before

    wait_until(answers, "an outcome or a refusal")
    wait_until(lambda: 0 == site.client.llen("execute") and 0 == site.client.hlen("unacked"), "the entry is gone")
    assert 1 == answers()

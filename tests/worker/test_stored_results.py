"""An outcome as Celery's result: what stands in the result backend is what Celery itself would have written."""

import json
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from celery.result import AsyncResult

from tasks.outcome import Ending, Outcome, outcome_from_fields
from tests.helpers import wait_until
from tests.servers import RealServer
from workers.results import Outcomes, ResultNotStored

#: Celery's backend writes with a command that redis-py advises against.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")

#: Seconds; of a stored result.
LIFE_S = 1000


@pytest.fixture
def app(server: RealServer) -> Iterator[Celery]:
    """An application with the server as its result backend."""
    made = Celery("results", backend=server.url, set_as_current=False)
    made.conf.result_expires = LIFE_S
    yield made
    made.close()


def backend_of(app: Celery) -> Any:
    """Celery's own backend; the stubs know only what all of them have."""
    return app.backend


@pytest.fixture
def outcomes(app: Celery) -> Outcomes:
    """The backend as `tasks.execute` sees it."""
    return Outcomes(lambda: app.backend)


def outcome_of(plan_id: str) -> Outcome:
    """A plan's end."""
    fields = Ending(decision="EXECUTE", plan_id=plan_id, symbol="BTCUSDT", executed=True).fields()
    facts = dict(zip(fields[::2], fields[1::2], strict=True))
    return outcome_from_fields(facts | {"attempts": "1", "wait_ms": "5", "timestamp": "1.5"})


def stored(app: Celery, task_id: str) -> tuple[dict[str, Any], int]:
    """What stands there, and for how many seconds."""
    client = backend_of(app).client
    return json.loads(client.get(f"celery-task-meta-{task_id}")), client.ttl(f"celery-task-meta-{task_id}")


def test_a_result_is_what_celery_writes(app: Celery, outcomes: Outcomes, namespace: str) -> None:
    """The same fields, values, key and life as Celery's own; after an upgrade that changes them this fails."""
    ours, theirs = f"{namespace}-ours", f"{namespace}-theirs"
    outcome = outcome_of("plan-1")
    outcomes.mark_as_done(ours, outcome)
    app.backend.mark_as_done(theirs, outcome.as_result())
    (our_document, our_life_s), (their_document, their_life_s) = stored(app, ours), stored(app, theirs)

    assert ours == our_document.pop("task_id")
    assert theirs == their_document.pop("task_id")
    assert our_document.pop("date_done").count("T") == their_document.pop("date_done").count("T") == 1
    assert our_document == their_document
    assert outcome.as_result() == our_document["result"]
    assert LIFE_S - 60 < our_life_s <= LIFE_S >= their_life_s > LIFE_S - 60


def test_the_first_result_stays(app: Celery, outcomes: Outcomes, namespace: str) -> None:
    """As with Celery: a message that comes again, with whatever content, changes nothing that a client has read."""
    outcomes.mark_as_done(namespace, outcome_of("first"))
    outcomes.mark_as_done(namespace, outcome_of("second"))

    assert "first" == stored(app, namespace)[0]["result"]["plan_id"]


def test_what_is_no_result_yet_is_replaced(app: Celery, outcomes: Outcomes, namespace: str) -> None:
    """As with Celery: only a success is final."""
    app.backend.store_result(namespace, None, "REVOKED")
    outcomes.mark_as_done(namespace, outcome_of("plan-1"))

    assert "SUCCESS" == stored(app, namespace)[0]["status"]


def test_who_waits_is_told(app: Celery, outcomes: Outcomes, namespace: str) -> None:
    """A client that waits for the result gets it when it is there; Celery's clients listen for it."""
    got: list[Any] = []
    listening = threading.Thread(target=lambda: got.append(AsyncResult(namespace, app=app).get(timeout=20)))
    listening.start()
    channel = f"celery-task-meta-{namespace}"
    wait_until(lambda: backend_of(app).client.pubsub_numsub(channel)[0][1] == 1, "the client listens")
    outcomes.mark_as_done(namespace, outcome_of("plan-1"))
    listening.join(timeout=20)

    assert [outcome_of("plan-1").as_result()] == got


def test_a_result_that_nobody_wants_is_not_stored(app: Celery, outcomes: Outcomes, namespace: str) -> None:
    """`ignore_result` of a message is respected."""
    outcomes.mark_as_done(namespace, outcome_of("plan-1"), SimpleNamespace(ignore_result=True, chord=None))

    assert 0 == backend_of(app).client.exists(f"celery-task-meta-{namespace}")


@pytest.mark.parametrize("reason", ["another backend", "a chord"])
def test_what_has_more_to_do_is_celerys(
    monkeypatch: pytest.MonkeyPatch, app: Celery, outcomes: Outcomes, namespace: str, reason: str
) -> None:
    """A member of a chord, and a backend that is not plainly Redis, go Celery's own way."""
    seen: list[str] = []
    monkeypatch.setattr(type(backend_of(app)), "_store_result", lambda _, task_id, *__, **___: seen.append(task_id))
    monkeypatch.setattr(type(backend_of(app)), "on_chord_part_return", lambda *_, **__: seen.append("chord"))
    request = SimpleNamespace(ignore_result=False, chord=reason == "a chord" and {"task": "t"})
    if reason == "another backend":
        monkeypatch.setattr("workers.results.RedisBackend", dict)
    outcomes.mark_as_done(namespace, outcome_of("plan-1"), request)

    assert [namespace, *(["chord"] if reason == "a chord" else [])] == seen


def test_a_backend_that_refuses_is_said(app: Celery, outcomes: Outcomes, namespace: str) -> None:
    """What the server refuses is an error of ours, with the server's words, and nothing is stored."""
    backend_of(app).client.sadd(f"celery-task-meta-{namespace}", "no string")
    with pytest.raises(ResultNotStored, match="WRONGTYPE"):
        outcomes.mark_as_done(namespace, outcome_of("plan-1"))
    backend_of(app).client.delete(f"celery-task-meta-{namespace}")

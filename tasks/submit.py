"""The typed producer: validate an intent, register its plan, send the one message, read the outcome."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from tasks.address import for_celery
from tasks.errors import BadSettings, OutcomePending, PlanConflict, StoreUnavailable
from tasks.intent import ExecuteIntent, parse_intent, shown
from tasks.keys import Keys
from tasks.outcome import Outcome, outcome_from_fields
from tasks.settings import DUE_GRACE_MS, STREAM_MAXLEN, Settings, settings_of_process

if TYPE_CHECKING:
    from celery import Celery

    from tasks.store import Store

#: Marks a plan stream entry whose message was sent already, for consumers of that stream.
SUBMITTED_BY: Final = "permitwait.submit"

#: Pauses between two looks at a record, seconds: quick at first, then easy on the server.
_FIRST_PAUSE_S: Final = 0.005
_LONGEST_PAUSE_S: Final = 0.1

#: A producer's call may take longer than a gate's: nothing waits for it.
_PRODUCER_TIMEOUT_MS: Final = 2_000


@dataclass(frozen=True)
class Handle:
    """A submitted plan."""

    plan_id: str
    settings: Settings

    def result(self, timeout: float | None = None) -> Outcome:
        """The plan's outcome, from its record; waits up to `timeout` seconds (None: for ever).

        Raises:
            OutcomePending: the plan has no outcome within the timeout.
            StoreUnavailable: Redis gave no answer.
        """
        store, key = _store(self.settings), Keys(self.settings.namespace).record(self.plan_id)
        give_up = None if timeout is None else time.monotonic() + timeout
        pause = _FIRST_PAUSE_S
        while True:
            fields = store.hash(key)
            if "ended_ms" in fields:
                return outcome_from_fields(fields)
            if give_up is not None and time.monotonic() + pause > give_up:
                raise OutcomePending(f"plan {self.plan_id} is {fields.get('state', 'unknown')} after {timeout} s")
            time.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_S)


def submit(
    intent: ExecuteIntent | Mapping[str, Any],
    *,
    app: "Celery | None" = None,
    settings: Settings | None = None,
) -> Handle:
    """Submit one plan. Submitting the same plan again is harmless: it has one outcome.

    Args:
        intent: the intent, or a mapping to be validated as one.
        app: the Celery application to send with; by default one for the configured broker.
        settings: by default those of the environment.

    Raises:
        InvalidIntent: the mapping is not a valid intent; nothing was registered or sent.
        PlanConflict: the plan id is known with another symbol, action or decision.
        BadSettings: no Redis address is configured.
        StoreUnavailable: Redis or the broker gave no answer; submit the same plan again.
    """
    plan = intent if isinstance(intent, ExecuteIntent) else parse_intent(dict(intent))
    chosen = settings or settings_of_process()
    if not chosen.redis_url:
        raise BadSettings("APPLY_REDIS_URL is not set; a producer needs the Redis that the workers use")
    return _take(plan, chosen, app, _entry(plan))


def forward(plan: ExecuteIntent, *, settings: Settings) -> Handle:
    """As `submit`, for a plan that stands in the plan stream already: it is not published again."""
    return _take(plan, settings, None, [])


def _take(plan: ExecuteIntent, settings: Settings, app: "Celery | None", entry: list[str]) -> Handle:
    _register(plan, settings, entry)
    _send(plan, app or _app(settings.effective_broker_url))
    return Handle(plan.plan_id, settings)


def _send(plan: ExecuteIntent, app: "Celery") -> None:
    wire, plan_id = plan.wire(), plan.plan_id
    try:
        app.send_task(
            "tasks.execute",
            kwargs={"intent": wire},
            kwargsrepr=shown(wire),
            task_id=plan_id,
            queue="execute",
            confirm_timeout=_PRODUCER_TIMEOUT_MS / 1000,
        )
    except Exception as error:  # kombu lets errors of any kind through while a connection ends
        raise StoreUnavailable(f"the broker took no message: {error}; submit the same plan again") from error


def _register(plan: ExecuteIntent, settings: Settings, entry: list[str]) -> None:
    keys = Keys(settings.namespace)
    answer = _store(settings).run(
        "register_plan",
        [keys.record(plan.plan_id), keys.open, keys.timeline(plan.plan_id), keys.plans],
        [
            plan.plan_id,
            plan.content,
            plan.text,
            settings.plan_max_age_ms + DUE_GRACE_MS,
            settings.record_ttl_s,
            STREAM_MAXLEN,
            *entry,
        ],
    )
    if answer[0] == b"conflict":
        raise PlanConflict(
            f"plan {plan.plan_id} is known as {answer[1].decode()}, submitted as {plan.content}; choose a new plan id"
        )


def _entry(plan: ExecuteIntent) -> list[str]:
    """The plan stream's entry: every given field as text, as its other readers expect."""
    fields = {name: value if isinstance(value, str) else json.dumps(value) for name, value in plan.wire().items()} | {
        "submitted_by": SUBMITTED_BY
    }
    return [part for field in fields.items() for part in field]


@cache
def _store_at(redis_url: str) -> "Store":
    # Imported here so that a producer that only builds intents never loads a Redis client.
    from tasks.address import RedisAddress  # noqa: PLC0415 - see above
    from tasks.store import Store, connect  # noqa: PLC0415 - see above

    return Store(connect(RedisAddress.parse(redis_url), timeout_ms=_PRODUCER_TIMEOUT_MS))


def _store(settings: Settings) -> "Store":
    return _store_at(settings.redis_url)


@cache
def _app(broker_url: str) -> "Celery":
    from celery import Celery  # noqa: PLC0415 - a producer that brings its own app needs no second one

    url, options = for_celery(broker_url)
    app = Celery("permitwait-producer", broker=url, set_as_current=False)
    # An AMQP broker says what it has taken only where it is asked to; without, whatever fits the socket counts as sent.
    # For a Redis that has gone without a word kombu by default waits for ever.
    timeout_s = _PRODUCER_TIMEOUT_MS / 1000
    in_time = {"socket_timeout": timeout_s, "socket_connect_timeout": timeout_s}
    app.conf.broker_transport_options = options | ({"confirm_publish": True} if url.startswith("amqp") else in_time)
    return app

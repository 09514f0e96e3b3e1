"""The yardsticks: what the same job costs with Celery as it comes. None of the gate's code.

`bench.noop` writes one stream entry and returns: the least a Celery task can do. `bench.attempt` waits for two
permits as Celery's manual would: look, `self.retry(countdown=0.1)`, look again, a new message each time.
Same broker, pool, concurrency and acknowledgement as the gate's worker.
"""

import os
from functools import cache
from typing import Any

import redis
from celery import Celery, signals

_url = os.environ["APPLY_REDIS_URL"]
_broker = os.environ.get("APPLY_BROKER_URL", _url)

#: Attempts of a plan: the bound of the wait, 1200 ms, in steps of 100 ms.
_ATTEMPTS = 12

_CONSUME = """
if redis.call('EXISTS', KEYS[1]) == 0 or redis.call('EXISTS', KEYS[2]) == 0 then return 0 end
redis.call('DEL', KEYS[1], KEYS[2])
redis.call('XADD', KEYS[3], '*', 'plan_id', ARGV[1])
return 1
"""

app = Celery("stock", broker=_broker, backend=_url)
app.conf.update(
    task_default_queue="stock",
    task_acks_late=True,
    worker_pool="threads",
    worker_concurrency=16,
    worker_prefetch_multiplier=2,
    worker_send_task_events=False,
    broker_connection_retry_on_startup=True,
)


@signals.worker_ready.connect
def _say_ready(**_: Any) -> None:  # noqa: ANN401 - Celery's signal arguments
    print("[START]", flush=True)


@cache
def _client() -> "redis.Redis":
    return redis.Redis(unix_socket_path=_url.removeprefix("redis+socket://"))


@cache
def _consume() -> Any:  # noqa: ANN401 - redis-py's, untyped
    return _client().register_script(_CONSUME)


@app.task(name="bench.noop")
def noop(intent: dict[str, str]) -> str:
    """Write one entry and return."""
    _client().xadd("bench:results", {"plan_id": intent["plan_id"]})
    return intent["plan_id"]


@app.task(name="bench.attempt", bind=True, max_retries=None)
def attempt(self: Any, intent: dict[str, str]) -> str:  # noqa: ANN401 - Celery's task
    """Consume both permits and write an order, or retry in 100 ms; give up at the bound of the wait."""
    plan_id = intent["plan_id"]
    keys = [f"quantum:permit:{plan_id}", f"quantum:permit:p33:{plan_id}", "bench:orders"]
    executed = bool(_consume()(keys=keys, args=[plan_id]))
    if not executed and self.request.retries < _ATTEMPTS:
        raise self.retry(countdown=0.1)
    _client().xadd("bench:results", {"plan_id": plan_id, "decision": "EXECUTE" if executed else "BLOCKED"})
    return "EXECUTE" if executed else "BLOCKED"

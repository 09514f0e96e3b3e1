"""The yardstick: a stock Celery task that does nothing but write one stream entry.

Same broker, pool, concurrency and acknowledgement as the gate's worker, and none of its code.
"""

import os
from functools import cache

import redis
from celery import Celery

_url = os.environ["BENCH_URL"]
_stream = os.environ["BENCH_STREAM"]

app = Celery("stock", broker=_url, backend=_url)
app.conf.update(
    task_default_queue="noop",
    task_acks_late=True,
    worker_pool="threads",
    worker_concurrency=16,
    worker_prefetch_multiplier=2,
    worker_send_task_events=True,
    broker_connection_retry_on_startup=True,
)


@cache
def _client() -> redis.Redis:
    return redis.Redis(unix_socket_path=_url.removeprefix("redis+socket://"))


@app.task(name="bench.noop")
def noop(plan_id: str) -> str:
    """Write one entry and return."""
    _client().xadd(_stream, {"plan_id": plan_id})
    return plan_id

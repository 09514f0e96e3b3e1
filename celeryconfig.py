"""Celery settings; every line that is not Celery's default carries its reason."""

import sys
from itertools import pairwise

from kombu import Exchange, Queue

from tasks.address import for_celery
from tasks.settings import settings_of_process

_settings = settings_of_process()

broker_url, _broker_options = for_celery(_settings.effective_broker_url)
result_backend, result_backend_transport_options = for_celery(_settings.effective_result_backend)

# A queue that nobody reads grows in silence; our worker reads all of ours.
task_default_queue = "execute"
# Each with its own exchange and key, which is what a client declares; without, Celery binds all to the first one's.
task_queues = tuple(Queue(name, Exchange(name), routing_key=name) for name in ("execute", "governor", "position"))
# Modules with tasks; the worker imports them, a producer does not need them.
imports = ("tasks.execute", "tasks.governor", "tasks.position")
task_routes = {
    "tasks.governor": {"queue": "governor"},
    "tasks.position": {"queue": "position"},
    "tasks.refresh_snapshots": {"queue": "position"},
}
# `celery -A workers beat`: with snapshots at hand the Position judge need not ask the venue first. Half the age
# at which a snapshot is stale, and never piled up behind a stopped worker.
beat_schedule = {
    "refresh-snapshots": {
        "task": "tasks.refresh_snapshots",
        "schedule": 5.0,
        "options": {"queue": "position", "expires": 5},
    },
}

# JSON only: a pickle body would run code on arrival.
accept_content = ["json"]
result_accept_content = ["json"]

# The message is acknowledged when the plan has its outcome: a killed worker's plans come back.
task_acks_late = True
# A killed pool child alone must not acknowledge its message (with late acks alone Celery does).
task_reject_on_worker_lost = True
# One message in hand per thread and one ready: a killed worker leaves little to redeliver.
worker_prefetch_multiplier = 2

# The work is waiting for Redis: threads need one process and half the CPU of prefork per plan.
# `--pool prefork` must stay possible: Celery takes it for its own default and puts this setting in its place.
_prefork_asked = bool({"-Pprefork", "--pool=prefork"} & set(sys.argv)) or any(
    pair in {("-P", "prefork"), ("--pool", "prefork")} for pair in pairwise(sys.argv)
)
worker_pool = "prefork" if _prefork_asked else "threads"
# Measured with `make bench` on two cores: more threads add memory, not plans per second.
worker_concurrency = 16
# A blocked broker must not stop the start for ever, and a lost one is waited for.
broker_connection_retry_on_startup = True
# The record decides who may dispatch; cancelling an attempt in mid-dispatch would only add an unknown.
worker_cancel_long_running_tasks_on_connection_loss = False
# A cold stop (QUIT) gives attempts in hand this long before it ends them; without any, waiting messages go back at
# once. Celery would wait on their behalf too, with its event loop standing still: their permits would come unheard.
worker_soft_shutdown_timeout = 5.0
worker_enable_soft_shutdown_on_idle = False

# kombu's defaults restore a killed worker's messages after an hour and 100 s (visibility 3600 s, sweep
# 10 s x 10, mutex 300 s). No task of ours holds a message longer than the wait and a lease, but for an
# order that is looked up: that message may come twice, and the plan's record answers both.
broker_transport_options = {
    "visibility_timeout": 30,
    "unacked_restore_interval": 1,
    "unacked_restore_throttle": 1,
    "unacked_mutex_expire": 5,
    "socket_keepalive": True,
    # A connection that the network has forgotten would hold the event loop for ever at the next acknowledgement.
    "socket_timeout": 5.0,
    "socket_connect_timeout": 5.0,
    **_broker_options,
}
# As long as the plan's own record.
result_expires = _settings.record_ttl_s
# Redis as result backend: no pub/sub wake-up is needed to read a dict, and a lost server must not stop us for long.
redis_socket_timeout = 5.0

# Flower and `celery events` switch events on while they watch; nobody else pays for them (19 % of the CPU of a
# waiting plan, measured).
worker_send_task_events = False

enable_utc = True
timezone = "UTC"

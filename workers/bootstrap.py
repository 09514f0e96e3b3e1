"""What each worker process opens, and what must hold before it does."""

import logging
import sys
from functools import lru_cache
from typing import Any

from celery import Celery, signals

from tasks import execute
from tasks.address import RedisAddress
from tasks.consume import Gate
from tasks.errors import PermitWaitError
from tasks.keys import Keys
from tasks.settings import ACK_WAIT_MS, CALL_TIMEOUT_MS, Settings, settings_of_process
from tasks.store import Store, connect
from tasks.venues.paper import PaperVenue
from workers import checks, transport
from workers.sweep import Sweep


def make_parts(settings: Settings) -> execute.Parts:
    """The gate and the venue of one process; connections open on first use."""
    address = RedisAddress.parse(settings.redis_url)
    # Waiting for acknowledgements is a blocking call: the client must outlast it.
    timeout_ms = CALL_TIMEOUT_MS + (ACK_WAIT_MS if settings.consume_acks else 0)
    gate = Gate(Store(connect(address)), Store(connect(address, timeout_ms=timeout_ms)), settings)
    venue = PaperVenue(Store(connect(address)), Keys(settings.namespace), settings.record_ttl_s)
    return execute.Parts(settings, gate, venue)


@lru_cache(maxsize=1)
def _parts() -> execute.Parts:
    return make_parts(settings_of_process())


def install(app: Celery) -> None:
    """Attach start-up and per-process set-up to the worker; does nothing in a producer or in Flower."""
    signals.celeryd_init.connect(_prepare, weak=False)
    signals.worker_init.connect(_check, weak=False)
    signals.worker_process_init.connect(_forked, weak=False)
    signals.after_setup_logger.connect(_show_ok_lines, weak=False)
    Sweep.parts = staticmethod(_parts)
    app.steps["worker"].add(Sweep)


def _prepare(**_: Any) -> None:  # noqa: ANN401 - Celery's signal arguments
    """Before the broker is opened: our transport, then whatever forbids a start."""
    transport.install()
    try:
        checks.check_settings(settings_of_process())
        checks.check_server(settings_of_process())
    except PermitWaitError as error:
        sys.exit(f"permitwait: {error}")
    execute.configure(_parts)


def _check(sender: Any, **_: Any) -> None:  # noqa: ANN401 - Celery's signal arguments
    try:
        checks.check_pool(sender.pool_cls)
    except PermitWaitError as error:
        sys.exit(f"permitwait: {error}")


def _forked(**_: Any) -> None:  # noqa: ANN401 - Celery's signal arguments
    # A forked child must not share its parent's connections.
    _parts.cache_clear()


def _show_ok_lines(**_: Any) -> None:  # noqa: ANN401 - Celery's signal arguments
    # The worker's default level is WARNING, and an operator counts OK lines against BLOCK lines.
    logging.getLogger("permitwait").setLevel(logging.INFO)

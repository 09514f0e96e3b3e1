"""What each worker process opens, and what must hold before it does."""

import gc
import logging
import sys
from functools import lru_cache
from typing import Any, Final

from billiard import pool as billiard_pool
from celery import Celery, signals
from celery.concurrency import ALIASES  # type: ignore[attr-defined] # missing in the stubs

from tasks import execute, log, observed, parts
from tasks.errors import PermitWaitError
from tasks.settings import governor_settings, position_settings, settings_of_process
from workers import (
    amqp,
    checks,
    core,
    dashboard,
    exporter,
    heartbeat,
    jsonlog,
    junk,
    panel,
    results,
    sweep,
    transport,
    watch,
)

#: Name of this worker, in its main process and in its children.
_nodename: list[str] = []


#: Tenths of a second that a prefork child which ends waits for its last results to be read; billiard: 300. A main
#: process that stops reads no more results of attempts whose start it had not heard of, so that 8 of 15 stops took
#: half a minute (measured), and no plan that was parked there came to another worker in time. Nothing depends on
#: these results: the record and Celery's result are written by then, and the message is delivered again.
CHILD_LINGERS_DS: Final = 10


@lru_cache(maxsize=1)
def _parts() -> parts.Parts:
    return parts.make_parts(settings_of_process(), governor_settings(), position_settings(), name="".join(_nodename))


def install(app: Celery) -> None:
    """Attach start-up and per-process set-up to the worker and to Flower; does nothing in a producer."""
    dashboard.install(app)
    # The setting and `--pool` both mean ours.
    ALIASES["threads"], ALIASES["solo"] = "workers.threads:TaskPool", "workers.solo:TaskPool"
    signals.celeryd_init.connect(_prepare, weak=False)
    signals.worker_init.connect(_check, weak=False)
    signals.worker_process_init.connect(_forked, weak=False)
    signals.after_setup_logger.connect(_show_ok_lines, weak=False)
    signals.worker_ready.connect(_say_how, weak=False)
    signals.worker_ready.connect(_settle, weak=False)
    app.steps["worker"].add(heartbeat.Heartbeat)
    app.steps["worker"].add(sweep.Sweep)
    app.steps["worker"].add(exporter.Exporter)
    app.steps["worker"].add(core.OneCore)
    app.steps["consumer"].add(watch.PermitWatch)


def _prepare(sender: Any, instance: Any, **_: Any) -> None:  # noqa: ANN401 - Celery's signal arguments
    """Before the broker is opened: our transport and commands, then whatever forbids a start."""
    transport.install()
    billiard_pool.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_LIMIT = CHILD_LINGERS_DS
    amqp.install()
    panel.install()
    _nodename[:] = [str(sender)]
    try:
        governor_settings()
        checks.check_settings(settings_of_process(), position_settings())
        checks.check_server(settings_of_process())
    except PermitWaitError as error:
        sys.exit(f"permitwait: {error}")
    except Exception as error:  # noqa: BLE001 - Celery would only log it, and the worker would start closed
        sys.exit(f"permitwait: the start failed: {type(error).__name__}: {error}")
    if settings_of_process().log_format == "json":
        jsonlog.install()
        # The banner is drawn on stdout and is nothing a reader of JSON could use.
        instance.quiet = True
    parts.configure(_parts)
    execute.execute.Strategy = "workers.request:strategy"
    execute.execute.Request = "workers.request:Request"
    # Said in one line, without a traceback.
    execute.execute.throws = (results.ResultNotStored,)
    execute.execute.backend = results.Outcomes(lambda: execute.execute.app.backend)  # type: ignore[assignment] # looks like one
    junk.on_junk(_keep_junk)


def _keep_junk(queue: str, raw: bytes, why: str) -> None:
    junk.log_junk(queue, raw, why)
    observed.count("set_aside", "undecodable")
    _parts().gate.keep_junk(queue, raw, why)


def _check(sender: Any, **_: Any) -> None:  # noqa: ANN401 - Celery's signal arguments
    try:
        checks.check_pool(sender.pool_cls)
        checks.check_metrics(settings_of_process())
    except PermitWaitError as error:
        sys.exit(f"permitwait: {error}")


def _settle(**_: Any) -> None:  # noqa: ANN401 - Celery's signal arguments
    # What was loaded stays: going through it in search of garbage stopped every thread for 50 to 110 ms (measured).
    gc.collect()
    gc.freeze()


def _say_how(**_: Any) -> None:  # noqa: ANN401 - Celery's signal arguments
    settings = settings_of_process()
    lists = (",".join(names) for names in (settings.allowlist, settings.permits, settings.issuers))
    log.log_start(settings.mode, settings.namespace, *lists)


def _forked(**_: Any) -> None:  # noqa: ANN401 - Celery's signal arguments
    # A forked child must not share its parent's connections.
    _parts.cache_clear()
    exporter.forked()


def _show_ok_lines(**_: Any) -> None:  # noqa: ANN401 - Celery's signal arguments
    # The worker's default level is WARNING, and an operator counts OK lines against BLOCK lines.
    logging.getLogger("permitwait").setLevel(logging.INFO)

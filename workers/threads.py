"""Celery's threads pool, which a cold stop cannot lock up."""

from concurrent.futures import ThreadPoolExecutor
from threading import Thread

from celery.concurrency import thread as stock


class TaskPool(stock.TaskPool):
    """The stock pool, stopped safely from a signal handler."""

    executor: ThreadPoolExecutor

    def terminate_job(self, pid: int, signal: int | None = None) -> None:
        """Replaces upstream's, which raises: a thread cannot be ended from outside, and its claim stops it in time.

        A cold stop would be broken off by that error and end as a crash.
        """

    def on_stop(self) -> None:
        """Extends upstream's, which waits for ever for a lock of its own thread.

        A cold stop calls this from the signal handler, on the thread that submits attempts. Where the signal came
        within `submit`, that thread holds the lock, and lets go only after the handler has returned.
        """
        if self.executor._shutdown_lock.locked():  # noqa: SLF001 - nothing public tells
            Thread(target=self.executor.shutdown, kwargs={"cancel_futures": True}, daemon=True).start()
        else:
            super().on_stop()

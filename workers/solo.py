"""Celery's solo pool, which a cold stop cannot break off in the middle of an attempt."""

from celery.concurrency import solo as stock


class TaskPool(stock.TaskPool):
    """The stock pool, whose one attempt goes on after a signal that came in the middle of it."""

    def terminate_job(self, pid: int, signal: int | None = None) -> None:
        """Replaces upstream's, which raises, and from the signal handler right into that attempt.

        An order that was about to leave would not, and its plan end as interrupted.
        """

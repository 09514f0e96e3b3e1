"""The result backend as `tasks.execute` sees it: it keeps outcomes, and nothing else."""

from collections.abc import Callable
from typing import Any

from tasks.errors import PermitWaitError


class ResultNotStored(PermitWaitError):
    """Raised when an outcome could not be kept as its task's result; the plan's record has it."""


class Outcomes:
    """Celery's backend, except that a plan that waits, or whose attempt failed, leaves nothing there.

    Celery stores RETRY and FAILURE before the request hears of them, and acknowledges the message where that store
    fails: the plan would be lost for a note that nobody needs.
    """

    def __init__(self, backend: Callable[[], Any]) -> None:
        # Celery has one backend per thread.
        self._backend = backend

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the backend has
        return getattr(self._backend(), name)

    def mark_as_done(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - Celery's own signature
        """Keep an outcome.

        Raises:
            ResultNotStored: the backend did not take it.
        """
        try:
            self._backend().mark_as_done(*args, **options)
        except Exception as error:  # noqa: BLE001 - whatever the backend raises, the plan has its outcome
            raise ResultNotStored(f"{type(error).__name__}: {error}") from None

    def mark_as_retry(self, *_: object, **__: object) -> None:
        """Waiting is no result."""

    def mark_as_failure(self, *_: object, **__: object) -> None:
        """An error is no outcome: the plan is looked at again (`workers.request`)."""

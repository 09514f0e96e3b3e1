"""The result backend as `tasks.execute` sees it: it keeps outcomes, and nothing else."""

from collections.abc import Callable
from typing import Any

from celery import states
from celery.backends.redis import RedisBackend

from tasks.errors import PermitWaitError
from tasks.wire import Wires


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
        self._wires = Wires(lambda: backend().client)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the backend has
        return getattr(self._backend(), name)

    def mark_as_done(self, task_id: str, result: Any, request: Any = None, store_result: bool = True) -> None:  # noqa: ANN401, FBT001, FBT002 - Celery's own signature
        """Keep an outcome; the first one of a task stays.

        Raises:
            ResultNotStored: the backend did not take it.
        """
        try:
            backend, wanted = self._backend(), store_result and not (request and request.ignore_result)
            if not (wanted and self._stored_first(backend, task_id, result, request)):
                backend.mark_as_done(task_id, result, request, store_result)
        except Exception as error:  # noqa: BLE001 - whatever the backend raises, the plan has its outcome
            raise ResultNotStored(f"{type(error).__name__}: {error}") from None

    def _stored_first(self, backend: Any, task_id: str, result: Any, request: Any) -> bool:  # noqa: ANN401 - Celery's
        """Store as Celery's Redis backend does, in one round trip for its two; False where that backend must do it."""
        # A subclass, or a member of a chord, has more to do.
        if type(backend) is not RedisBackend or (request and request.chord):
            return False
        store: Any = backend  # not all of it is in the stubs
        key = store.get_key_for_task(task_id)
        meta = store._get_result_meta(result=result, state=states.SUCCESS, traceback=None, request=request)  # noqa: SLF001 - what a result looks like is Celery's to say
        text = store.encode({**meta, "task_id": task_id})
        life = ("EX", int(store.expires)) if store.expires else ()
        # Who waits for a result listens to the channel of its key's name.
        both = (("SET", key, text, *life, "NX"), ("PUBLISH", key, text))
        stored, told = self._wires.mine().ask(both, resend=True)
        for reply in (stored, told):
            if isinstance(reply, Exception):
                raise reply
        return stored is not None

    def mark_as_retry(self, *_: object, **__: object) -> None:
        """Waiting is no result."""

    def mark_as_failure(self, *_: object, **__: object) -> None:
        """An error is no outcome: the plan is looked at again (`workers.request`)."""

"""Asks the permit issuers that we run ourselves to judge a plan: one message each, once per plan."""

from typing import Final

from celery import Celery
from kombu.exceptions import OperationalError

from tasks import log
from tasks.intent import ExecuteIntent, shown

#: Task and queue of each issuer of ours.
TASKS: Final = {"governor": ("tasks.governor", "governor"), "p33": ("tasks.position", "position")}


def ask_issuers(app: Celery, issuers: tuple[str, ...], intent: ExecuteIntent) -> None:
    """Send the plan to every issuer of ours. One that cannot be reached is logged: its permit stays missing."""
    wire = intent.wire()
    for issuer in issuers:
        task, queue = TASKS[issuer]
        task_id = f"{intent.plan_id}.{issuer}"
        try:
            app.send_task(
                task, kwargs={"intent": wire}, kwargsrepr=shown(wire), task_id=task_id, queue=queue, retry=False
            )
        except OperationalError as error:
            log.log_unasked(issuer, intent.plan_id, error)

"""What a plan must come to, by what befell which process at which point: the table that the crash tests hold up."""

from dataclasses import dataclass, replace
from typing import Final, Literal

from tests.crashes.points import OF_MAIN, Fate, Point, Step

Pool = Literal["threads", "prefork", "solo"]


@dataclass(frozen=True)
class Promise:
    """The end of a plan, as counted in the journals; one result entry and one Celery result go without saying."""

    decision: str
    reason: str
    orders: int
    permits_left: int
    ok_lines: int


EXECUTED: Final = Promise("EXECUTE", "", orders=1, permits_left=0, ok_lines=1)
#: Permits stood in time, but the worker was lost and the plan came back too late: they are not used.
TOO_LATE: Final = Promise("BLOCKED", "deadline_passed", orders=0, permits_left=2, ok_lines=0)
#: Permits were consumed and the worker lost before it ordered.
INTERRUPTED: Final = Promise("BLOCKED", "interrupted", orders=0, permits_left=0, ok_lines=1)


def lives_on(fate: Fate, pool: Pool) -> bool:
    """Whether the attempt at the plan is carried on as if nothing was.

    Told to end, a worker lets attempts in hand finish. A child told to end stops at once: Celery's children are not
    the ones who are told. Killed, a main process takes its children along: the kernel ends them (`PR_SET_PDEATHSIG`).
    """
    in_child = pool == "prefork" and fate.point.step not in OF_MAIN
    if fate.act in {"hold", "lose"}:
        return True
    if fate.act == "term":
        return not (in_child and fate.who == "self")
    return fate.act == "stop" and in_child and fate.who == "main"


def promised(fate: Fate, pool: Pool, *, back_in_time: bool) -> Promise:
    """How a plan with this fate must end.

    `back_in_time`: the message of a lost worker is delivered again before the plan's deadline, as it is at once
    where only a pool child is lost, and where a worker is told to end.
    """
    point = fate.point
    if fate.act == "lose":
        return _promised_for_loss(point, fate.times)
    if lives_on(fate, pool):
        return EXECUTED
    if not point.is_after(Step.CONSUME):
        # A plan that no worker took up has no deadline yet.
        return EXECUTED if back_in_time or not point.is_after(Step.LOOK) else TOO_LATE
    # A process lost between the consumption and its line logs nothing any more; a stopped one does when it goes on.
    told = int(fate.act == "stop" or point.is_after(Step.TELL))
    return replace(EXECUTED if point.is_after(Step.ORDER) else INTERRUPTED, ok_lines=told)


def _promised_for_loss(point: Point, times: int) -> Promise:
    """Where a request is lost before, or a reply after, a step; the process lives on."""
    if point == Point("before", Step.ORDER):
        # It cannot be known that it was the request: an order is never sent again.
        return INTERRUPTED
    if point == Point("after", Step.CONSUME) and times > 1:
        # Asked twice and never told: the claim is nobody's.
        return replace(INTERRUPTED, ok_lines=0)
    return EXECUTED

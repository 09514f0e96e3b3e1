"""The steps of one plan's way through a worker, and the points between them at which a process may be lost."""

import os
import signal
import threading
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, Literal

#: Set for a worker that is to fail as its plans' ids say: the folder of the markers, one file per failure.
MARKERS: Final = "CRASHES_MARKERS"
#: Set for a worker that shall ECHO each step to this Redis, for tests that read MONITOR.
TRACE: Final = "CRASHES_TRACE"
#: Seconds by which the worker's clock is ahead of the right time; negative: behind.
CLOCK: Final = "CRASHES_CLOCK_S"
#: Seconds after which an unacknowledged message is delivered again; celeryconfig's where unset.
VISIBILITY: Final = "CRASHES_VISIBILITY_S"

#: A process that waits to be told to go on gives up after this long: nothing of a failed test stays behind.
GIVE_UP_S: Final = 60.0

#: A process that is killed, or whose parent is, is gone before this is over.
LAST_MOMENT_S: Final = 1.0


class Step(StrEnum):
    """What is done for a plan, in order; everything that leaves a trace outside of the process is one of these."""

    TAKE = "take"  # the worker reads which messages the server has taken for it and marked
    LOOK = "look"  # the event loop looks at what arrived, which takes the plan up
    JUDGE = "judge"  # it judges what stands
    START = "start"  # an attempt starts, in the pool
    CONSUME = "consume"  # permits are consumed, the claim is made
    TELL = "tell"  # the OK line is logged
    CONFIRM = "confirm"  # the claim is checked once more, and that the order may leave now is kept (venues outside)
    ORDER = "order"  # the order is submitted
    FINISH = "finish"  # the outcome is recorded
    STORE = "store"  # Celery's result is stored
    DONE = "done"  # the worker learns that the attempt has ended
    ACK = "ack"  # the message is forgotten


STEPS: Final = tuple(Step)

#: Done by the event loop, in the worker's main process; the others by an attempt, in its pool.
OF_MAIN: Final = frozenset({Step.TAKE, Step.LOOK, Step.JUDGE, Step.DONE, Step.ACK})

When = Literal["before", "after"]
WHENS: Final[tuple[When, ...]] = ("before", "after")


@dataclass(frozen=True)
class Point:
    """Right before or right after a step."""

    when: When
    step: Step

    def __str__(self) -> str:
        return f"{self.when}_{self.step}"

    def is_after(self, step: Step) -> bool:
        """Whether that step was done when this point is reached."""
        return (STEPS.index(self.step), self.when == "after") >= (STEPS.index(step), True)


_BY_NAME: Final = {str(point): point for point in (Point(when, step) for step in STEPS for when in WHENS)}

#: Every point, in the order in which a plan passes them.
POINTS: Final = tuple(point for point in _BY_NAME.values() if point.step is not Step.CONFIRM)

#: Those around an order to a venue outside of Redis.
FAR_POINTS: Final = tuple(point for point in _BY_NAME.values() if point.step in {Step.CONFIRM, Step.ORDER})

#: What befalls the process: killed, told to end, frozen, held until the test lets it go on; or it loses a reply.
Act = Literal["kill", "term", "stop", "hold", "lose"]
#: The process at the point itself, or the worker's main process.
Who = Literal["self", "main"]


@dataclass(frozen=True)
class Fate:
    """What shall befall whom at which point while one plan is taken care of; the plan's id tells it."""

    act: Act
    who: Who
    point: Point
    times: int = 1

    def plan_id(self, serial: str = "x") -> str:
        """The id of a plan with this fate."""
        return f"{self.act}-{self.who}-{self.point}-{self.times}-{serial}"

    def __str__(self) -> str:
        return f"{self.act}-{self.who}-{self.point}" + (f"-{self.times}" if self.times > 1 else "")

    @classmethod
    def of(cls, plan_id: str) -> "Fate | None":
        """The fate that a plan's id tells; None where it tells none."""
        act, who, point, times, *_ = [*plan_id.split("-"), "", "", ""]
        if point not in _BY_NAME:
            return None
        return cls(act, who, _BY_NAME[point], int(times))  # type: ignore[arg-type] # written by `plan_id`


def marker(folder: str | Path, plan_id: str, number: int = 0) -> Path:
    """The file that says that a plan's failure has happened, for the `number`th time; it holds the process id."""
    return Path(folder) / f"{plan_id}.{number}"


def claim(folder: str | Path, plan_id: str, times: int) -> bool:
    """Whether the caller is the one to fail now: each of `times` failures happens in exactly one process, once."""
    for number in range(times):
        try:
            file = os.open(marker(folder, plan_id, number), os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            continue
        os.write(file, b"%d\n" % os.getpid())
        os.close(file)
        return True
    return False


def note(folder: str, plan_id: str, step: Step) -> None:
    """Leave a sign that a step of a plan with a fate failed; of `STORE`, which Celery repeats, that it was tried."""
    if folder and Fate.of(plan_id):
        noted(folder, plan_id, step).touch()


def noted(folder: str | Path, plan_id: str, step: Step) -> Path:
    """That sign."""
    return Path(folder) / f"{plan_id}.{step}"


def let_go(folder: str | Path, plan_id: str) -> None:
    """Let a held process go on."""
    (Path(folder) / f"{plan_id}.go").touch()


def suffer(folder: str, fate: Fate, plan_id: str, main_pid: int) -> None:
    """What `fate` says, done to the processes that it names; returns where this process lives on."""
    if fate.act == "hold":
        give_up = time.monotonic() + GIVE_UP_S
        while not (Path(folder) / f"{plan_id}.go").exists() and time.monotonic() < give_up:
            time.sleep(0.005)
        return
    number = {"kill": signal.SIGKILL, "term": signal.SIGTERM, "stop": signal.SIGSTOP}[fate.act]
    if fate.who == "main":
        os.kill(main_pid, number)
    elif fate.act == "stop":
        # To this very thread: another one might take the signal, and this one would go on for a moment.
        signal.pthread_kill(threading.get_ident(), number)
    else:
        os.kill(os.getpid(), number)
    if fate.act == "kill":
        # A child's end comes with its parent's, by the kernel, in a moment.
        time.sleep(LAST_MOMENT_S)

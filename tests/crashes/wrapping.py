"""Puts the points around the product's own functions, from outside."""

import functools
import os
import re
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any

import redis

import lua
import tasks.dispatch
import tasks.execute
import workers.park
from tasks import log
from tasks.address import RedisAddress
from tasks.consume import Gate
from tasks.store import connect, evaluation
from tasks.venues.paper import PaperVenue
from tasks.wire import Wire
from tests.crashes.points import MARKERS, TRACE, Fate, Point, Step, When, claim, note, suffer
from tests.venue.remote import RemoteVenue
from workers.request import Request
from workers.results import Outcomes
from workers.take import Taken, Taker

#: Of the worker's main process: its children are forked after this module was imported.
MAIN_PID = os.getpid()

_markers = os.environ.get(MARKERS, "")
_trace = os.environ.get(TRACE, "")

#: Plans of the messages that this process holds, by delivery tag.
_tags: dict[str, str] = {}

#: A connection per process and thread: what is echoed stands in the order in which it happened.
_echo = threading.local()


def install() -> None:
    """Wrap what the environment asks for; nothing where it asks for nothing."""
    if not (_markers or _trace):
        return
    _around(Gate, "look_many", Step.LOOK, lambda _, looks: [intent.plan_id for intent, _ in looks])
    _around(workers.park, "appraise", Step.JUDGE, lambda _, intent, *__: [intent.plan_id])
    _around(tasks.execute, "intent_of", Step.START, lambda _, named: [named["intent"]["plan_id"]])
    _around(Gate, "consume", Step.CONSUME, lambda _, intent, *__: [intent.plan_id])
    _around(log, "log_ok", Step.TELL, lambda plan_id, *_: [plan_id])
    _around(tasks.dispatch, "confirm", Step.CONFIRM, lambda _, plan_id, __: [plan_id])
    _around(RemoteVenue, "submit", Step.ORDER, lambda _, order, *__: [order.plan_id])
    _around(PaperVenue, "submit", Step.ORDER, lambda _, order, *__: [order.plan_id])
    _around(Gate, "finish", Step.FINISH, lambda _, ending, *__: [ending.plan_id])
    _around(Outcomes, "mark_as_done", Step.STORE, lambda _, task_id, *__, **___: [task_id])
    _around(Request, "acknowledge", Step.DONE, lambda request: [request.id])
    _around(Taker, "acknowledge", Step.ACK, lambda *args: [_tags[tag] for tag in args[-1] if tag in _tags])
    for owner, name, replaced_by in (
        (Taker, "read", _around_taking),
        (Wire, "_ask", _losing),
    ):
        setattr(owner, name, replaced_by(getattr(owner, name)))


def _around(owner: Any, name: str, step: Step, plans_of: Callable[..., Sequence[str]]) -> None:
    original = getattr(owner, name)

    @functools.wraps(original)
    def wrapped(*args: Any, **options: Any) -> Any:
        plan_ids = plans_of(*args, **options)
        for plan_id in plan_ids:
            _reach("before", step, plan_id)
        try:
            answer = original(*args, **options)
        except Exception:
            for plan_id in plan_ids:
                note(_markers, plan_id, step)
            raise
        for plan_id in plan_ids:
            _reach("after", step, plan_id)
        return answer

    setattr(owner, name, wrapped)


def _reach(when: When, step: Step, plan_id: str) -> None:
    if _trace:
        _say(f"{when} {step} {plan_id}")
    fate = Fate.of(plan_id)
    if not _markers or fate is None or fate.point != Point(when, step):
        return
    if fate.act == "lose":
        # The other replies are lost closer to the connection, below what asks again.
        if step in {Step.TAKE, Step.ACK}:
            _lose(when, step, plan_id)
    elif claim(_markers, plan_id, fate.times):
        suffer(_markers, fate, plan_id, MAIN_PID)


def _lose(when: When, step: Step, plan_id: str) -> None:
    fate = Fate.of(plan_id)
    here = fate is not None and fate.act == "lose" and fate.point == Point(when, step)
    if _markers and fate and here and claim(_markers, plan_id, fate.times):
        raise redis.ConnectionError(f"lost {when} {step}")


def _say(text: str) -> None:
    if getattr(_echo, "pid", None) != os.getpid():
        _echo.pid, _echo.client = os.getpid(), connect(RedisAddress.parse(_trace), timeout_ms=5_000)
    _echo.client.echo(text)


def _around_taking(original: Callable[[Taker, Any], list[Taken]]) -> Callable[[Taker, Any], list[Taken]]:
    def wrapped(taker: Taker, connection: Any) -> list[Taken]:
        for plan_id in _plans_in(_unread(taker)):
            _reach("before", Step.TAKE, plan_id)
        taken = original(taker, connection)
        for entry in taken:
            for plan_id in _plans_in(entry.raw):
                _tags[entry.tag] = plan_id
                _reach("after", Step.TAKE, plan_id)
        return taken

    return wrapped


def _unread(taker: Taker) -> bytes:
    """What the server has answered and the worker has not read yet."""
    if taker._socket is None:
        return b""
    timeout = taker._socket.gettimeout()
    taker._socket.settimeout(0)
    try:
        return bytes(taker._socket.recv(65_536, socket.MSG_PEEK))
    except OSError:
        return b""
    finally:
        taker._socket.settimeout(timeout)


def _plans_in(messages: bytes) -> list[str]:
    return [found.decode() for found in re.findall(rb'"task": "tasks\.execute", "id": "([A-Za-z0-9_-]+)"', messages)]


def _losing(original: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
    """A call whose request or reply is lost where the fate of a plan in it says so."""

    def wrapped(wire: Wire, commands: Sequence[Sequence[Any]]) -> list[Any]:
        known = [(step, plan_id) for step, plan_id in map(_step_of, commands) if step]
        for step, plan_id in known:
            if step is Step.STORE:
                note(_markers, plan_id, step)
            _lose("before", step, plan_id)
        answers = original(wire, commands)
        for step, plan_id in known:
            _lose("after", step, plan_id)
        return answers

    return wrapped


def _step_of(command: Sequence[Any]) -> tuple[Step | None, str]:
    """What a command to Redis is for, and for which plan."""
    name, what, *rest = command
    if name == "SET":
        key = what.decode() if isinstance(what, bytes) else str(what)
        return Step.STORE, key.rpartition("celery-task-meta-")[2]
    if name not in {"EVAL", "EVALSHA"}:
        return None, ""
    script, args = _SCRIPTS.get(what, ""), rest[1 + int(rest[0]) :]
    if script == "consume_permits":
        return (Step.CONSUME if args[13] == "consume" else Step.LOOK), str(args[1])
    if script == "paper_order":
        return Step.ORDER, str(args[1])
    return (Step.FINISH, str(args[3])) if script == "finish_plan" else (None, "")


#: Name of each script, by its text and by the digest that a server knows it by.
_SCRIPTS = {evaluation(name, (), (), whole=whole)[1]: name for name in lua.names() for whole in (False, True)}

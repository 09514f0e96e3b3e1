"""What can go wrong, what is promised then, and which tests show it: read from the tests' own markers.

A test says `@pytest.mark.fault("F1", "F2")`, literally, above its `def`; `promise="…"` where it shows something else
than the fault's general promise. `docs/reliability.md` is made from this file and those markers.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[1]

_NO_EXCHANGE: Final = "There is no exchange adapter yet, so no such answer can arrive."


@dataclass(frozen=True)
class Fault:
    """One thing that can go wrong: what happens, what is promised then; `untested`: why no test shows it."""

    what: str
    promise: str
    untested: str = ""


@dataclass(frozen=True)
class Shown:
    """A test that shows a fault; `promise` where it shows another promise than the fault's."""

    test: str
    promise: str = ""


FAULTS: Final[dict[str, Fault]] = {
    "F1": Fault(
        "A worker is killed after the permits were consumed, before the order leaves.",
        "Nobody submits again. When the lease is over the venue is asked, has no such order, and the plan ends as "
        "`interrupted`.",
    ),
    "F2": Fault(
        "A worker is killed after the order left, before the outcome was recorded.",
        "The order is found by its client order id and adopted: one order, one outcome, `EXECUTE`.",
    ),
    "F3": Fault(
        "One process of the pool is killed (out of memory, a crash), its worker lives.",
        "The message is not acknowledged and runs again; the claim decides what is left to do.",
    ),
    "F4": Fault(
        "A whole worker is killed with plans in its hands.",
        "Another worker takes its messages over, or the sweep ends the plans within seconds of falling due: under the "
        "deadlines they had, each once, none late.",
    ),
    "F5": Fault(
        "The broker delivers a message again while the first delivery is still worked on.",
        "Both find the one record: one order, one outcome, and both are answered with it.",
    ),
    "F6": Fault(
        "Another application on the same Redis broker has a shorter visibility timeout.",
        "It hands our messages out again while we hold them. That is F5: doubled work, no doubled order.",
    ),
    "F7": Fault(
        "A plan is sent twice, or one plan id with two contents.",
        "One order. Every repeat gets the stored outcome; other content under an unfinished plan's id is "
        "`plan_conflict` and changes nothing.",
    ),
    "F8": Fault(
        "A crash between publishing a retry and acknowledging the message that it replaces.",
        "Cannot happen: a waiting plan is the one unacknowledged message that it came as. Nothing is published.",
    ),
    "F9": Fault(
        "The broker takes no message while plans wait.",
        "Waiting needs no message. Each plan ends, at the latest by the sweep, which asks only Redis.",
    ),
    "F10": Fault(
        "The `expires` that a client put on its message passes.",
        "Celery drops the message unrun. A plan that was registered or taken up still ends, blocked, by the sweep.",
    ),
    "F11": Fault(
        "A backlog: many more plans than threads, attempts come late.",
        "The wait is bounded by a deadline on the Redis clock, never by a number of attempts. Waiting plans keep no "
        "other from executing, and none is consumed late.",
    ),
    "F12": Fault(
        "A worker's clock is wrong.",
        "No decision asks it: deadlines, leases, ages and times to live are judged on the Redis clock.",
    ),
    "F13": Fault(
        "The clock of Redis itself jumps.",
        "Forward: what waits ends early, blocked. Back: a permit that would now live too long is refused. What is "
        "finished stays finished.",
    ),
    "F14": Fault(
        "A failover, or an old copy of the data, brings consumed permits or a waiting plan back.",
        "Plans and permits from before a change of server are refused (`server_changed`). With `APPLY_CONSUME_ACKS` no "
        "order leaves before enough copies know of the consumption.",
    ),
    "F15": Fault(
        "Redis restarts without its last second of writes (`appendfsync everysec`).",
        "As F14: it is another server now, and what it knew before is not trusted with an order.",
    ),
    "F16": Fault(
        "Redis forgets its scripts (restart, failover, `SCRIPT FLUSH`).",
        "They are sent again, and the attempt goes on.",
    ),
    "F17": Fault(
        "A script has run, and its reply is lost.",
        "The call is sent once more under the same token and gets the first verdict. An order is never sent again.",
    ),
    "F18": Fault(
        "Redis is allowed to evict keys.",
        "The worker does not start, and says in one line what to set.",
    ),
    "F19": Fault(
        "Redis is full (`maxmemory`).",
        "A script claims before it deletes: nothing is done by half, nothing is dispatched, and the plan goes on when "
        "there is room.",
    ),
    "F20": Fault(
        "Redis is a cluster, which would spread one plan's keys.",
        "The worker does not start, and says in one line what to do.",
    ),
    "F21": Fault(
        "Redis cannot be reached, stands still, refuses, or is read only.",
        "Nothing is dispatched on an error. The plan ends with what really happened as soon as Redis answers, as "
        "`redis_unavailable` where its wait passed meanwhile.",
    ),
    "F22": Fault(
        "A permit is malformed: not JSON, NaN, duplicate keys, text for a number, too big, too deep.",
        "It is judged in one place, on strict types, and blocks with its own reason. Nothing is consumed.",
    ),
    "F23": Fault(
        "A permit denies, or is another symbol's or plan's, or lives too long; the intent is too old or too new.",
        "Each blocks with its own reason, in a fixed order. The permits stay.",
    ),
    "F24": Fault(
        "A key holds something of another Redis type.",
        "No step is done by half, and once the key is put right the plan ends once.",
    ),
    "F25": Fault(
        "A message that cannot be read, or is none.",
        "It is set aside for the operator or refused in the log. The worker lives, the next plan executes.",
    ),
    "F26": Fault(
        "The connection to the broker is lost while plans wait or execute.",
        "The messages come again, the records say what is left to do: each plan ends once.",
    ),
    "F27": Fault(
        "A worker is stopped: warm (TERM), cold (QUIT), impatiently (twice).",
        "What waits goes back to the queue at once, what executes is finished or left to its claim.",
    ),
    "F28": Fault(
        "The venue does not answer in time, or answers that it does not know.",
        "Unknown is not failed: the order is looked up until it is found or surely absent, and never sent again.",
    ),
    "F29": Fault(
        "The exchange refuses for certain (503 with its own text, -1008).",
        "A definite failure ends the plan; an unexplained 503 is F28.",
        _NO_EXCHANGE,
    ),
    "F30": Fault(
        "The exchange frees a client order id after the fill, so sending again would order again.",
        "Nothing relies on the id to stop a second order: nothing is ever sent again.",
        f"{_NO_EXCHANGE} That nothing is sent again is shown under F1, F2, F17 and F28.",
    ),
    "F31": Fault(
        "The venue says that there is no such order, and there is: it shows it late.",
        "Absence is concluded from several misses over time, after the last moment at which the order could arrive.",
    ),
    "F32": Fault(
        "The exchange rejects the order (reduce-only, filters, margin, symbol).",
        "The plan ends as `order_rejected` with the venue's code; no second try.",
    ),
    "F33": Fault("The exchange refuses the request's timestamp (-1021).", "A definite refusal.", _NO_EXCHANGE),
    "F34": Fault("The exchange limits the rate (429, 418).", "Nobody sends before it allows it.", _NO_EXCHANGE),
    "F35": Fault(
        "The order is filled in part, or accepted and not final.",
        "The outcome carries what was executed, and the ledger is moved by that.",
    ),
    "F36": Fault(
        "A forged message: another serializer, other arguments, an intent bent out of shape.",
        "Only JSON is read, and only one strictly typed argument is taken. Plans are not signed: whoever may write to "
        "the broker may propose a plan, and the permits still decide.",
    ),
}


def shown() -> dict[str, list[Shown]]:
    """For each fault the tests that say they show it, in the order of the files; read, not run."""
    return _shown(ROOT)


@cache
def _shown(root: Path) -> dict[str, list[Shown]]:
    found: dict[str, list[Shown]] = {fault: [] for fault in FAULTS}
    for path in sorted((root / "tests").rglob("test_*.py")):
        for test, ids, promise in _marks(path):
            for fault in ids:
                found.setdefault(fault, []).append(Shown(test, promise))
    return found


def _marks(path: Path) -> Iterator[tuple[str, tuple[str, ...], str]]:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if not isinstance(node, ast.FunctionDef):
            continue
        for mark in node.decorator_list:
            if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.fault":
                promise = {word.arg: ast.literal_eval(word.value) for word in mark.keywords}.get("promise", "")
                ids = tuple(ast.literal_eval(argument) for argument in mark.args)
                yield f"{path.relative_to(ROOT).as_posix()}::{node.name}", ids, promise


def check_markers(items: list[pytest.Item]) -> None:
    """See that the markers of collected tests are what `shown` reads, and name faults that there are.

    Raises:
        pytest.UsageError: in one line, with the test.
    """
    read = shown()
    for item in items:
        test = item.nodeid.partition("[")[0]
        for mark in item.iter_markers("fault"):
            for fault in mark.args:
                if fault not in FAULTS:
                    raise pytest.UsageError(f"{test}: there is no fault {fault!r} in tests/faults.py")
                if Shown(test, mark.kwargs.get("promise", "")) not in read[fault]:
                    raise pytest.UsageError(f"{test}: write @pytest.mark.fault({fault!r}) literally above its def")

"""One attempt at a plan: look, judge, consume. Decides; nothing here ends a plan or places an order."""

from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from tasks import observed
from tasks.consume import Abandoned, Answer, Busy, Conflict, Consumed, Finished, Gate, NotDurable
from tasks.errors import StoreUnavailable
from tasks.intent import ExecuteIntent
from tasks.judge import Block, Finding, Rules, Stands, Wait, judge
from tasks.parts import Parts
from tasks.reasons import Reason
from tasks.venues import Venue

#: Stands in where no quantity is there to be rounded.
_NO_STEP: Final = Decimal(1)

#: Below every step there is: a quantity that it rounds to nothing is nothing by any step.
_FINEST_STEP: Final = Decimal("1E-28")

#: What stands may change between look and consumption this often before the attempt waits for its next turn.
_MOST_LOOKS: Final = 5


@dataclass(frozen=True)
class Waiting:
    """Permits are missing and there is time left."""

    stands: Stands
    missing: frozenset[str]


@dataclass(frozen=True)
class Blocked:
    """The plan must end here, for the reason found on what stood."""

    stands: Stands
    block: Block


@dataclass(frozen=True)
class Seen:
    """What a look made with `token` found, and what follows from it (None: not judged, or there is nothing to judge).

    An attempt with the same token goes on from here: the look was its first step.
    """

    token: str
    answer: Answer
    finding: Finding | None

    @property
    def missing(self) -> frozenset[str]:
        """The permits that the plan can only wait for now; empty where an attempt would change something."""
        return self.finding.missing if isinstance(self.finding, Wait) else frozenset()


Step = Consumed | NotDurable | Abandoned | Busy | Finished | Conflict | Waiting | Blocked


def attempt(
    gate: Gate, venue: Venue, rules: Rules, intent: ExecuteIntent, token: str, seen: Seen | None = None
) -> Step:
    """Take a plan as far as it goes now. `Consumed` is the one answer after which an order may leave.

    `seen` is the look that was made with this token already, where there is one.

    Raises:
        StoreUnavailable: Redis or the venue gave no answer; nothing may be dispatched.
    """
    answer, finding = (seen.answer, seen.finding) if seen else (gate.look(intent, token), None)
    if seen is None and isinstance(answer, Stands) and answer.first:
        observed.count("taken_up")
    for _ in range(_MOST_LOOKS):
        if not isinstance(answer, Stands):
            return answer
        finding = finding or _judge(venue, rules, answer, intent)
        if isinstance(finding, Block):
            return Blocked(answer, finding)
        if isinstance(finding, Wait):
            return Waiting(answer, finding.missing)
        answer, finding = gate.consume(intent, token, finding), None
    return Waiting(answer, frozenset()) if isinstance(answer, Stands) else answer


def appraise(parts: Parts, intent: ExecuteIntent, token: str, answer: Answer) -> Seen:
    """What follows from a look made with `token`; never raises."""
    finding = None
    if isinstance(answer, Stands):
        # It runs on the event loop, which an error would end; an attempt meets it again, and says so.
        with suppress(Exception):
            finding = _judge(parts.venue, parts.rules, answer, intent)
    return Seen(token, answer, finding)


def _judge(venue: Venue, rules: Rules, stands: Stands, intent: ExecuteIntent) -> Finding:
    try:
        step = _quantity_step(venue, stands, intent.symbol)
    except StoreUnavailable:
        # A venue that cannot be asked keeps no plan open: what ends it whatever its step is, ends it now.
        finding = judge(stands, intent, rules, _FINEST_STEP)
        step_decides = isinstance(finding, Block) and finding.reason is Reason.QTY_ABOVE_GOVERNOR_LIMIT
        if isinstance(finding, Block) and (stands.left_ms <= 0 or not step_decides):
            return finding
        raise
    return judge(stands, intent, rules, step)


def _quantity_step(venue: Venue, stands: Stands, symbol: str) -> Decimal:
    # Asked only where a quantity is there to be rounded: a waiting plan costs the venue nothing.
    states_quantity = any(standing.name == "p33" and standing.kind == "string" for standing in stands.permits)
    return venue.step(symbol) if states_quantity else _NO_STEP

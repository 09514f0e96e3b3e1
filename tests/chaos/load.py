"""What is sent, and what the issuers say to it: a seed and a length give one load, always the same one."""

from dataclasses import dataclass, field
from decimal import ROUND_DOWN, Decimal
from random import Random
from typing import Any, Final, Literal

from tests.chaos.permits import ISSUERS, Issuer, Permit, Verdict, grant_text, make_permit

#: Symbols with more than all orders of a run can reduce.
SYMBOLS: Final = ("AAAUSDT", "BBBUSDT", "CCCUSDT")
#: The venue holds less of this one than any order wants: it rejects them.
SMALL_SYMBOL: Final = "SMALLUSDT"
#: Not in the workers' allowlist.
FOREIGN_SYMBOL: Final = "FOREIGNUSDT"
ALLOWED: Final = (*SYMBOLS, SMALL_SYMBOL)
HELD: Final = dict.fromkeys(SYMBOLS, Decimal(1000)) | {SMALL_SYMBOL: Decimal("0.0001")}
STEP: Final = Decimal("0.001")

ACTIONS: Final = ("FULL_CLOSE_PROPOSED", "PARTIAL_75", "PARTIAL_50")
UNSUPPORTED_ACTION: Final = "UPDATE_SL"

#: Plans a second. The result stream keeps about 10 000 entries, and none of a run may be trimmed.
PLANS_PER_S: Final = 12.0
_MOST_PLANS: Final = 8_500
#: Entries a second that are no message, and as many messages that hold no intent.
_JUNK_PER_S: Final = 0.3
_DUPLICATE_SHARE: Final = 0.10
_CONFLICT_SHARE: Final = 0.02

By = Literal["submit", "plain"]


@dataclass(frozen=True)
class Send:
    """One sending of a plan, `at_s` seconds after the start of the run, under `task_id`."""

    at_s: float
    by: By
    task_id: str


@dataclass(frozen=True)
class Plan:
    """One plan, whenever and however often it is sent. `dated`: the intent states when it was made."""

    plan_id: str
    symbol: str
    action: str
    dated: bool
    quantity: Decimal
    sends: tuple[Send, ...]
    permits: tuple[Permit, ...]

    @property
    def content(self) -> str:
        """As the record keeps it."""
        return f"{self.symbol}|{self.action}|EXECUTE"

    @property
    def ordered(self) -> Decimal:
        """What an order for it must be about: rounded down to the step."""
        return self.quantity.quantize(STEP, ROUND_DOWN)

    def verdict(self, issuer: Issuer) -> Verdict:
        """What an issuer says to it, also where that is nothing."""
        return next((permit.verdict for permit in self.permits if permit.issuer == issuer), Verdict.NOTHING)

    def intent(self, **more: Any) -> dict[str, Any]:
        """The intent as a producer writes it."""
        return {"plan_id": self.plan_id, "symbol": self.symbol, "action": self.action, "decision": "EXECUTE"} | more


@dataclass(frozen=True)
class Conflict:
    """A message with another action for a plan that is known by then."""

    at_s: float
    plan_id: str
    symbol: str
    action: str
    task_id: str


@dataclass(frozen=True)
class Junk:
    """An entry that holds no plan: `raw` bytes for the queue, or arguments of a message where there are none."""

    at_s: float
    task_id: str
    raw: bytes = b""
    kwargs: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Load:
    """Everything a run sends."""

    plans: tuple[Plan, ...]
    conflicts: tuple[Conflict, ...]
    junk: tuple[Junk, ...]


def make_load(seed: str, seconds: float) -> Load:
    """The load of a run; plan ids contain the seed."""
    random = Random(f"{seed}:load")
    number = min(int(PLANS_PER_S * seconds), _MOST_PLANS)
    moments = sorted(random.uniform(0, seconds) for _ in range(number))
    plans = tuple(_plan(random, f"c{seed}-{place:05}", at_s) for place, at_s in enumerate(moments))
    conflicts = tuple(_conflict(random, plan) for plan in plans if random.random() < _CONFLICT_SHARE)
    junk = tuple(
        _junk(random, f"junk{seed}-{place:04}", random.uniform(0, seconds))
        for place in range(int(2 * _JUNK_PER_S * seconds))
    )
    return Load(plans, conflicts, junk)


def make_probe(seed: str, number: int) -> Plan:
    """A plan that any worker executes at once."""
    plan_id, quantity = f"c{seed}-probe-{number:03}", STEP
    permits = tuple(Permit(issuer, Verdict.GRANT, 0, grant_text(issuer, SYMBOLS[0], quantity)) for issuer in ISSUERS)
    return Plan(
        plan_id,
        SYMBOLS[0],
        ACTIONS[0],
        dated=False,
        quantity=quantity,
        sends=(Send(0.0, "plain", plan_id),),
        permits=permits,
    )


def _plan(random: Random, plan_id: str, at_s: float) -> Plan:
    symbol = random.choices((*SYMBOLS, SMALL_SYMBOL, FOREIGN_SYMBOL), (30, 30, 30, 3, 2))[0]
    action = random.choices((*ACTIONS, UNSUPPORTED_ACTION), (30, 30, 30, 2))[0]
    quantity = Decimal(random.randrange(10, 200)) / 10_000
    permits = (make_permit(random, issuer, plan_id, symbol, quantity) for issuer in ISSUERS)
    sends = [Send(at_s, _by(random), plan_id)]
    if random.random() < _DUPLICATE_SHARE:
        # At once, while it waits, and when it has its outcome.
        after_s = random.choice((0.0, random.uniform(0.1, 1.5), random.uniform(3, 15)))
        sends.append(Send(at_s + after_s, _by(random), random.choice((plan_id, f"{plan_id}-again"))))
    dated = random.random() < 0.5
    return Plan(plan_id, symbol, action, dated, quantity, _only_ours(sends), tuple(p for p in permits if p))


def _by(random: Random) -> By:
    return random.choice(("submit", "plain"))


def _only_ours(sends: list[Send]) -> tuple[Send, ...]:
    """`submit` chooses the task id itself: another one needs a plain client."""
    first = sends[0].task_id
    return tuple(send if send.task_id == first else Send(send.at_s, "plain", send.task_id) for send in sends)


def _conflict(random: Random, plan: Plan) -> Conflict:
    action = random.choice([action for action in ACTIONS if action != plan.action])
    at_s = plan.sends[0].at_s + random.choice((random.uniform(0.0, 0.5), random.uniform(1, 5)))
    return Conflict(at_s, plan.plan_id, plan.symbol, action, f"{plan.plan_id}-other")


def _junk(random: Random, task_id: str, at_s: float) -> Junk:
    raws = (f"{task_id} garbage", f'{{"{task_id}": 1}}', f'["{task_id}"]', f'{{"body": "{task_id}", "properties": 1}}')
    if random.random() < 0.5:
        return Junk(at_s, task_id, raw=random.choice(raws).encode())
    intents: list[dict[str, Any]] = [
        {"intent": {"symbol": "AAAUSDT", "decision": "EXECUTE"}},
        {"intent": f"not an object: {task_id}"},
        {"plan": {"plan_id": task_id}},
        {},
    ]
    return Junk(at_s, task_id, kwargs=random.choice(intents))

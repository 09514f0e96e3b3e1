"""Whole plans from both judges to the order, without Celery: the example we started from, then random sequences."""

import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, cast

import pytest
import redis

from ops.ledger import gather, set_ledger
from tasks import governor, position
from tasks.act import Again, execute_once
from tasks.errors import StoreUnavailable
from tasks.intent import FRACTIONS, ExecuteIntent
from tasks.keys import Keys, client_order_id
from tasks.outcome import Outcome
from tasks.parts import Parts
from tasks.settings import GovernorSettings, Settings
from tests.helpers import hold, intent_of, orders_of, results_of, run_to_outcome
from tests.judges.position_bed import (
    MISMATCH,
    NO_REST,
    Watched,
    answer_of,
    give_ledger,
    ledger_of,
    paper_amount,
    permit_of,
)

EXAMPLE = "f1a8d7f48713d5cf"
WIDE = GovernorSettings(
    _env_file=None,
    max_exec_per_hour=100_000,
    max_exec_per_5min=100_000,
    max_reduce_notional_per_day_usd=Decimal(10**9),
    max_reduce_qty_per_day=Decimal(10**7),
    enable_auto_disarm=False,
)


def example(plan_id: str = EXAMPLE) -> ExecuteIntent:
    return intent_of(
        plan_id,
        kill_score=0.5390,
        R_net=7.0136,
        new_sl_proposed=100.2,
        k_regime_flip=0.0,
        k_sigma_spike=0.1084,
        k_ts_drop=0.1789,
        k_age_penalty=0.0417,
    )


def through(parts: Parts, intent: ExecuteIntent) -> Outcome:
    """Taken up, judged by both with the limits of these parts, run to the outcome."""
    taken_up = execute_once(parts, intent)
    if isinstance(taken_up, Again):
        governor.evaluate(parts, parts.governor, intent)
        position.evaluate(parts, parts.position, intent)
    return run_to_outcome(parts, intent)


def test_the_example_is_denied_until_the_ledger_is_reconciled(
    client: redis.Redis, keys: Keys, parts: Parts, caplog: pytest.LogCaptureFixture
) -> None:
    """Exchange 0.062 and ledger 0.002: denied, by name; after an operator set the ledger the next plan executes."""
    caplog.set_level("INFO", "permitwait")
    hold(client, keys, "0.062")
    give_ledger(client, keys, "0.002")

    denied = through(parts, example())

    assert ("BLOCKED", "p33_denied", "p33_permit_denied") == (denied.decision, denied.reason, denied.error)
    assert MISMATCH == answer_of(client, keys, EXAMPLE)
    assert {"exchange_amt": "0.062", "ledger_amt": "0.002", "diff": "0.060", "tolerance": "0.001"} == permit_of(
        client, keys, EXAMPLE
    )["context"]
    assert any(line.startswith(f"[PERMIT_WAIT] BLOCK plan={EXAMPLE} reason=p33_denied") for line in caplog.messages)
    assert 0 == client.exists(keys.governor_reservation(EXAMPLE))

    set_ledger(parts, gather(parts, parts.position, "BTCUSDT"))

    assert "0.062" == ledger_of(client, keys)["last_known_amt"]

    outcome = through(parts, example("67e6da21fa9fe506"))

    assert denied == through(parts, example())
    assert (True, "0.046") == (outcome.executed, outcome.safe_qty)
    assert [("67e6da21fa9fe506", "SELL", "0.046")] == [
        (order["plan_id"], order["side"], order["qty"]) for order in orders_of(client, keys)
    ]
    assert "0.016" == ledger_of(client, keys)["last_known_amt"]


@pytest.mark.parametrize(("held", "side", "left"), [("0.010", "SELL", "0.003"), ("-0.010", "BUY", "-0.003")])
def test_three_quarters_of_a_hundredth_are_seven_thousandths(
    client: redis.Redis, keys: Keys, parts: Parts, held: str, side: str, left: str
) -> None:
    """PARTIAL_75 of 0.010 orders 0.007, with the default limits of both judges: never rounded up to 0.008."""
    hold(client, keys, held)

    outcome = through(parts, example())

    assert (True, "0.007") == (outcome.executed, outcome.safe_qty)
    assert [(side, "0.007")] == [(order["side"], order["qty"]) for order in orders_of(client, keys)]
    assert left == ledger_of(client, keys)["last_known_amt"]


@dataclass
class Sequence:
    """One random sequence on a namespace of its own: the same seed makes the same plans in the same order."""

    client: redis.Redis
    parts: Parts
    rng: random.Random
    starts: dict[str, Decimal] = field(default_factory=dict)
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    def __post_init__(self) -> None:
        flaky = Watched(self.parts.venue, before_submit=self._maybe_fail, after_submit=self._maybe_fail)
        self.parts = replace(self.parts, venue=flaky)
        for symbol in self.rng.sample(["BTCUSDT", "ETHUSDT", "SOLUSDT"], self.rng.randint(1, 3)):
            self._open(symbol)

    @property
    def keys(self) -> Keys:
        """Key names of this sequence."""
        return self.parts.gate.keys

    def _maybe_fail(self, _: object) -> None:
        if self.rng.random() < 0.08:
            raise StoreUnavailable("the venue gave no answer")

    def _open(self, symbol: str) -> None:
        step = Decimal(self.rng.choice(["0.001", "0.01", "1", "0.5"]))
        dust = self.rng.choice([Decimal(0), step / 2])
        amount = (self.rng.randint(1, 3000) * step + dust) * self.rng.choice([1, -1])
        fields = {"position_amt": f"{amount:f}", "step": f"{step:f}"}
        if self.rng.random() < 0.8:
            fields["mark_price"] = "2"
        self.client.hset(self.keys.paper_position(symbol), mapping=cast("Any", fields))
        self.starts[symbol] = amount

    def play(self) -> None:
        """A few plans at a time, their messages and judgements in any order, some missing, some twice."""
        numbers = itertools.count(1)
        for _ in range(self.rng.randint(3, 6)):
            plans = [self._plan(next(numbers)) for _ in range(self.rng.randint(1, 3))]
            events = [event for plan in plans for event in self._events(plan)]
            self.rng.shuffle(events)
            for event in events:
                event()
            for plan in plans:
                self.outcomes[plan.plan_id] = self._settle(plan)
            for plan in self.rng.sample(plans, 1):
                self._again(plan)

    def _plan(self, number: int) -> ExecuteIntent:
        fields: dict[str, Any] = {
            "symbol": self.rng.choice(list(self.starts)),
            "action": self.rng.choice(list(FRACTIONS)),
        }
        if self.rng.random() < 0.3:
            fields["close_qty"] = self.rng.choice([0, 0.003, 0.29, 1, 7.5, 4000])
        return intent_of(f"plan-{number}", **fields)

    def _events(self, plan: ExecuteIntent) -> Iterator[Callable[[], object]]:
        chance = self.rng.random
        yield from [lambda: execute_once(self.parts, plan)] * self.rng.randint(1, 3)
        if chance() < 0.95:
            yield from [lambda: governor.evaluate(self.parts, WIDE, plan)] * (2 if chance() < 0.2 else 1)
        if chance() < 0.95:
            yield from [lambda: position.evaluate(self.parts, NO_REST, plan)] * (2 if chance() < 0.2 else 1)
        if chance() < 0.05:
            yield lambda: self.client.set(self.keys.governor_block(plan.plan_id), '{"reason": "ours"}', ex=60)

    def _settle(self, plan: ExecuteIntent) -> Outcome:
        """Attempts until the outcome; where one must wait, its time is over."""
        for _ in range(20):
            step = execute_once(self.parts, plan)
            if isinstance(step, Outcome):
                return step
            self.client.hset(self.keys.record(plan.plan_id), mapping={"deadline_ms": "0", "lease_until_ms": "0"})
        pytest.fail(f"no outcome for {plan.plan_id}")

    def _again(self, plan: ExecuteIntent) -> None:
        governor.evaluate(self.parts, WIDE, plan)
        said = position.evaluate(self.parts, NO_REST, plan)

        assert ("ended", "") == said
        assert self.outcomes[plan.plan_id] == execute_once(self.parts, plan)

    def findings(self) -> dict[str, object]:
        """Everything that does not agree; empty when position, ledger, journal and outcomes tell the same story."""
        orders, found = orders_of(self.client, self.keys), dict[str, object]()
        for symbol, start in self.starts.items():
            closed = sum((Decimal(order["qty"]) for order in orders if order["symbol"] == symbol), Decimal(0))
            expected = start - closed if start > 0 else start + closed
            if expected != paper_amount(self.client, self.keys, symbol):
                found[f"position {symbol}"] = (expected, paper_amount(self.client, self.keys, symbol))
            ledger = ledger_of(self.client, self.keys, symbol).get("last_known_amt")
            if ledger is not None and Decimal(ledger) != expected:
                found[f"ledger {symbol}"] = (expected, ledger)
            if ledger is None and closed:
                found[f"ledger {symbol}"] = "none, but there were orders"
            if self.client.exists(self.keys.position_live(symbol)):
                found[f"live {symbol}"] = self.client.get(self.keys.position_live(symbol))
        executed = {plan_id for plan_id, outcome in self.outcomes.items() if outcome.executed}
        for name, expected_ids, ids in (
            ("journal", executed, [order["plan_id"] for order in orders]),
            ("order ids", {client_order_id(plan) for plan in executed}, [order["client_order_id"] for order in orders]),
            ("results", self.outcomes.keys(), [result["plan_id"] for result in results_of(self.client, self.keys)]),
        ):
            if sorted(expected_ids) != sorted(ids):
                found[name] = (sorted(expected_ids), sorted(ids))
        if self.client.zcard(self.keys.open):
            found["open"] = self.client.zrange(self.keys.open, 0, -1)
        return found


@pytest.mark.parametrize("batch", [0, *(pytest.param(batch, marks=pytest.mark.long) for batch in (1, 2, 3))])
def test_position_ledger_and_journal_agree_in_the_end(
    client: redis.Redis, make_parts: Callable[..., Parts], settings: Settings, batch: int
) -> None:
    """However plans, repeats, lost permits and lost replies mix: start, orders, position and ledger add up exactly."""
    seen: Counter[str] = Counter()
    for number in range(25):
        seed = random.SystemRandom().randrange(2**32)
        print(f"batch {batch}: Sequence with random.Random({seed})")  # noqa: T201 - shown where the test fails
        changed = {"namespace": f"{settings.namespace}s{number}", "allowlist": ("BTCUSDT", "ETHUSDT", "SOLUSDT")}
        sequence = Sequence(client, make_parts(settings.model_copy(update=changed), WIDE, NO_REST), random.Random(seed))

        sequence.play()

        seen.update(outcome.reason or outcome.decision for outcome in sequence.outcomes.values())
        assert {} == sequence.findings()

    assert {"EXECUTE", "p33_denied", "missing_governor", "interrupted"} <= seen.keys()


def test_plans_at_the_same_moment_agree_in_the_end(
    client: redis.Redis, keys: Keys, make_parts: Callable[..., Parts], settings: Settings
) -> None:
    """Many executors at once, several plans per symbol: none closes what another closes already."""
    symbols = tuple(f"COIN{n}USDT" for n in range(6))
    parts = make_parts(settings.model_copy(update={"allowlist": symbols}), WIDE, NO_REST)
    starts = {symbol: Decimal("0.997") * (1 if n % 2 else -1) for n, symbol in enumerate(symbols)}
    for symbol, start in starts.items():
        hold(client, keys, f"{start:f}", symbol)
    plans = [
        intent_of(f"plan-{n}", symbol=symbols[n % len(symbols)], action=list(FRACTIONS)[n % len(FRACTIONS)])
        for n in range(60)
    ]

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(lambda plan: through(parts, plan), plans))
    orders = orders_of(client, keys)
    closed = {
        symbol: sum((Decimal(order["qty"]) for order in orders if order["symbol"] == symbol), Decimal(0))
        for symbol in symbols
    }
    left = {symbol: start - closed[symbol] * (1 if start > 0 else -1) for symbol, start in starts.items()}

    assert sorted(plan.plan_id for plan, outcome in zip(plans, outcomes, strict=True) if outcome.executed) == sorted(
        order["plan_id"] for order in orders
    )
    assert set(symbols) == {order["symbol"] for order in orders}
    assert left == {symbol: paper_amount(client, keys, symbol) for symbol in symbols}
    assert left == {symbol: Decimal(ledger_of(client, keys, symbol)["last_known_amt"]) for symbol in symbols}

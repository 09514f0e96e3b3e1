"""Random histories of issuers, executors and operators on the real server, against a model of one plan.

The model is `plan_model.Model`, 30 lines at most (a test here counts them). It knows when permits may be consumed and
who may order; after every step the server must agree with it: the very permits, the order journal, the result stream.
"""

# ruff: noqa: D102 - rules read as what happens; a sentence above each would fill the model's 30 lines

import inspect
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from typing import Final

import pytest
import redis
from hypothesis import HealthCheck
from hypothesis import settings as profile
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tasks.act import execute_once
from tasks.consume import Abandoned, Answer, Busy, Claim, Consumed, Finished, Gate
from tasks.dispatch import dispatch, ending_of
from tasks.intent import ExecuteIntent
from tasks.judge import Block, Ready, Stands, judge
from tasks.lookup import look_up, stop_submitting
from tasks.outcome import Ending, Outcome
from tasks.parts import Parts
from tasks.reasons import Reason
from tasks.settings import Settings
from tasks.venues import Receipt
from tests.gate.plan_model import GRANTING, Model
from tests.helpers import hold as give_position
from tests.helpers import intent_of

_EXECUTORS: Final = range(3)
_NAMES: Final = ("governor", "p33", "p26")
_REFUSING: Final = (
    b'{"granted": false, "allow": false, "symbol": "BTCUSDT"}',
    b'{"granted": true, "allow": true, "symbol": "ETHUSDT", "safe_close_qty": 0.001}',
    b'{"granted": true, "allow": true, "symbol": "BTCUSDT", "safe_close_qty": 0.001, "plan_id": "another"}',
    b'{"granted": true, "allow": true, "safe_close_qty": NaN',
    b"1",
    b"",
)
_OFF: Final = (None, "", "0", "false", "off", "no")
_ON: Final = ("true", "1", "False", " ")
_WORDS: Final = {Consumed: "consumed", Stands: "stands", Finished: "finished", Busy: "busy", Abandoned: "abandoned"}
_EVENTS: Final = st.sampled_from(
    ["none"] * 4 + ["halt", "deadline", "lease", "replace", "refuse", "another", "silence"]
)
_MAY_GO_ON: Final = (Stands, Consumed, Abandoned)


@dataclass
class Turn:
    """What an executor last heard, and about which plan: by now it may be out of date."""

    intent: ExecuteIntent
    token: str
    answer: Answer
    ready: Ready | None = None
    ending: Ending | None = None


class Histories(RuleBasedStateMachine):
    """Issuers, an operator and three executors, plan after plan; an executor may still be busy with an older one."""

    _examples = count(1)

    def __init__(self, client: redis.Redis, make_parts: Callable[[str, tuple[str, ...]], Parts]) -> None:
        super().__init__()
        self.client = client
        self.make_parts = make_parts
        self.models = dict[str, Model]()
        self.turns = dict[int, Turn]()
        self.numbers = count(1)
        self.switch = False

    @initialize(required=st.sampled_from([_NAMES[:2], _NAMES]))
    def begin(self, required: tuple[str, ...]) -> None:
        example = f"h{next(self._examples)}"
        self.parts = [self.make_parts(example, required) for _ in _EXECUTORS]
        self.keys = self.parts[0].gate.keys
        self.required = required
        give_position(self.client, self.keys, "100")
        self.next_plan()

    @precondition(lambda self: self.model.ended)
    @rule()
    def next_plan(self) -> None:
        self.plan = f"plan-{next(self.numbers)}"
        self.models[self.plan] = self.model = Model(self.required)
        self.issue_all()

    @precondition(lambda self: not self.model.ended)
    @rule(name=st.sampled_from(_NAMES), which=st.integers(0, 1))
    def grant(self, name: str, which: int) -> None:
        self.issue(name, GRANTING[name][which])

    @rule()
    def issue_all(self) -> None:
        for name in _NAMES:
            self.issue(name, GRANTING[name][0])
        self.turn_switch(None)

    def issue(self, name: str, raw: bytes) -> None:
        self.client.set(self.keys.permit(name, self.plan), raw, ex=60)
        self.model.permits[name] = raw

    @precondition(lambda self: not self.model.ended)
    @rule(name=st.sampled_from(_NAMES), raw=st.sampled_from([*_REFUSING, None, b"expire"]))
    def spoil(self, name: str, raw: bytes | None) -> None:
        if raw is None or raw == b"expire":
            self.remove(name, expire=raw is not None)
        else:
            self.issue(name, raw)

    @precondition(lambda self: not self.model.ended)
    @rule(value=st.sampled_from([*_OFF, *_ON, *_ON]))
    def turn_switch(self, value: str | None) -> None:
        if value is None:
            self.client.delete(self.keys.kill_switch)
        else:
            self.client.set(self.keys.kill_switch, value)
        self.switch = value in _ON

    @precondition(lambda self: not self.model.ended and self.client.exists(self.keys.record(self.plan)))
    @rule()
    def pass_deadline(self) -> None:
        self.client.hset(self.keys.record(self.plan), "deadline_ms", "1000")
        self.model.late = True

    @rule()
    def lose_scripts(self) -> None:
        self.client.script_flush()

    def remove(self, name: str, *, expire: bool) -> None:
        key = self.keys.permit(name, self.plan)
        if expire:
            self.client.pexpire(key, 1)
            give_up = time.monotonic() + 10
            while self.client.exists(key):
                assert time.monotonic() < give_up
        else:
            self.client.delete(key)
        self.model.permits.pop(name, None)

    @precondition(lambda self: self.model.claim and not self.model.ended)
    @rule()
    def pass_lease(self) -> None:
        self.client.hset(self.keys.record(self.plan), "lease_until_ms", "1000")
        self.model.leased = False

    @rule(who=st.sampled_from(_EXECUTORS))
    def look(self, who: int) -> None:
        intent, token = intent_of(self.plan), f"token-{next(self.numbers)}"
        answer = self.parts[who].gate.look(intent, token)
        self.turns[who] = Turn(intent, token, answer)

        assert self.model.look(token) == _WORDS[type(answer)]

    def able(self) -> list[int]:
        """Executors whose last answer lets them do something."""
        return [who for who, turn in sorted(self.turns.items()) if isinstance(turn.answer, _MAY_GO_ON)]

    @precondition(lambda self: self.able())
    @rule(data=st.data(), event=_EVENTS)
    def go_on(self, data: st.DataObject, event: str) -> None:
        who = data.draw(st.sampled_from(self.able()))
        turn = self.turns[who]
        self.happen(event)
        if event == "silence" and isinstance(turn.answer, Consumed):
            self.stop(turn, self.parts[who], turn.answer)
        else:
            self.act(who)

    def act(self, who: int) -> None:
        turn, parts = self.turns[who], self.parts[who]
        if isinstance(turn.answer, Stands):
            finding = judge(turn.answer, turn.intent, parts.rules, parts.venue.step(turn.intent.symbol))
            if isinstance(finding, Ready):
                turn.ready = finding
                self.consume_again(turn, parts.gate)
            elif isinstance(finding, Block):
                self.end(turn, parts.gate, _blocked(turn.intent, finding.reason), "waiting")
        elif isinstance(turn.answer, Consumed) and turn.ending is None:
            self.order(turn, parts, turn.answer)
        elif isinstance(turn.answer, Consumed) and turn.ending is not None:
            self.end(turn, parts.gate, turn.ending, "consumed")
        elif isinstance(turn.answer, Abandoned):
            self.recover(turn, parts, turn.answer.claim)

    @rule(who=st.sampled_from(_EXECUTORS), event=_EVENTS)
    def look_and_go_on(self, who: int, event: str) -> None:
        self.look(who)
        self.happen(event)
        if who in self.able():
            self.act(who)

    def happen(self, event: str) -> None:
        """Something that comes between two steps of an executor."""
        if event == "halt":
            self.turn_switch("true")
        elif event == "deadline" and self.client.hexists(self.keys.record(self.plan), "deadline_ms"):
            self.pass_deadline()
        elif event == "lease" and self.model.claim and not self.model.ended:
            self.pass_lease()
        elif event == "replace":
            self.grant("p33", 1)
        elif event == "refuse":
            self.issue("governor", _REFUSING[0])
        elif event == "another":
            self.execute(0, whole=True)

    def consume_again(self, turn: Turn, gate: Gate) -> None:
        assert turn.ready is not None
        turn.answer = gate.consume(turn.intent, turn.token, turn.ready)
        expected = self.models[turn.intent.plan_id].consume(turn.token, turn.ready.judged, switch=self.switch)

        assert expected == _WORDS[type(turn.answer)]

    @precondition(lambda self: any(turn.ready and not turn.ending for turn in self.turns.values()))
    @rule(data=st.data())
    def lose_reply(self, data: st.DataObject) -> None:
        ready = [who for who, turn in sorted(self.turns.items()) if turn.ready and not turn.ending]
        who = data.draw(st.sampled_from(ready))
        self.consume_again(self.turns[who], self.parts[who].gate)

    def order(self, turn: Turn, parts: Parts, consumed: Consumed) -> None:
        model = self.models[turn.intent.plan_id]
        receipt = dispatch(parts, turn.intent, consumed)
        allowed = "kill_switch" if self.switch else "accepted"
        expected = allowed if model.may_order(turn.token) else "claim_lost"
        model.orders += expected == "accepted"
        # One that lost its claim would not end the plan; here it tries to, and only a claim still its own lets it.
        turn.ending = ending_of(turn.intent, consumed.claim, receipt) or _blocked(turn.intent, Reason.ORDER_UNKNOWN)

        assert expected == receipt.answer

    def stop(self, turn: Turn, parts: Parts, consumed: Consumed) -> None:
        """It hears nothing about its order, and will only look up; a request still on its way must be refused."""
        model = self.models[turn.intent.plan_id]
        stopped = stop_submitting(parts, turn.intent, consumed.claim, Receipt("unknown"))
        if stopped:
            model.recovering = model.leased = True
            self.order(replace(turn), parts, consumed)
            turn.answer, turn.ending = Abandoned(consumed.claim), None

        assert model.may_stop(turn.token) == stopped

    def recover(self, turn: Turn, parts: Parts, claim: Claim) -> None:
        model = self.models[turn.intent.plan_id]
        found = look_up(parts, turn.intent, claim)
        assert isinstance(found, Ending) or not model.may_stop(turn.token)
        if isinstance(found, Ending):
            assert bool(model.orders) == found.executed
            self.end(turn, parts.gate, found, "consumed")

    def end(self, turn: Turn, gate: Gate, ending: Ending, leaving: str) -> None:
        model = self.models[turn.intent.plan_id]
        finished = gate.finish(ending, turn.token, leaving)
        turn.answer = finished or Busy(0)
        if model.may_end(turn.token, leaving):
            model.ended, model.ended_by = ending.decision, turn.token

        assert bool(model.ended) == bool(finished)
        assert not finished or (model.ended, model.ended_by == turn.token) == (
            finished.outcome.decision,
            finished.fresh,
        )

    @rule(who=st.sampled_from(_EXECUTORS), whole=st.sampled_from([False, False, True]))
    def execute(self, who: int, *, whole: bool) -> None:
        if not whole:
            # Histories are richer where looking and consuming are steps of their own.
            self.look(who)
            return
        model, lost = self.model, self.model.claim and not self.model.leased
        before, stand = model.ended, tuple(model.permits.get(name, b"") for name in model.names)
        all_grant = all(raw in GRANTING[name] for name, raw in zip(model.names, stand, strict=True))
        consumes = all_grant and not self.switch and model.consume("execute", stand, switch=False) == "consumed"
        model.orders += consumes
        step = execute_once(self.parts[who], intent_of(self.plan))
        if isinstance(step, Outcome):
            model.ended = before or step.decision

        assert not consumes or isinstance(step, Outcome)
        assert not lost or before or isinstance(step, Outcome)
        assert not isinstance(step, Outcome) or model.ended == step.decision

    @invariant()
    def agrees(self) -> None:
        plans = list(self.models)
        with self.client.pipeline(transaction=False) as read:
            for stream in (self.keys.paper_orders, self.keys.results):
                read.xrange(stream)
            read.zrange(self.keys.open, 0, -1)
            read.mget([self.keys.permit(name, plan) for plan in plans for name in _NAMES])
            for plan in plans:
                read.hexists(self.keys.record(plan), "ended_ms")
                read.exists(self.keys.record(plan))
            journal, results, open_plans, stand, *records = read.execute()
        ordered = [order[b"plan_id"].decode() for _, order in journal]
        told = [(entry[b"plan_id"].decode(), entry[b"decision"].decode()) for _, entry in results]

        assert [model.permits.get(name) for model in self.models.values() for name in _NAMES] == stand
        for place, (plan, model) in enumerate(self.models.items()):
            has_ended, is_known = records[2 * place : 2 * place + 2]

            assert model.orders == ordered.count(plan) <= 1
            assert bool(model.ended) == has_ended
            assert [model.ended] * bool(model.ended) == [decision for plan_id, decision in told if plan_id == plan]
            assert not model.ended or (model.ended == "EXECUTE") == bool(model.orders)
            assert bool(is_known and not model.ended) == (plan.encode() in open_plans)


def _blocked(intent: ExecuteIntent, reason: Reason) -> Ending:
    return Ending(decision="BLOCKED", plan_id=intent.plan_id, symbol=intent.symbol, reason=reason)


def test_the_model_is_small() -> None:
    """The model is small enough to be checked by reading it: 30 lines at most, without blank ones."""
    lines = [line for line in inspect.getsource(Model).splitlines() if line.strip()]

    assert len(lines) <= 30


# Only a failure takes long: it is worth shrinking.
@pytest.mark.timeout(400)
@pytest.mark.fault("F1", "F2", "F7")
def test_random_histories_agree_with_the_model(
    client: redis.Redis,
    namespace: str,
    settings: Settings,
    make_parts: Callable[[Settings], Parts],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whatever order things happen in: permits go at most once, together, while granting, in time and switch off."""

    def make(example: str, permits: tuple[str, ...]) -> Parts:
        changes = {"namespace": f"{namespace}-{example}", "permits": permits}
        slow = {"permit_wait_ms": 60_000, "claim_lease_ms": 600_000}
        return make_parts(settings.model_copy(update=changes | slow))

    caplog.set_level(logging.CRITICAL, logger="permitwait")
    run_state_machine_as_test(
        lambda: Histories(client, make),  # type: ignore[arg-type] # a factory is documented, only a class is typed
        settings=_PROFILE,
    )


_PROFILE: Final = profile(
    max_examples=120,
    stateful_step_count=50,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

"""A desk for the tests of `explain`: plans played through the shipped scripts, explained, and the advice followed."""

import io
import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final

import pytest
import redis

from tasks import governor, position
from tasks.act import Again, execute_once
from tasks.intent import ExecuteIntent, parse_intent
from tasks.keys import Keys
from tasks.outcome import Outcome
from tasks.parts import Parts
from tasks.settings import Settings
from tasks.submit import _register
from tests.helpers import grant, intent_of, run_to_outcome
from tests.judges.desk import limits
from tests.judges.position_bed import NO_REST
from tests.ops.command_call import Command, Said, any_command

#: Granting permits of a service outside, for BTCUSDT.
P26: Final = '{"granted": true, "symbol": "BTCUSDT"}'

SUBMIT: Final = "| permitwait submit - --wait"


@dataclass
class Stand:
    """One executor, an operator's shell with the same settings, and a plain client."""

    parts: Parts
    client: redis.Redis
    run: Command
    set_env: Callable[[str, str], None]
    make: Callable[..., Parts]
    bounds: Any = field(default_factory=limits)
    rest: Any = NO_REST

    @property
    def keys(self) -> Keys:
        """Key names of this test."""
        return self.parts.gate.keys

    @property
    def ours(self) -> bool:
        """Whether our own judges write the permits."""
        return bool(self.parts.settings.issuers)

    def configure(self, **changed: Any) -> None:
        """Give the workers and this shell other settings."""
        settings = self.parts.settings.model_copy(update=changed)
        self.parts = replace(self.make(settings), name=self.parts.name)
        for name, value in changed.items():
            self.set_env(f"APPLY_{name.upper()}", ",".join(value) if isinstance(value, tuple) else str(value))

    def begin(self, intent: ExecuteIntent, wait_ms: int | None = None) -> None:
        """Register a plan and have a worker take it up; `wait_ms` for one that is to wait in vain."""
        _register(intent, self.parts.settings, [])
        settings = self.parts.settings
        hurried = replace(
            self.make(settings.model_copy(update={"permit_wait_ms": wait_ms or settings.permit_wait_ms})),
            name=self.parts.name,
        )
        assert isinstance(execute_once(hurried, intent), Again)

    def judge(self, intent: ExecuteIntent) -> None:
        """Have both of our judges answer; or, where there are none of ours, the services outside."""
        if self.ours:
            governor.evaluate(self.parts, self.bounds, intent)
            position.evaluate(self.parts, self.rest, intent)
        else:
            grant(self.client, self.keys, intent.plan_id)
        if "p26" in self.parts.settings.permits:
            self.client.set(self.keys.permit("p26", intent.plan_id), P26, ex=60)

    def play(self, plan_id: str = "plan-1", **fields: Any) -> Outcome:
        """Take a plan the whole way: registered, taken up, judged, to its outcome."""
        intent = intent_of(plan_id, **fields)
        _register(intent, self.parts.settings, [])
        step = execute_once(self.parts, intent)
        if isinstance(step, Outcome):
            return step
        self.judge(intent)
        return run_to_outcome(self.parts, intent)

    def denied(self, permit: str, text: str, plan_id: str = "plan-1", **fields: Any) -> Outcome:
        """A plan with good permits from outside, but for one."""
        intent = intent_of(plan_id, **fields)
        self.begin(intent)
        self.judge(intent)
        self.client.set(self.keys.permit(permit, plan_id), text, ex=60)
        return run_to_outcome(self.parts, intent)

    def explained(self, plan_id: str = "plan-1") -> dict[str, Any]:
        """What `permitwait explain` says, as JSON; that it can be read at 80 columns is checked on the way."""
        self.screen(plan_id)
        said = self.run("explain", plan_id, "--json")
        assert 0 == said.code
        document: dict[str, Any] = json.loads(said.out)
        return document

    def screen(self, plan_id: str = "plan-1") -> str:
        """What a person sees."""
        said = self.run("explain", plan_id)
        assert 0 == said.code
        assert [] == [line for line in said.out.splitlines() if len(line) > 80 or not line.isprintable()]
        return said.out

    def follow(self, command: str) -> Said | Outcome:
        """Do what a line of advice says: our own commands as they stand (and confirmed), a new plan to its outcome."""
        if command.endswith(SUBMIT):
            return self.send(command)
        assert command.startswith("permitwait ")
        words = command.replace("\\\n", "").split()[1:]
        return self.run(*words, *(["--yes"] if words[0] in {"resume", "open", "ledger"} else []), stdin=io.StringIO())

    def send(self, command: str) -> Outcome:
        """The plan that a shell would pipe into `permitwait submit`, played the whole way."""
        shell = command.removesuffix(SUBMIT).rstrip().removesuffix("\\")
        line = subprocess.run(["/bin/sh", "-c", shell], check=True, capture_output=True, text=True).stdout
        assert 1 == len(line.splitlines())
        intent = parse_intent(json.loads(line))
        return self.play(intent.plan_id, **{key: value for key, value in json.loads(line).items() if key != "plan_id"})


def stand_of(
    settings: Settings,
    make_parts: Callable[..., Parts],
    client: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Stand:
    """A stand on the server of a test, with a long wait, and no pause between orders."""
    quick = settings.model_copy(update={"permit_wait_ms": 20_000, "permit_step_ms": 10})
    monkeypatch.setenv("APPLY_PERMIT_WAIT_MS", "20000")
    monkeypatch.setenv("APPLY_PERMIT_STEP_MS", "10")
    parts = replace(make_parts(quick), name="celery@desk")
    return Stand(parts, client, any_command(settings, monkeypatch, capsys), monkeypatch.setenv, make_parts)

"""`permitwait demo`: the gate at work on this machine, then the checklist that says whether it held."""

import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any, Final, cast

import redis
from pydantic import BaseModel

from ops import screen
from ops.child import Child, celery_command
from ops.demo_plans import (
    POSITIONS,
    WRONG_LEDGER,
    Scenario,
    chain_scenarios,
    gate_scenarios,
    kill_switch_scenario,
    reconciled_scenario,
)
from ops.demo_report import Report, Row, ledgers_agree, show
from ops.ledger import gather, set_ledger
from ops.places import server_dir
from ops.server import DataDirInUse, EmbeddedServer
from ops.status.checklist import checklist
from ops.status.facts import gather as gather_facts
from tasks.address import RedisAddress
from tasks.errors import OutcomePending
from tasks.keys import Keys
from tasks.outcome import Outcome
from tasks.parts import make_parts
from tasks.settings import GovernorSettings, PositionSettings, Settings
from tasks.store import Store, connect
from tasks.submit import Handle, submit

#: Until the worker reads its queue; a cold start on a slow machine takes several seconds.
_WORKER_READY_S: Final = 40.0

_OUTCOME_S: Final = 15.0


def run(*, as_json: bool) -> int:
    """Run every scenario; exit code 0 only if the checklist holds."""
    started = time.monotonic()
    with _server() as server:
        settings = Settings(
            **_pinned(Settings) | {"redis_url": server.url, "mode": "paper", "allowlist": tuple(POSITIONS)}
        )
        keys = Keys(settings.namespace)
        client = connect(RedisAddress.parse(server.url), timeout_ms=5_000)
        for symbol, (amount, step, price) in POSITIONS.items():
            client.hset(
                keys.paper_position(symbol), mapping={"position_amt": amount, "step": step, "mark_price": price}
            )
        run_id = f"demo{int(time.time()) % 1_000_000:06d}"
        lines: list[str] = []
        screen.say("the whole chain: our own Governor and Position judge each plan")
        with _worker(server.url, settings, "governor,p33", lines):
            rows = _play_chain(client, settings, keys, run_id)
        ledgers = ledgers_agree(client, keys)
        screen.say("\nthe gate: permits from outside services, early, late, wrong and never")
        with _worker(server.url, settings, "", lines):
            rows += _play_gate(client, settings, keys, run_id)
            points = checklist(gather_facts(Store(client), settings))
        report = Report.of(rows, lines, client, keys, points, ledgers=ledgers)
        client.close()
    show(report, as_json=as_json, took_s=time.monotonic() - started)
    return 0 if report.holds else 1


@contextmanager
def _server() -> Iterator[EmbeddedServer]:
    """A fresh server in the demo's place; a second demo at the same time gets a place of its own."""
    place = server_dir("demo")
    server = EmbeddedServer(place)
    try:
        server.start()
    except DataDirInUse:
        screen.say("another demo runs: this one keeps no data")
        server = EmbeddedServer()
        server.start()
    else:
        server.stop()
        for left in place.glob("appendonlydir"):
            shutil.rmtree(left)
        server.start()
    try:
        yield server
    finally:
        server.stop()


def _pinned(model: type[BaseModel]) -> dict[str, Any]:
    """Every setting at its default: the demo shows the gate, whatever this shell or a `.env` file says."""
    return {name: info.default for name, info in model.model_fields.items()}


def _text(value: object) -> str:
    return ",".join(value) if isinstance(value, tuple) else str(value)


@contextmanager
def _worker(url: str, settings: Settings, issuers: str, lines: list[str]) -> Iterator[Child]:
    """A real worker, ready; its decisions are shown as they fall, all its lines are kept."""
    ready = threading.Event()

    def read(line: str) -> None:
        lines.append(line)
        if " ready." in line:
            ready.set()
        if "[PERMIT_WAIT]" in line:
            screen.coloured(line[line.index("[PERMIT_WAIT]") :])

    env = {
        f"{model.model_config['env_prefix']}{name}".upper(): _text(value)
        for model in (Settings, GovernorSettings, PositionSettings)
        for name, value in _pinned(model).items()
    } | {
        "APPLY_REDIS_URL": url,
        "APPLY_MODE": settings.mode,
        "APPLY_ALLOWLIST": ",".join(settings.allowlist),
        "APPLY_ISSUERS": issuers,
    }
    command = celery_command("worker", "--loglevel", "INFO", "--without-mingle", "--hostname", f"demo{os.getpid()}@%h")
    worker = Child(command, env, read)
    try:
        give_up = time.monotonic() + _WORKER_READY_S
        while not ready.wait(0.05):
            if not worker.running() or time.monotonic() > give_up:
                screen.say("\n".join(lines[-15:]))
                raise SystemExit("permitwait: the demo's worker did not become ready; its last lines are above")
        yield worker
        if not worker.running():
            screen.say("\n".join(lines[-15:]))
    finally:
        worker.stop()


def _play_chain(client: "redis.Redis", settings: Settings, keys: Keys, run_id: str) -> list[Row]:
    for symbol, amount in WRONG_LEDGER.items():
        client.hset(keys.ledger(symbol), mapping={"last_known_amt": amount, "origin": "demo"})
    rows = _play_together(client, settings, keys, chain_scenarios(keys, run_id))
    parts = make_parts(
        settings, GovernorSettings(**_pinned(GovernorSettings)), PositionSettings(**_pinned(PositionSettings))
    )
    for symbol in WRONG_LEDGER:
        evidence = gather(parts, parts.position, symbol)
        set_ledger(parts, evidence)
        moved = f"{evidence.ledger_amt} -> {evidence.exchange_amt}"
        screen.say(f"operator: permitwait ledger {symbol} --set-from-exchange ({moved})")
    parts.store.close()
    return rows + _play_together(client, settings, keys, [reconciled_scenario(keys, run_id)])


def _play_gate(client: "redis.Redis", settings: Settings, keys: Keys, run_id: str) -> list[Row]:
    rows = _play_together(client, settings, keys, gate_scenarios(keys, run_id, first=8))
    halted = _play_together(client, settings, keys, [kill_switch_scenario(keys, run_id, number=20)])
    client.delete(keys.kill_switch)
    return rows + halted


def _play_together(client: "redis.Redis", settings: Settings, keys: Keys, together: list[Scenario]) -> list[Row]:
    """Submit all scenarios at once, play the issuers' part, and collect each outcome."""
    timeline = sorted(
        ((write.after_ms, number, write) for number, scenario in enumerate(together) for write in scenario.writes),
        key=lambda entry: entry[:2],
    )
    # Permits that are early are there before the plan is.
    for after_ms, _, write in timeline:
        if after_ms == 0:
            client.set(write.key, write.value, ex=write.ttl_s or None)
    handles = [submit(scenario.intent, settings=settings) for scenario in together]
    began = time.monotonic()
    for number, scenario in enumerate(together):
        for _ in range(scenario.sends - 1):
            handles[number] = submit(scenario.intent, settings=settings)
    for after_ms, _, write in timeline:
        if after_ms:
            time.sleep(max(0.0, began + after_ms / 1000 - time.monotonic()))
            client.set(write.key, write.value, ex=write.ttl_s or None)
    return [_row(client, keys, scenario, handle) for scenario, handle in zip(together, handles, strict=True)]


def _row(client: "redis.Redis", keys: Keys, scenario: Scenario, handle: Handle) -> Row:
    outcome: Outcome | None = None
    try:
        outcome = handle.result(_OUTCOME_S)
    except OutcomePending as error:
        screen.say(str(error))
    journal = cast("list[tuple[bytes, dict[bytes, bytes]]]", client.xrange(keys.paper_orders))
    orders = [Decimal(entry[b"qty"].decode()) for _, entry in journal if entry[b"plan_id"].decode() == handle.plan_id]
    return Row(scenario, handle.plan_id, outcome, orders)

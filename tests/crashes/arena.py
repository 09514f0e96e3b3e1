"""Where workers are lost on purpose: sends plans that tell their fate, and counts in the journals what came of it."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from signal import SIGTERM
from typing import Any, Final, Literal, Self

from celery import states

from tests.crashes.points import MARKERS, VISIBILITY, Fate, marker
from tests.crashes.promises import Promise
from tests.helpers import hold, orders_of, results_of, wait_until
from tests.servers import RealServer
from tests.worker.nodes import SYMBOLS, Site, Worker, permit_texts, plan, wait_for_ends

SYMBOL: Final = SYMBOLS[0]

#: Enough for every plan of an arena.
HELD: Final = "1000"

#: A permit that outlives every restart and redelivery of a test.
_PERMIT_LIFE_S: Final = 600

#: From the loss of a worker until everything of it is done: celeryconfig's 30 s at most, and a busy machine.
SETTLED_WITHIN_S: Final = 75.0


Role = Literal["victims", "sweeper", "heir"]
ROLES: Final[tuple[Role, ...]] = ("victims", "sweeper", "heir")


class CrashingWorker(Worker):
    """A worker with the points around its steps; it fails as its plans' ids say where it is given a folder."""

    def __init__(self, server: RealServer, *options: str, **env: str) -> None:
        super().__init__(server, *options, application="tests.crashes.app", **env)

    @property
    def node(self) -> str:
        """Its name among workers."""
        return f"{self.worker_name()}@{self.id[:12]}"

    @property
    def exit_code(self) -> int | None:
        """Of its main process; negative: the signal that ended it, None: it runs."""
        return self._process.poll() if self._process else None

    def is_ready(self) -> bool:
        """Whether it takes messages now."""
        return self.status == "running" and self.logs().count(" ready.") > self._ready_lines

    def await_children(self) -> None:
        """Wait until nothing of a worker whose main process is gone runs any more."""
        wait_until(lambda: not _group_lives(self.pid), f"the children of worker {self.id} are gone", 60)


def _group_lives(pid: int) -> bool:
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    return True


class Arena:
    """A server, workers that fail, one that only sweeps, and an heir that takes over what they leave.

    `options` are those of every worker, `wait_ms` is the bound of every wait, `lanes` the number of those that fail.
    No message is delivered again before the heir is there, which does so after `visibility_s`, or as shipped. `roles`
    are settings of some of them. `ordered` tells the plans of all orders, of the paper venue's journal by default.
    """

    def __init__(
        self,
        site: Site,
        folder: Path,
        *options: str,
        wait_ms: int,
        lease_ms: int = 1_000,
        visibility_s: int | None = 3,
        lanes: int = 2,
        roles: Mapping[Role, dict[str, str]] | None = None,
    ) -> None:
        self.site, self.folder = site, folder
        env = {
            "APPLY_PERMIT_WAIT_MS": str(wait_ms),
            "APPLY_CLAIM_LEASE_MS": str(lease_ms),
            "APPLY_PERMIT_MAX_TTL_MS": "3600000",
        }
        own = roles or {}
        never = env | {VISIBILITY: "3600"}
        again = env | ({VISIBILITY: str(visibility_s)} if visibility_s else {})
        self._options, self._failing = options, never | {MARKERS: str(folder)} | own.get("victims", {})
        self.victims = [self._victim() for _ in range(lanes)]
        queues = ("-Q", "governor,position")
        self.sweeper = CrashingWorker(site.server, *options, *queues, **never | own.get("sweeper", {}))
        self.heir = CrashingWorker(site.server, *options, **again | own.get("heir", {}))
        self.ordered: Callable[[], Iterable[str]] = self._journal
        hold(site.client, site.keys, HELD, SYMBOL)

    @property
    def workers(self) -> list[CrashingWorker]:
        """Everyone who takes care of plans here."""
        return [*self.victims, self.sweeper, self.heir]

    def __enter__(self) -> Self:
        for worker in (*self.victims, self.sweeper):
            worker.start()
        self.sweeper.ready()
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            worker.kill(SIGTERM)
        for worker in self.workers:
            worker.teardown()

    def _victim(self) -> CrashingWorker:
        return CrashingWorker(self.site.server, *self._options, **self._failing)

    def join(self) -> CrashingWorker:
        """One more worker that fails, ready."""
        victim = self._victim()
        self.victims.append(victim)
        victim.start()
        victim.ready()
        return victim

    def send(self, plan_id: str) -> None:
        """Write a plan's permits and send it, as any client does."""
        site = self.site
        for name, text in zip(("governor", "p33"), permit_texts(SYMBOL), strict=True):
            site.client.set(site.keys.permit(name, plan_id), text, ex=_PERMIT_LIFE_S)
        site.send(plan(plan_id, SYMBOL), plan_id)

    def strike(self, fate: Fate, serial: str = "x") -> str:
        """Send a plan of this fate to a worker that is all there, and return its id once its fate has come."""
        wait_until(lambda: any(victim.is_ready() for victim in self.victims), "a worker that is to fail", 60)
        plan_id = fate.plan_id(serial)
        self.send(plan_id)
        self.struck(plan_id, fate.times)
        return plan_id

    def struck(self, plan_id: str, times: int = 1) -> int:
        """Wait until a plan's fate has come; the process that it came to."""
        last = marker(self.folder, plan_id, times - 1)
        text = wait_until(lambda: last.exists() and last.read_text(), f"{plan_id} struck", 60)
        return int(text)

    def replace_lost(self) -> None:
        """Wait until one of the failing workers is gone, with whatever it leaves behind, and start it again."""
        gone = wait_until(lambda: [victim for victim in self.victims if victim.status == "exited"], "a worker ends", 60)
        for victim in gone:
            victim.await_children()
            victim.start()

    def let_heir_take(self, *, messages: bool = True) -> None:
        """Let the heir take messages, those of lost workers among them, or no more."""
        if self.heir.status == "exited":
            self.heir.start()
            self.heir.ready()
        control, names = self.site.producer.control, [self.heir.node]
        change = control.add_consumer if messages else control.cancel_consumer
        # It listens to its control commands from a moment after it is ready.
        wait_until(lambda: change("execute", destination=names, reply=True, timeout=2), "the heir's answer", 30)

    def retire(self) -> None:
        """End the workers that fail in good order: whatever they still had in hand is done then."""
        for victim in self.victims:
            # Its main process alone: children that are told to end do so at once.
            os.kill(victim.pid, SIGTERM)
        for victim in self.victims:
            victim.wait()

    def settle(self, plan_ids: Iterable[str], within_s: float = SETTLED_WITHIN_S) -> None:
        """Wait until every plan is done and every message gone, with the help of the heir."""
        self.let_heir_take()
        wait_for_ends(self.site, plan_ids, within_s)
        client = self.site.client
        wait_until(
            lambda: not (client.hlen("unacked") or client.zcard("unacked_index") or client.llen("execute")),
            "every message done",
            within_s,
        )

    def check(self, promises: Mapping[str, Promise]) -> None:
        """Every plan came to what was promised, each once, and nothing is left over."""
        site, plan_ids = self.site, list(promises)
        orders = Counter(self.ordered())
        results: dict[str, list[dict[str, str]]] = {plan_id: [] for plan_id in plan_ids}
        for entry in results_of(site.client, site.keys):
            results.setdefault(entry["plan_id"], []).append(entry)
        told = Counter(
            line.partition("plan=")[2].split()[0]
            for worker in self.workers
            for line in worker.lines("[PERMIT_WAIT] OK")
        )
        found = {
            plan_id: Promise(
                "+".join(entry["decision"] for entry in results[plan_id]),
                "+".join(entry["reason"] for entry in results[plan_id]),
                orders[plan_id],
                int(site.client.exists(*(site.keys.permit(name, plan_id) for name in ("governor", "p33")))),
                told[plan_id],
            )
            for plan_id in plan_ids
        }

        broken = [
            f"{plan_id}\n  promised {promises[plan_id]}\n  found    {found[plan_id]}"
            for plan_id in plan_ids
            if promises[plan_id] != found[plan_id]
        ]
        assert not broken, "\n".join(broken)
        assert set(plan_ids) == set(results)
        assert set(orders) <= set(plan_ids)
        assert 0 == site.client.zcard(site.keys.open)
        assert {plan_id: results[plan_id][0]["decision"] for plan_id in plan_ids} == {
            plan_id: self._celery_result(plan_id) for plan_id in plan_ids
        }

    def _journal(self) -> list[str]:
        return [order["plan_id"] for order in orders_of(self.site.client, self.site.keys)]

    def _celery_result(self, plan_id: str) -> Any:
        result = self.site.producer.AsyncResult(plan_id)
        found: Any = result.result
        return found["decision"] if result.state == states.SUCCESS else result.state

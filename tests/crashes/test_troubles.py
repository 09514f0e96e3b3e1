"""Trouble with Redis at each step of a running worker: blocked or done again, never an order on an error."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import pytest

import lua
from tests.chaos.relay import Relays
from tests.crashes.arena import Arena, Role
from tests.crashes.liar import Liar
from tests.crashes.points import Fate, Point, Step, let_go, noted
from tests.crashes.promises import EXECUTED, INTERRUPTED, Promise
from tests.helpers import wait_until
from tests.servers import RealServer
from tests.worker.nodes import Site, site_on

#: Plans and permits that were known before a restart are not trusted with an order.
REFUSED: Final = Promise("BLOCKED", "server_changed", orders=0, permits_left=2, ok_lines=0)

#: The calls of an execution that are held until the trouble has begun; the event loop's comes last.
HELD: Final = (Step.CONSUME, Step.FINISH, Step.STORE, Step.ORDER, Step.LOOK)


@dataclass(frozen=True)
class Trouble:
    """What befalls the way to a server, how it is put right, what is held and fails, and what does not execute."""

    begin: Callable[[RealServer, Liar, Site], object]
    cure: Callable[[RealServer, Liar, Site], object]
    fails: tuple[Step, ...] = (Step.CONSUME, Step.ORDER, Step.FINISH)
    ends: dict[Step, Promise] = field(default_factory=lambda: {Step.ORDER: INTERRUPTED})
    held: tuple[Step, ...] = HELD


def restart(server: RealServer, **options: str) -> None:
    server.kill()
    server._options |= options
    server.start()


def lie(error: str) -> Trouble:
    return Trouble(lambda _, liar, __: liar.lie(error), lambda _, liar, __: liar.lie(""))


AFTER_A_RESTART: Final = {Step.LOOK: REFUSED, Step.CONSUME: REFUSED, Step.ORDER: INTERRUPTED}

TROUBLES: Final = {
    "killed": Trouble(lambda server, _, __: server.kill(), lambda server, _, __: server.start(), ends=AFTER_A_RESTART),
    "moved": lie("MOVED 3999 127.0.0.1:6381"),
    "crossslot": lie("CROSSSLOT Keys in request do not hash to the same slot"),
    "tryagain": lie("TRYAGAIN Multiple keys request during rehashing of slot"),
    "a cluster": Trouble(
        lambda server, _, __: restart(server, **{"cluster-enabled": "yes"}),
        lambda server, _, __: restart(server, **{"cluster-enabled": "no"}),
        ends=AFTER_A_RESTART,
    ),
    "full": Trouble(
        lambda _, __, site: site.client.config_set("maxmemory", 1),
        lambda _, __, site: site.client.config_set("maxmemory", 0),
    ),
    "read only": Trouble(
        lambda _, __, site: site.client.replicaof("127.0.0.1", "1"),
        lambda _, __, site: site.client.replicaof("NO", "ONE"),
    ),
    "scripts forgotten": Trouble(
        lambda _, __, site: site.client.script_flush(), lambda _, __, ___: None, fails=(), ends={}
    ),
    "cut": Trouble(lambda _, liar, __: liar.cut(), lambda _, liar, __: liar.mend()),
    # Where a new connection is needed nothing is asked: `test_lost_replies.py` loses each one for certain.
    "replies lost": Trouble(
        lambda _, liar, __: liar.lose_replies(),
        lambda _, liar, __: liar.mend(),
        fails=(Step.ORDER,),
        ends={},
        held=(Step.ORDER,),
    ),
    "half open": Trouble(lambda _, liar, __: liar.go_stale(), lambda _, __, ___: None, fails=(Step.ORDER,)),
}


@pytest.fixture
def relays() -> Iterator[Relays]:
    """Ended with the test."""
    relays = Relays()
    yield relays
    relays.close()


@pytest.mark.timeout(200)
@pytest.mark.fault("F16", "F17", "F19", "F20", "F21")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "killed" else pytest.mark.long) for name in TROUBLES]
)
def test_trouble_at_each_step_of_a_worker(tmp_path: Path, relays: Relays, name: str) -> None:
    """Held before its call, then met by trouble: a plan executes once that is over, or ends as what really happened."""
    trouble = TROUBLES[name]
    with (
        TemporaryDirectory(prefix="pw-") as folder,
        RealServer(Path(folder) / "data", appendfsync="always") as server,
        site_on(server) as site,
    ):
        liar = relays.add(Path(folder) / "r", server.socket_path, Liar)
        assert isinstance(liar, Liar)
        roles: dict[Role, dict[str, str]] = {"victims": {"APPLY_REDIS_URL": liar.url}}
        with Arena(site, tmp_path, "--concurrency", "8", wait_ms=60_000, lease_ms=4_000, lanes=1, roles=roles) as arena:
            # A script that the server does not know yet is refused first: that would be the reply that is lost.
            site.client.script_load(lua.source("paper_order"))
            plans = {step: arena.strike(Fate("hold", "self", Point("before", step))) for step in trouble.held}
            trouble.begin(server, liar, site)
            for step in sorted(plans, key=lambda step: step not in trouble.fails):
                let_go(tmp_path, plans[step])
                if step in trouble.fails:
                    wait_until(noted(tmp_path, plans[step], step).exists, f"{step} has failed")
            trouble.cure(server, liar, site)
            promises = {plan_id: trouble.ends.get(step, EXECUTED) for step, plan_id in plans.items()}
            arena.settle(promises)
            arena.check(promises)

            assert "running" == arena.victims[0].status

"""The points are where they say, and between every two steps: nothing is done for a plan outside of a step."""

import time
from hashlib import sha1

import pytest

import lua
from tests.crashes.arena import SYMBOL, CrashingWorker
from tests.crashes.points import POINTS, TRACE, Fate, Step
from tests.helpers import POOLS, grant, hold
from tests.worker.nodes import Site, permit_texts, plan

PLAN = "traced-plan"
TAKING = sha1(lua.source("take_messages").encode(), usedforsecurity=False).hexdigest()

#: One call of one script each: nothing can be lost within such a step but its reply.
ONE_SCRIPT = (Step.LOOK, Step.CONSUME, Step.ORDER, Step.FINISH)


def traced(site: Site, pool: str) -> list[str]:
    """What is sent to the server while a worker takes care of one plan, in order; a script is one command."""
    hold(site.client, site.keys, "1", SYMBOL)
    grant(site.client, site.keys, PLAN, *permit_texts(SYMBOL))
    # A script that the server does not know yet is sent twice.
    for name in ("take_messages", "consume_permits", "paper_order", "finish_plan"):
        site.client.script_load(lua.source(name))
    worker = CrashingWorker(site.server, "--pool", pool, "--concurrency", "1", **{TRACE: site.server.url})
    try:
        worker.start()
        worker.ready()
        commands: list[str] = []
        with site.client.monitor() as monitor:  # type: ignore[no-untyped-call] # untyped in redis-py
            site.send(plan(PLAN, SYMBOL), PLAN)
            give_up = time.monotonic() + 20
            while sum(map(is_point, commands)) < len(POINTS) and time.monotonic() < give_up:
                command = monitor.next_command()
                if command["client_type"] != "lua":
                    commands.append(command["command"])
        return commands
    finally:
        worker.teardown()


def is_point(command: str) -> bool:
    return command.startswith("ECHO") and command.endswith(PLAN)


def is_for_the_plan(command: str) -> bool:
    """Whether it names the plan or reaches into the unacknowledged messages, but for what every worker asks anyway.

    The message is taken by such a call: the worker cannot be lost between its asking and its taking.
    """
    if command.startswith(("LPUSH", "SUBSCRIBE", "UNSUBSCRIBE", "ZRANGE unacked_index", f"EVALSHA {TAKING} ")):
        return False
    return PLAN in command or "unacked" in command.replace("unacked_mutex", "")


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.fault("F8")
@pytest.mark.fault("F8")
def test_everything_done_for_a_plan_is_within_a_step(site: Site, pool: str) -> None:
    """A plan passes every point once, in order; whatever is written for it is written between before and after."""
    points, outside = [], []
    scripts = dict.fromkeys(Step, 0)
    inside: Step | None = None
    for command in traced(site, pool):
        if is_point(command):
            _, when, name, _ = command.split()
            points.append(f"{when}_{name}")
            if (when, name) != ("after", Step.DONE):
                inside = Step(name) if when == "before" else None
        elif inside:
            scripts[inside] += command.startswith("EVALSHA")
        elif is_for_the_plan(command):
            outside.append(command)
    expected = [str(point) for point in POINTS]

    # The thread of an attempt goes on to that point while the event loop already acknowledges.
    assert expected[-3] == "after_done"
    assert [name for name in expected if name != "after_done"] == [name for name in points if name != "after_done"]
    assert sorted(expected) == sorted(points)
    assert [] == outside
    assert dict.fromkeys(ONE_SCRIPT, 1) == {step: scripts[step] for step in ONE_SCRIPT}


def test_a_plans_id_tells_its_fate() -> None:
    """Every fate survives the way through a plan's id, and an ordinary id tells none."""
    fates = [Fate(act, who, point) for act in ("kill", "lose") for who in ("self", "main") for point in POINTS]

    assert fates == [Fate.of(fate.plan_id()) for fate in fates]
    assert Fate("lose", "self", POINTS[0], 2) == Fate.of(Fate("lose", "self", POINTS[0], 2).plan_id("again"))
    assert [None, None] == [Fate.of("67e6da21fa9fe506"), Fate.of("kill-self-nowhere-1-x")]

"""Two real workers, every message twice: one order, one outcome and one OK line per plan."""

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from celery.result import AsyncResult
from pytest_celery import CeleryTestSetup

from tasks.errors import PlanConflict
from tasks.settings import Settings
from tasks.submit import submit
from tests.helpers import grant, hold, orders_of, record_of, results_of, stream, wait_until
from tests.servers import RealServer
from tests.worker.nodes import (
    ROOT,
    SYMBOLS,
    Site,
    Worker,
    clean_environment,
    of_plans,
    permit_texts,
    plan,
    site_on,
    start_workers,
    wait_for_ends,
)

HELD = Decimal(1000)
QUANTITY = Decimal("0.008")

Answers = list[tuple[dict[str, Any], dict[str, Any]]]


class LateIssuers(threading.Thread):
    """Writes each permit of each plan after its own 50 to 600 ms; what it raises, `join` raises."""

    def __init__(self, site: Site, plan_ids: list[str], symbol: str) -> None:
        super().__init__()
        random = Random(symbol)
        permits = dict(zip(("governor", "p33"), permit_texts(symbol), strict=True))
        self._site = site
        self._due = sorted(
            (random.uniform(0.05, 0.6), site.keys.permit(name, plan_id), text)
            for plan_id in plan_ids
            for name, text in permits.items()
        )
        self._error: BaseException | None = None

    def run(self) -> None:
        """Write each permit when it is due."""
        began = time.monotonic()
        try:
            for due_s, key, text in self._due:
                time.sleep(max(0.0, began + due_s - time.monotonic()))
                self._site.client.set(key, text, ex=60)
        except BaseException as error:  # noqa: BLE001 - raised again where the test waits
            self._error = error

    def join(self, timeout: float | None = None) -> None:
        """Wait until every permit is written, and raise what went wrong."""
        super().join(timeout)
        if self._error:
            raise self._error


def send_all_twice(site: Site, plan_ids: list[str], symbol: str) -> Answers:
    """Send every plan twice, a third of them with their permits there; return both results of each."""
    hold(site.client, site.keys, str(HELD), symbol)
    for plan_id in plan_ids[::3]:
        grant(site.client, site.keys, plan_id, *permit_texts(symbol))
    late = LateIssuers(site, [plan_id for place, plan_id in enumerate(plan_ids) if place % 3], symbol)
    late.start()
    sent: list[tuple[AsyncResult[Any], AsyncResult[Any]]] = [
        (site.send(plan(plan_id, symbol), plan_id), site.send(plan(plan_id, symbol), f"{plan_id}-again"))
        for plan_id in plan_ids
    ]
    late.join()
    return [(first.get(timeout=60), second.get(timeout=60)) for first, second in sent]


def check_each_executed_once(
    site: Site, workers: list[Worker], plan_ids: list[str], symbol: str, answers: Answers
) -> None:
    once = dict.fromkeys(plan_ids, 1)
    orders = of_plans(orders_of(site.client, site.keys), plan_ids)
    results = of_plans(results_of(site.client, site.keys), plan_ids)
    ok_lines = [line for worker in workers for line in worker.lines("[PERMIT_WAIT] OK", f"symbol={symbol}")]

    assert once == Counter(order["plan_id"] for order in orders)
    assert HELD - QUANTITY * len(plan_ids) == site.position(symbol)
    assert once == Counter(result["plan_id"] for result in results)
    assert {("EXECUTE", "True", "")} == {(entry["decision"], entry["executed"], entry["reason"]) for entry in results}
    assert [first for first, _ in answers] == [second for _, second in answers]
    assert plan_ids == [first["plan_id"] for first, _ in answers]
    assert once == Counter(line.partition("plan=")[2].split()[0] for line in ok_lines)
    assert [] == [line for worker in workers for line in worker.lines("Traceback")]


@pytest.mark.fault("F5", "F7")
def test_two_workers_execute_every_plan_once(site: Site, workers: list[Worker]) -> None:
    """300 plans, each sent twice to two workers, permits early and late: one order, result and OK line each."""
    plan_ids = [f"twice-{number}" for number in range(300)]

    answers = send_all_twice(site, plan_ids, SYMBOLS[0])

    check_each_executed_once(site, workers, plan_ids, SYMBOLS[0], answers)
    assert all(worker.lines("[PERMIT_WAIT] OK", f"symbol={SYMBOLS[0]}") for worker in workers)


@pytest.mark.parametrize(
    ("pool", "concurrency", "number", "plans"),
    [
        pytest.param("prefork", 2, 2, 60, id="prefork", marks=pytest.mark.long),
        pytest.param("solo", 1, 1, 10, id="solo"),
    ],
)
@pytest.mark.fault("F5", "F7")
def test_other_pools_keep_the_promise(pool: str, concurrency: int, number: int, plans: int) -> None:
    """Prefork and solo keep it too: every plan sent twice becomes one order, one result, one OK line."""
    plan_ids = [f"pool-{place}" for place in range(plans)]
    options = ("--pool", pool, "--concurrency", str(concurrency))
    with (
        RealServer() as server,
        start_workers(number, server, *options, APPLY_PERMIT_WAIT_MS="30000") as workers,
        site_on(server) as site,
    ):
        answers = send_all_twice(site, plan_ids, SYMBOLS[1])

        assert all(worker.lines("concurrency:", f"({pool})") for worker in workers)
        check_each_executed_once(site, workers, plan_ids, SYMBOLS[1], answers)


@pytest.fixture
def settings(site: Site) -> Settings:
    """What a producer of the cluster is configured with."""
    return Settings(redis_url=site.server.url, broker_url=site.server.broker_url, _env_file=None)


def test_submit_returns_a_handle_that_reads_the_outcome(
    site: Site, celery_setup: CeleryTestSetup, settings: Settings
) -> None:
    """`submit` registers and publishes the plan, sends one message, and its handle reads how the plan ended."""
    hold(site.client, site.keys, "1", SYMBOLS[2])
    grant(site.client, site.keys, "submitted", *permit_texts(SYMBOLS[2]))

    handle = submit(plan("submitted", SYMBOLS[2]), app=celery_setup.app, settings=settings)
    outcome = handle.result(timeout=30)

    assert ("EXECUTE", "submitted", True, "0.008") == (
        outcome.decision,
        outcome.plan_id,
        outcome.executed,
        outcome.safe_qty,
    )
    assert 1 == len(of_plans(stream(site.client, site.keys.plans), ["submitted"]))
    assert outcome.as_result() == AsyncResult("submitted", app=celery_setup.app).get(timeout=30)


@pytest.mark.fault("F7")
def test_submit_twice_is_one_plan(site: Site, celery_setup: CeleryTestSetup, settings: Settings) -> None:
    """The same plan submitted again, while it waits and after its end, has the one outcome and the one order."""
    hold(site.client, site.keys, "1", SYMBOLS[3])
    intent = plan("submitted-twice", SYMBOLS[3])

    handles = [submit(intent, app=celery_setup.app, settings=settings) for _ in range(2)]
    grant(site.client, site.keys, "submitted-twice", *permit_texts(SYMBOLS[3]))
    outcomes = [handle.result(timeout=30) for handle in handles]
    outcomes.append(submit(intent, app=celery_setup.app, settings=settings).result(timeout=30))

    assert [outcomes[0]] * 3 == outcomes
    assert "EXECUTE" == outcomes[0].decision
    for entries in (site.keys.plans, site.keys.paper_orders, site.keys.results):
        assert 1 == len(of_plans(stream(site.client, entries), ["submitted-twice"]))


@pytest.mark.fault("F7")
def test_submit_refuses_another_plan_under_a_known_id(
    site: Site, celery_setup: CeleryTestSetup, settings: Settings
) -> None:
    """The same id with another action raises at the producer, names both, and leaves the known plan alone."""
    grant(site.client, site.keys, "conflicting", *permit_texts(SYMBOLS[4]))
    hold(site.client, site.keys, "1", SYMBOLS[4])
    known = submit(plan("conflicting", SYMBOLS[4]), app=celery_setup.app, settings=settings)
    known.result(timeout=30)
    before = record_of(site.client, site.keys, "conflicting")

    with pytest.raises(PlanConflict, match=r"PARTIAL_75\|EXECUTE, submitted as .*\|PARTIAL_50\|EXECUTE"):
        submit(plan("conflicting", SYMBOLS[4], action="PARTIAL_50"), app=celery_setup.app, settings=settings)

    assert before == record_of(site.client, site.keys, "conflicting")


PRODUCER = """
import json, sys
from tasks.submit import submit
print(json.dumps(submit(json.loads(sys.argv[1])).result(timeout=30).as_result()))
"""


def test_a_producer_process_needs_only_its_environment(site: Site, workers: list[Worker]) -> None:
    """A program with nothing but the addresses, one where they are the same, submits a plan and reads its outcome."""
    apart = site.server.broker_url != site.server.url
    addresses = {"APPLY_REDIS_URL": site.server.url} | ({"APPLY_BROKER_URL": site.server.broker_url} if apart else {})
    hold(site.client, site.keys, "1", SYMBOLS[5])
    grant(site.client, site.keys, "from-a-process", *permit_texts(SYMBOLS[5]))

    done = subprocess.run(
        [sys.executable, "-c", PRODUCER, json.dumps(plan("from-a-process", SYMBOLS[5]))],
        cwd=ROOT / "tests",
        env=clean_environment(**addresses),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (0, "") == (done.returncode, done.stderr)
    assert ("EXECUTE", "from-a-process") == tuple(json.loads(done.stdout)[name] for name in ("decision", "plan_id"))
    assert all(worker.status == "running" for worker in workers)


@pytest.fixture
def switched_off(site: Site) -> Iterator[None]:
    """The cluster's kill switch is off again afterwards."""
    yield
    site.client.delete(site.keys.kill_switch)


@pytest.mark.usefixtures("switched_off")
def test_nothing_is_ordered_once_the_kill_switch_is_set(site: Site) -> None:
    """From the switch's own instant on no order is made, and every plan that waits ends as `kill_switch`."""
    plan_ids = [f"halted-{number}" for number in range(60)]
    running, waiting = plan_ids[:30], plan_ids[30:]
    hold(site.client, site.keys, str(HELD), SYMBOLS[6])
    for plan_id in plan_ids:
        site.send(plan(plan_id, SYMBOLS[6]), plan_id)
    late = LateIssuers(site, running, SYMBOLS[6])
    late.start()
    wait_until(lambda: len(of_plans(orders_of(site.client, site.keys), plan_ids)) >= 3, "the first orders")
    at_once = site.client.pipeline(transaction=True)
    at_once.xlen(site.keys.paper_orders)
    at_once.set(site.keys.kill_switch, "true")
    orders_then, _ = at_once.execute()
    for plan_id in plan_ids:
        grant(site.client, site.keys, plan_id, *permit_texts(SYMBOLS[6]))
    late.join()
    wait_for_ends(site, plan_ids)

    orders = of_plans(orders_of(site.client, site.keys), plan_ids)
    ends = {entry["plan_id"]: entry for entry in of_plans(results_of(site.client, site.keys), plan_ids)}
    ordered = {order["plan_id"] for order in orders}
    assert orders_then == site.client.xlen(site.keys.paper_orders)
    assert len(plan_ids) == len(ends)
    assert ordered == {plan_id for plan_id, end in ends.items() if end["decision"] == "EXECUTE"}
    assert ordered <= set(running)
    assert {("BLOCKED", "kill_switch")} == {
        (end["decision"], end["reason"]) for plan_id, end in ends.items() if plan_id not in ordered
    }
    assert 2 * len(waiting) == site.client.exists(
        *(site.keys.permit(name, plan_id) for name in ("governor", "p33") for plan_id in waiting)
    )

"""The seed's checklist: each point holds, cannot be told yet, or fails, and says what to do."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from ops.status.checklist import POINTS, Checklist, Mark, checklist
from ops.status.facts import Facts, Gone, Switch
from tasks.life import Life
from tasks.stats import Ended, Stats, Waits
from tests.ops.status_bed import CONFIG, EMPTY, GOOD, GOOD_STATS, NOW_MS, WORKER, with_stats

OTHER = replace(WORKER, hostname="celery@two")


def configured(life: Life, **changes: str) -> Life:
    """A worker with other settings."""
    return replace(life, config={**CONFIG, **changes})


def not_ok(points: Checklist) -> dict[str, tuple[Mark, str]]:
    """The points that do not hold."""
    return {check.name: (check.mark, check.figure) for check in points.checks if check.mark is not Mark.OK}


def test_a_deployment_that_did_everything_is_validated() -> None:
    """Every point of the seed's checklist holds; nothing is left to do."""
    points = checklist(GOOD)

    assert points.validated
    assert {} == not_ok(points)
    assert ["" for _ in POINTS] == [check.todo for check in points.checks]
    assert "VALIDATED: 10 ok, 0 not yet, 0 failed" == points.verdict


def test_a_new_deployment_has_not_failed() -> None:
    """Where nothing happened yet, no point holds and none has failed, and each says what to do."""
    points = checklist(EMPTY)

    assert not points.validated
    assert {Mark.NOT_YET} == {check.mark for check in points.checks}
    assert all(check.todo for check in points.checks)
    assert "NOT VALIDATED: 0 ok, 10 not yet, 0 failed" == points.verdict


OUTSIDE = {"APPLY_ISSUERS": ""}
ONE_OUTSIDE = {"APPLY_ISSUERS": "governor"}

CASES: Mapping[str, tuple[Facts, str, Mark, str]] = {
    "versions differ": (
        replace(GOOD, workers=(WORKER, replace(OTHER, version="0.2.0"))),
        "worker and version seen",
        Mark.FAILED,
        "2 workers, versions 0.1.0 and 0.2.0",
    ),
    "one of two is gone": (
        replace(GOOD, workers=(WORKER,), gone=(Gone("celery@two", NOW_MS - 90_000),)),
        "worker and version seen",
        Mark.OK,
        "1 worker, permitwait 0.1.0, 1 gone",
    ),
    "all are gone": (
        replace(GOOD, workers=(), gone=(Gone("celery@x", NOW_MS - 900_000), Gone("celery@two", NOW_MS - 90_000))),
        "worker and version seen",
        Mark.FAILED,
        "none; celery@two was last seen 1 min ago",
    ),
    "all stopped in order": (
        replace(GOOD, workers=()),
        "worker and version seen",
        Mark.FAILED,
        "none is alive",
    ),
    "settings differ": (
        replace(GOOD, workers=(WORKER, configured(OTHER, APPLY_MODE="dry_run"))),
        "one configuration in force",
        Mark.FAILED,
        "APPLY_MODE: paper on celery@one, dry_run on celery@two",
    ),
    "two settings differ": (
        replace(GOOD, workers=(WORKER, configured(OTHER, APPLY_PERMITS="governor,p33,p26", GOV_MAX_EXEC_PER_HOUR="9"))),
        "one configuration in force",
        Mark.FAILED,
        "APPLY_PERMITS: governor,p33 on celery@one, governor,p33,p26 on celery@two (and 1 more)",
    ),
    "an older worker lacks a setting": (
        replace(GOOD, workers=(WORKER, replace(OTHER, config={k: v for k, v in CONFIG.items() if k != "GOV_X"}))),
        "one configuration in force",
        Mark.OK,
        "mode paper, 2 symbols, wait at most 1200 ms",
    ),
    "the same Redis in other words": (
        replace(GOOD, workers=(WORKER, configured(OTHER, APPLY_REDIS_URL="redis+socket:///s"))),
        "one configuration in force",
        Mark.OK,
        "mode paper, 2 symbols, wait at most 1200 ms",
    ),
    "an issuer is silent": (
        replace(GOOD, issuers={"governor": "celery@one"}),
        "issuers alive",
        Mark.FAILED,
        "silent: p33",
    ),
    "issuers from outside, nothing consumed": (
        replace(
            GOOD, workers=(configured(WORKER, **OUTSIDE),), issuers={}, stats=replace(GOOD_STATS, ok_waits=Waits())
        ),
        "issuers alive",
        Mark.NOT_YET,
        "governor, p33 from outside: none consumed yet",
    ),
    "issuers from outside": (
        replace(GOOD, workers=(configured(WORKER, **OUTSIDE),), issuers={}),
        "issuers alive",
        Mark.OK,
        "governor, p33 seen from outside",
    ),
    "one issuer from outside": (
        replace(GOOD, workers=(configured(WORKER, **ONE_OUTSIDE),)),
        "issuers alive",
        Mark.OK,
        "governor alive; p33 seen from outside",
    ),
    "all plans blocked": (
        with_stats(first_ok_ms=None, ok_waits=Waits()),
        "first [PERMIT_WAIT] OK",
        Mark.NOT_YET,
        "no permits were consumed",
    ),
    "a wait at the bound": (
        with_stats(ok_waits=Waits(((27, 3), (1200, 1)))),
        "every wait_ms below bound",
        Mark.FAILED,
        "3 of 4 below 1200 ms, longest 1200 ms",
    ),
    "a wait just below the bound": (
        with_stats(ok_waits=Waits(((27, 3), (1199, 1)))),
        "every wait_ms below bound",
        Mark.OK,
        "4 of 4 below 1200 ms, longest 1199 ms",
    ),
    "the workers' bound counts, not the shell's": (
        replace(GOOD, workers=(configured(WORKER, APPLY_PERMIT_WAIT_MS="500"),)),
        "every wait_ms below bound",
        Mark.FAILED,
        "5 of 6 below 500 ms, longest 1199 ms",
    ),
    "a quantity of nothing": (
        with_stats(qty_not_positive=1),
        "every safe_qty above 0",
        Mark.FAILED,
        "5 of 6 positive",
    ),
    "dry run": (
        replace(
            GOOD,
            workers=(configured(WORKER, APPLY_MODE="dry_run"),),
            stats=replace(GOOD_STATS, ended={Ended("BTCUSDT", "dry_run", ""): 6}),
        ),
        "orders confirmed",
        Mark.NOT_YET,
        "dry run makes no orders",
    ),
    "an unknown order": (
        with_stats(ended={**GOOD_STATS.ended, Ended("BTCUSDT", "unknown", "order_unknown"): 1}),
        "orders confirmed",
        Mark.FAILED,
        "6 confirmed, 0 rejected, 1 unknown",
    ),
    "an unknown order that was resolved": (
        with_stats(
            ended={**GOOD_STATS.ended, Ended("BTCUSDT", "unknown", "order_unknown"): 1}, resolved={"not_executed": 1}
        ),
        "orders confirmed",
        Mark.OK,
        "6 confirmed, 0 rejected, 1 unknown (1 resolved)",
    ),
    "a rejected order": (
        with_stats(ended={**GOOD_STATS.ended, Ended("BTCUSDT", "rejected", "order_rejected"): 1}),
        "orders confirmed",
        Mark.OK,
        "6 confirmed, 1 rejected, 0 unknown",
    ),
    "four cycles": (
        with_stats(ended={Ended("BTCUSDT", "executed", ""): 4}),
        "5 or more cycles",
        Mark.NOT_YET,
        "4 successful",
    ),
    "five cycles, some in dry run": (
        with_stats(ended={Ended("BTCUSDT", "executed", ""): 3, Ended("BTCUSDT", "dry_run", ""): 2}),
        "5 or more cycles",
        Mark.OK,
        "5 successful, 2 of them in dry run",
    ),
    "a conflict": (
        with_stats(set_aside={"plan_conflict": 2}),
        "no race error",
        Mark.FAILED,
        "plan_conflict 2",
    ),
    "interrupted, unknown and doubled": (
        with_stats(
            ended={Ended("A", "blocked", "interrupted"): 1, Ended("A", "unknown", "order_unknown"): 2},
            orders_doubled=3,
        ),
        "no race error",
        Mark.FAILED,
        "interrupted 1, order_unknown 2, orders doubled 3",
    ),
}


@pytest.mark.parametrize(("facts", "name", "mark", "figure"), CASES.values(), ids=CASES)
def test_a_point_tells_what_it_found(facts: Facts, name: str, mark: Mark, figure: str) -> None:
    """Mark and figure of one point; one that does not hold says what to do, and the deployment is not validated."""
    points = checklist(facts)
    check = next(check for check in points.checks if check.name == name)

    assert (mark, figure) == (check.mark, check.figure)
    assert (mark is Mark.OK) == (check.todo == "")
    if mark is not Mark.OK:
        assert not points.validated


@pytest.mark.parametrize("name", POINTS)
def test_every_point_can_fail_or_be_open(name: str) -> None:
    """No point holds whatever happens."""
    marks = {mark for facts, one, mark, _ in CASES.values() if one == name} | {
        check.mark for check in checklist(EMPTY).checks if check.name == name
    }

    assert marks & {Mark.FAILED, Mark.NOT_YET}


def test_figures_that_cannot_be_read_validate_nothing() -> None:
    """Where something else stands under the key of the counters, that is a point of its own, and it fails."""
    points = checklist(replace(GOOD, unreadable=("quantum:apply:stats: WRONGTYPE", "quantum:apply:open: WRONGTYPE")))

    assert not points.validated
    assert {"figures readable": (Mark.FAILED, "quantum:apply:stats: WRONGTYPE (and 1 more)")} == not_ok(points)


def test_the_kill_switch_is_no_point() -> None:
    """A halted deployment stays validated: what it did before it was halted was right."""
    assert checklist(replace(GOOD, switch=Switch(is_set=True, value="true"))).validated
    assert Stats() == EMPTY.stats

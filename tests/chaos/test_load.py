"""The load of the chaos run: the same for the same seed, with some of everything that can go wrong in it."""

import json
from collections import Counter

import pytest

from tests.chaos.load import ALLOWED, FOREIGN_SYMBOL, make_load
from tests.chaos.permits import ISSUERS, Verdict, reason_for


def test_a_seed_gives_one_load() -> None:
    """A run can be repeated from what it printed."""
    assert make_load("1", 60) == make_load("1", 60)
    assert make_load("1", 60) != make_load("2", 60)


@pytest.mark.parametrize("seed", ["1", "2", "3"])
def test_a_minute_holds_some_of_everything(seed: str) -> None:
    """About a tenth of the plans are sent again, most are granted, and each refusal, conflict and junk is there."""
    load = make_load(seed, 60)
    again = sum(len(plan.sends) > 1 for plan in load.plans)
    granted = sum(all(plan.verdict(issuer) is Verdict.GRANT for issuer in ISSUERS) for plan in load.plans)
    said = {permit.verdict for plan in load.plans for permit in plan.permits}

    assert 0.07 < again / len(load.plans) < 0.13
    assert 0.6 < granted / len(load.plans) < 0.9
    assert set(Verdict) - {Verdict.NOTHING} == said
    assert {*ALLOWED, FOREIGN_SYMBOL} == {plan.symbol for plan in load.plans}
    assert {"submit", "plain"} == {send.by for plan in load.plans for send in plan.sends}
    assert load.conflicts
    assert {True, False} == {bool(junk.raw) for junk in load.junk}


def test_plans_are_many_and_not_too_many() -> None:
    """Ids are unique, and the result stream can hold what ten minutes send."""
    load = make_load("1", 600)
    ids = Counter(plan.plan_id for plan in load.plans)

    assert {1} == set(ids.values())
    assert len(load.plans) + len(load.junk) < 9_500


def test_only_a_grant_ends_no_plan() -> None:
    """Every verdict but a grant and silence has its reason, and its text is no granting permit by accident."""
    texts = {
        permit.verdict: json.loads(permit.text)
        for plan in make_load("1", 60).plans
        for permit in plan.permits
        if permit.issuer == "p33"
    }

    assert {Verdict.GRANT, Verdict.NOTHING} == {verdict for verdict in Verdict if not reason_for("governor", verdict)}
    assert texts[Verdict.GRANT]["allow"] is True
    assert texts[Verdict.DENY]["allow"] is False
    assert texts[Verdict.MALFORMED]["allow"] is not True or not isinstance(texts[Verdict.MALFORMED]["allow"], bool)

"""Checks of Celery's broker: does somebody read, does nobody else, and does what is lost come back?"""

from collections.abc import Iterator
from typing import Final

from ops.doctor.facts import Facts
from ops.doctor.finding import Said, Severity, check, danger, warning

#: A killed worker's messages come back this long after their visibility timeout, with celeryconfig's sweep.
RESTORE_S: Final = 10.0


@check(Severity.DANGER)
def reachable(facts: Facts) -> Iterator[Said]:
    """Does the broker answer?"""
    if facts.broker.error:
        yield danger(f"the broker gives no answer: {facts.broker.error}", "start it, or correct `APPLY_BROKER_URL`")


@check(Severity.DANGER)
def readers(facts: Facts) -> Iterator[Said]:
    """Is every queue read by a worker? A plan that nobody takes up waits, and then is too old."""
    if facts.broker.error:
        return
    read = {queue for queues in facts.broker.readers.values() for queue in queues}
    read |= {queue for life in facts.state.lives for queue in life.queues}
    for queue, waiting in facts.broker.waiting.items():
        if waiting and queue not in read:
            yield danger(
                f"{waiting} messages wait in queue {queue}, and no worker reads it",
                f"`celery -A workers worker -Q {queue}` (without -Q: all our queues)",
            )
    if not read and not any(facts.broker.waiting.values()):
        yield warning("no worker runs", "`celery -A workers worker`")


@check(Severity.DANGER)
def strangers(facts: Facts) -> Iterator[Said]:
    """Are all workers on this broker ours? Another namespace on the same database or vhost takes our plans."""
    ours = {"execute", "governor", "position"}
    for hostname, queues in facts.broker.readers.items():
        if ours & set(queues) and hostname not in facts.state.workers:
            yield danger(
                f"worker {hostname} reads {', '.join(sorted(ours & set(queues)))} here and is none of namespace "
                f"{facts.settings.namespace}: it takes plans of ours and asks another Redis or namespace about them",
                "give each namespace a broker of its own: `APPLY_BROKER_URL=redis://…/1` (another database, or vhost)",
            )


@check(Severity.WARNING)
def visibility(facts: Facts) -> Iterator[Said]:
    """Is a message delivered again only after its plan must have ended? Earlier it is looked at twice."""
    held_s = (facts.settings.permit_wait_ms + facts.settings.claim_lease_ms) / 1000
    again_s = facts.broker.visibility_s
    if again_s is not None and again_s <= held_s:
        yield warning(
            f"messages are delivered again after {again_s:g} s, and a plan may need {held_s:g} s "
            "(APPLY_PERMIT_WAIT_MS and APPLY_CLAIM_LEASE_MS)",
            f"`APPLY_CLAIM_LEASE_MS={max(1_000, int(again_s * 500) - facts.settings.permit_wait_ms)}`, or a "
            f"visibility_timeout above {held_s:g} in celeryconfig.py",
        )


@check(Severity.DANGER)
def unacknowledged(facts: Facts) -> Iterator[Said]:
    """Do the messages of lost workers come back?"""
    broker = facts.broker
    if broker.visibility_s is not None and broker.oldest_unacked_s > broker.visibility_s + RESTORE_S:
        yield danger(
            f"{broker.unacked} messages are held by workers, the oldest for {broker.oldest_unacked_s:.0f} s: nobody "
            "gives them back",
            "`celery -A workers worker`: any worker restores them within seconds; look at its log for [SET_ASIDE]",
        )

"""One run: break and send for a time, let things settle, count."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Final

import redis

from tests.chaos import counter, report
from tests.chaos.agenda import Agenda
from tests.chaos.breaker import Breaker
from tests.chaos.collect import Reader
from tests.chaos.evidence import Evidence
from tests.chaos.issuers import Issuers
from tests.chaos.journal import Journal
from tests.chaos.load import Load, Plan, make_load, make_probe
from tests.chaos.producers import Producers
from tests.chaos.schedule import make_schedule
from tests.chaos.site import FORKING, WORKERS, Site, open_site

#: A message in the hands of a killed worker comes back after `visibility_timeout`, 30 s, and may do so twice.
SETTLED_WITHIN_S: Final = 100.0
_PROGRESS_S: Final = 5.0
_POLL_S: Final = 0.25
#: Of the last check that every worker works: each takes one of the plans sent meanwhile.
_PROBED_WITHIN_S: Final = 30.0

Say = Callable[[str], None]


@dataclass(frozen=True)
class Verdict:
    """How a run ended; `lines` are the report."""

    good: bool
    lines: tuple[str, ...]


@dataclass(frozen=True)
class _Run:
    """Everything of a run that is alive."""

    site: Site
    journal: Journal
    reader: Reader
    breaker: Breaker
    issuing: Agenda
    sending: Agenda
    breaking: Agenda
    producers: Producers


def run(
    seed: str, seconds: float, folder: Path, say: Say, *, one_server: bool = False, far_venue: bool = False
) -> Verdict:
    """Run, and return when nothing of it is alive any more.

    With `one_server` permits and messages are on the same server; with `far_venue` orders go to a process that is slow,
    late, silent or broken at times, instead of the paper venue.

    Raises:
        TimeoutError: the workers did not start.
    """
    load = make_load(seed, seconds)
    with _opened(seed, folder, say, one_server=one_server, far_venue=far_venue) as alive:
        say("starting the workers")
        alive.site.fleet.start()
        for action in make_schedule(seed, seconds, tuple(WORKERS), FORKING):
            alive.breaking.after(action.at_s, partial(alive.breaker.act, action))
        alive.producers.begin(load)
        _wait(seconds, alive.reader, say)
        alive.breaker.finish()
        alive.breaking.close()
        alive.breaker.mend()
        say("nothing is broken any more; settling")
        alive.site.fleet.await_ready()
        _settle(alive, say)
        probes, idle = _probe(alive, seed, say)
        _settle(alive, say)
        alive.site.fleet.stop()
        sent = replace(load, plans=load.plans + probes)
        return _verdict(alive.reader.evidence(sent, alive.journal, idle), alive)


@contextmanager
def _opened(seed: str, folder: Path, say: Say, *, one_server: bool, far_venue: bool) -> Iterator[_Run]:
    with ExitStack() as at_end:
        site = at_end.enter_context(open_site(folder, seed, one_server=one_server, far_venue=far_venue))
        journal = at_end.enter_context(closing(Journal(folder / "journal.jsonl")))
        reader = at_end.enter_context(closing(Reader(site)))
        reader.give_positions()
        breaker = at_end.enter_context(closing(Breaker(site, journal, seed, say)))
        issuing, sending, breaking = (Agenda(name, 32) for name in ("issuers", "producers", "breaker"))
        issuers = at_end.enter_context(closing(Issuers(site.settings, journal, issuing)))
        producers = at_end.enter_context(closing(Producers(site.settings, journal, issuers, sending)))
        for agenda in (issuing, sending, breaking):
            at_end.callback(agenda.close)
        at_end.callback(breaker.finish)
        yield _Run(site, journal, reader, breaker, issuing, sending, breaking, producers)


def _wait(seconds: float, reader: Reader, say: Say) -> None:
    over = time.monotonic() + seconds
    while (left_s := over - time.monotonic()) > 0:
        time.sleep(min(_PROGRESS_S, left_s))
        say(_progress(reader))


def _progress(reader: Reader) -> str:
    try:
        return reader.progress()
    except redis.RedisError as error:
        return f"a server is away: {type(error).__name__}"


def _settle(alive: _Run, say: Say) -> None:
    """Return when everything is sent and done, or never will be."""
    give_up, said = time.monotonic() + SETTLED_WITHIN_S, time.monotonic()
    while time.monotonic() < give_up:
        if alive.sending.idle() and alive.issuing.idle() and _nothing_left(alive.reader):
            return
        time.sleep(_POLL_S)
        if time.monotonic() - said > _PROGRESS_S:
            said = time.monotonic()
            say(_progress(alive.reader))


def _nothing_left(reader: Reader) -> bool:
    try:
        return not any(reader.left().values())
    except redis.RedisError:
        return False  # a connection that was broken before is noticed at its next use


def _probe(alive: _Run, seed: str, say: Say) -> tuple[tuple[Plan, ...], tuple[str, ...]]:
    """Send plans until every worker has taken one; those plans, and the workers that took none."""
    say("does every worker take plans?")
    probes: list[Plan] = []
    give_up = time.monotonic() + _PROBED_WITHIN_S
    for number in count():
        idle = tuple(unit.name for unit in alive.site.fleet.units if not unit.took(f"{seed}-probe-"))
        if not idle or time.monotonic() > give_up:
            return tuple(probes), idle
        probes.append(make_probe(seed, number))
        alive.producers.begin(Load((probes[-1],), (), ()))
        time.sleep(_POLL_S)
    raise AssertionError("count() does not end")


def _verdict(evidence: Evidence, alive: _Run) -> Verdict:
    findings = counter.count(evidence)
    done = alive.breaker.counts + alive.site.fleet.counts
    lines = (*report.details(evidence, findings), "", *report.table(evidence, done, findings))
    return Verdict(not counter.broken(findings), lines)

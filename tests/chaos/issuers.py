"""Writes what the issuers say about each plan, at its time, and notes it before and after."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import redis

from tasks.address import RedisAddress
from tasks.keys import Keys
from tasks.settings import Settings
from tasks.store import connect
from tests.chaos.agenda import Agenda
from tests.chaos.journal import Journal, Written, now_ms
from tests.chaos.load import Plan
from tests.chaos.permits import Permit, Verdict

#: An issuer tries again until it is answered, this long.
_GIVE_UP_AFTER_S: Final = 10.0
_PAUSE_S: Final = 0.1


class Issuers:
    """Governor, Position State Brain: services of somebody else, as far as the workers are concerned."""

    def __init__(self, settings: Settings, journal: Journal, agenda: Agenda) -> None:
        self._journal, self._agenda = journal, agenda
        self._keys = Keys(settings.namespace)
        self._store = connect(RedisAddress.parse(settings.redis_url), timeout_ms=1_000)

    def judge(self, plan: Plan, in_s: float) -> None:
        """Write this plan's permits, each at its time after the plan is sent in `in_s` from now."""
        for permit in plan.permits:
            self._agenda.after(in_s + permit.after_ms / 1000, self._writer(plan.plan_id, permit))

    def close(self) -> None:
        """Close the connections."""
        self._store.close()

    def _writer(self, plan_id: str, permit: Permit) -> Callable[[], None]:
        key = self._keys.permit(permit.issuer, plan_id)
        if permit.verdict is Verdict.BLOCK_RECORD:
            key = self._keys.governor_block(plan_id)
        written = Written(plan_id, permit.issuer, permit.verdict, sent_ms=0)
        return lambda: self._write(replace(written, sent_ms=now_ms()), key, permit)

    def _write(self, written: Written, key: str, permit: Permit) -> None:
        self._journal.note_writing(written)
        give_up = time.monotonic() + _GIVE_UP_AFTER_S
        while time.monotonic() < give_up:
            try:
                self._store.set(key, permit.text, ex=permit.ttl_s)
            except (redis.RedisError, OSError):
                time.sleep(_PAUSE_S)
            else:
                self._journal.note_written(written)
                return

"""The gate: the one way to look at a plan, consume its permits and record its end, each in one Lua step."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import Any, Final

from tasks import log
from tasks.errors import StoreUnavailable
from tasks.intent import ExecuteIntent
from tasks.judge import Ready, Standing, Stands
from tasks.keys import Keys, client_order_id
from tasks.outcome import STATES, Ending, Outcome, outcome_from_fields, plain
from tasks.reasons import Reason
from tasks.settings import ACK_WAIT_MS, DUE_GRACE_MS, LEDGER_TTL_S, SERVER_TTL_S, STREAM_MAXLEN, Settings
from tasks.stats import counted_as
from tasks.store import Store
from tasks.strictjson import MAX_BYTES

#: Answered on a server that must be met before anything is done on it.
_NEW_SERVER: Final = b"new_server"

#: Of an answer that tells what stands: how many facts stand before the permits.
_FACTS: Final = 8

#: Of a message that was set aside, this many characters are kept.
_EXCERPT = 500

#: Of repeated messages a timeline tells the first few one by one, then the last one and their number.
_REPEATS_TOLD: Final = 3


@dataclass(frozen=True)
class Claim:
    """The right to submit one order for one plan, until `lease_until_ms` (epoch ms, Redis clock)."""

    token: str
    safe_qty: str
    lease_until_ms: int
    wait_ms: int
    attempts: int


@dataclass(frozen=True)
class Consumed:
    """All permits are gone and the claim is ours. The only answer after which an order may leave."""

    claim: Claim


@dataclass(frozen=True)
class Abandoned:
    """Another attempt consumed and was lost; the claim is ours now, to look the order up, never to submit."""

    claim: Claim


@dataclass(frozen=True)
class NotDurable:
    """All permits are gone and the claim is ours, but too few copies of that fact exist: no order may leave."""

    claim: Claim
    acknowledged: int


@dataclass(frozen=True)
class Busy:
    """Another attempt holds the claim for `lease_left_ms` more milliseconds at most."""

    lease_left_ms: int


@dataclass(frozen=True)
class Finished:
    """The plan has its outcome; `fresh` when this very call recorded it."""

    outcome: Outcome
    fresh: bool = False


@dataclass(frozen=True)
class Conflict:
    """The plan id is known with other content."""

    stored: str


Answer = Consumed | NotDurable | Stands | Finished | Conflict | Busy | Abandoned


class Gate:
    """The record of every plan, and the permits in front of it, in one Redis under one namespace."""

    def __init__(self, store: Store, patient: Store, settings: Settings) -> None:
        """Take the store for every call, and a `patient` one whose timeout outlasts acknowledgements."""
        self._store = store
        self._patient = patient
        self._settings = settings
        self.keys: Final = Keys(settings.namespace)

    def look(self, intent: ExecuteIntent, token: str) -> Answer:
        """Register the plan if it is new, and tell what stands. Consumes nothing.

        Raises:
            StoreUnavailable: Redis gave no answer, or an error.
        """
        return self._consume_permits(self._store, intent, token, "look", "", ())

    def consume(self, intent: ExecuteIntent, token: str, ready: Ready) -> Answer:
        """Consume every permit, if exactly the judged bytes and all other conditions still stand; else look.

        Raises:
            StoreUnavailable: Redis gave no answer, or an error; the permits may be consumed under `token`.
        """
        wanted, quantity = self._settings.consume_acks, plain(ready.safe_qty)
        if not wanted:
            return self._consume_permits(self._store, intent, token, "consume", quantity, ready.judged)
        answer = self._consume_permits(self._patient, intent, token, "consume", quantity, ready.judged)
        if isinstance(answer, Consumed):
            acknowledged = self._patient.acknowledgements(wanted, ACK_WAIT_MS)
            if acknowledged < wanted:
                return NotDurable(answer.claim, acknowledged)
        return answer

    def meet_server(self) -> None:
        """Find out whether Redis was restarted or failed over since it was met last, and remember what stood then.

        Called once a second by every worker, so that little of what came after the change is taken for older.

        Raises:
            StoreUnavailable: Redis gave no answer, or an error.
        """
        word, since_ms, *rest = self._store.run(
            "meet_server", [self.keys.server], [self.keys.every_permit, SERVER_TTL_S]
        )
        if word == b"changed":
            log.log_server_changed(since_ms, rest[0])

    def finish(self, ending: Ending, token: str, leaving: str) -> Finished | None:
        """Record how a plan ended, from the state `leaving`; None when it is not in that state (look again).

        Raises:
            StoreUnavailable: Redis gave no answer, or an error; the outcome may be recorded.
        """
        keys, plan_id, symbol, facts = self.keys, ending.plan_id, ending.symbol, ending.fields()
        fill, by_hand = ending.fill, ending.by_hand
        answer = self._store.run(
            "finish_plan",
            [
                keys.record(plan_id),
                keys.open,
                keys.timeline(plan_id),
                keys.results,
                keys.governor_reservation(plan_id),
                keys.governor_exec(symbol),
                keys.ledger(symbol),
                keys.snapshot(symbol),
                keys.position_live(symbol),
                keys.stats,
                keys.audit,
            ],
            [
                leaving,
                STATES[ending.decision],
                token,
                plan_id,
                self._settings.record_ttl_s,
                STREAM_MAXLEN,
                ending.detail,
                "give_back" if ending.without_order else "",
                fill.change if fill and "p33" in self._settings.issuers else "",
                *((fill.order_id, fill.side, fill.qty) if fill else ("", "", "")),
                LEDGER_TTL_S,
                counted_as(ending, self._settings.allowlist),
                *((by_hand.act, by_hand.who, by_hand.why) if by_hand else ("", "", "")),
                *facts,
            ],
        )
        word, *rest = answer
        if word == b"moved":
            return None
        fresh = word == b"finished"
        # From this very call: the rest of the record is what was sent.
        return Finished(_outcome(rest, facts if fresh else ()), fresh=fresh)

    def overdue(self, most: int, skip: int = 0) -> list[str]:
        """Plans without an outcome that should have one by now, the longest overdue first, after `skip` of them.

        Raises:
            StoreUnavailable: Redis gave no answer.
        """
        return self._store.due(self.keys.open, most, skip)

    def record(self, plan_id: str) -> dict[str, str]:
        """The plan's record as text; empty where there is none.

        Raises:
            StoreUnavailable: Redis gave no answer.
        """
        return self._store.hash(self.keys.record(plan_id))

    def set_aside(self, task_id: str, plan_id: str | None, if_known: Reason, ending: Ending, excerpt: str) -> Finished:
        """Put a message aside that must not touch a plan; `ending` is its outcome where no plan is known.

        Raises:
            StoreUnavailable: Redis gave no answer, or an error.
        """
        keys, beside = self.keys, plan_id or task_id
        if ending.reason is None:
            raise ValueError("a message is set aside for a reason")
        facts = [*ending.fields(), "attempts", "0", "wait_ms", "0"]
        word, timestamp = self._store.run(
            "set_aside",
            [
                keys.record(beside),
                keys.timeline(beside),
                keys.rejected,
                keys.results,
                keys.refusal(task_id),
                keys.stats,
            ],
            [
                task_id,
                plan_id or "",
                if_known.value,
                ending.reason.value,
                ending.detail,
                excerpt[:_EXCERPT],
                self._settings.record_ttl_s,
                STREAM_MAXLEN,
                *facts,
            ],
        )
        fields = dict(_pairs(facts)) | {"timestamp": timestamp.decode()}
        if word == b"known":
            fields |= {"plan_id": plan_id or "", "reason": if_known.value, "error": if_known.error}
        return Finished(outcome_from_fields(fields), fresh=word == b"new")

    def keep_junk(self, queue: str, raw: bytes, why: str) -> None:
        """Keep the first bytes of a queue entry that is no message, among the messages set aside.

        Raises:
            StoreUnavailable: Redis gave no answer, or an error.
        """
        facts = {"task_id": "", "plan_id": "", "reason": "undecodable", "detail": why, "queue": queue}
        self._store.append(self.keys.rejected, facts | {"message": ascii(raw[:_EXCERPT])}, STREAM_MAXLEN)
        self._store.count(self.keys.stats, "set_aside:undecodable")

    def note_repeat(self, plan_id: str, token: str) -> None:
        """Count an attempt that was answered with a stored outcome, and tell the plan's timeline; never raises."""
        keys = [self.keys.timeline(plan_id), self.keys.stats]
        with suppress(StoreUnavailable):
            # Sent again it would count twice; one that is lost changes nothing.
            self._store.run("note_repeat", keys, [token, _REPEATS_TOLD], resend=False)

    def look_many(self, looks: Sequence[tuple[ExecuteIntent, str]]) -> list[Answer | StoreUnavailable]:
        """`look` at several plans (each with its token) in one round trip; never raises, each has its own answer.

        An abandoned claim is not taken over: it is `Busy` with nothing left, for an attempt to find.
        """
        calls = [self._call(intent, token, "peek", "", ()) for intent, token in looks]
        answers = self._store.run_many("consume_permits", calls)
        if [_NEW_SERVER] in answers:
            try:
                self.meet_server()
            except StoreUnavailable as error:
                return [error] * len(looks)
            answers = self._store.run_many("consume_permits", calls)
        return [self._read_one(answer, token) for answer, (_, token) in zip(answers, looks, strict=True)]

    def _read_one(self, answer: list[Any] | StoreUnavailable, token: str) -> Answer | StoreUnavailable:
        try:
            return answer if isinstance(answer, StoreUnavailable) else _read(answer, token, self._settings.permits)
        except StoreUnavailable as error:
            return error

    def _consume_permits(
        self, store: Store, intent: ExecuteIntent, token: str, mode: str, safe_qty: str, judged: Sequence[bytes]
    ) -> Answer:
        call = self._call(intent, token, mode, safe_qty, judged)
        answer = store.run("consume_permits", *call)
        if answer == [_NEW_SERVER]:
            self.meet_server()
            answer = store.run("consume_permits", *call)
        return _read(answer, token, self._settings.permits)

    def _call(
        self, intent: ExecuteIntent, token: str, mode: str, safe_qty: str, judged: Sequence[bytes]
    ) -> tuple[list[str], list[object]]:
        """Keys and arguments of `lua/consume_permits.lua`."""
        keys, settings, plan_id = self.keys, self._settings, intent.plan_id
        created_ms = intent.created_at_ms
        return (
            [
                keys.record(plan_id),
                keys.open,
                keys.timeline(plan_id),
                keys.kill_switch,
                keys.governor_block(plan_id),
                keys.server,
                keys.stats,
                *(keys.permit(name, plan_id) for name in settings.permits),
            ],
            [
                token,
                plan_id,
                intent.content,
                intent.text,
                settings.permit_wait_ms,
                settings.claim_lease_ms,
                DUE_GRACE_MS,
                settings.permit_max_ttl_ms,
                MAX_BYTES,
                settings.record_ttl_s,
                "" if created_ms is None else created_ms,
                settings.plan_max_age_ms,
                client_order_id(plan_id) if mode == "consume" else "",
                mode,
                safe_qty,
                *judged,
            ],
        )


def _read(answer: list[Any], token: str, permits: tuple[str, ...]) -> Answer:
    word, *rest = answer
    if word == b"consumed":
        return Consumed(_claim(rest, token))
    if word == b"finished":
        return Finished(_outcome(rest))
    if word == b"abandoned":
        return Abandoned(_claim(rest, token))
    if word == b"busy":
        return Busy(rest[0])
    if word == b"conflict":
        return Conflict(rest[0].decode(errors="replace"))
    if word != b"stands":
        raise StoreUnavailable(f"consume_permits: an answer this version does not know: {word!r}")
    now_ms, taken_up_ms, deadline_ms, attempts, switch, block, known_ms, since_ms = rest[:_FACTS]
    return Stands(
        now_ms=now_ms,
        taken_up_ms=taken_up_ms,
        deadline_ms=deadline_ms,
        attempts=attempts,
        first=attempts == 1,
        switch=switch,
        block_record=block[1:] if block else None,
        permits=tuple(_standings(rest[_FACTS:], permits)),
        known_ms=known_ms,
        server_since_ms=since_ms,
    )


def _claim(rest: list[Any], token: str) -> Claim:
    _consumed_ms, lease_until_ms, safe_qty, attempts, wait_ms = rest
    return Claim(token, safe_qty.decode(), lease_until_ms, wait_ms, attempts)


def _standings(rest: list[Any], permits: tuple[str, ...]) -> Iterator[Standing]:
    for place, name in enumerate(permits):
        kind, ttl_ms, size, raw, from_before = rest[5 * place : 5 * place + 5]
        yield Standing(name, kind.decode(), ttl_ms, size, raw, bool(from_before))


def _outcome(rest: list[bytes], sent: Sequence[str] = ()) -> Outcome:
    texts = [part.decode(errors="replace") for part in rest]
    try:
        return outcome_from_fields(dict(_pairs([*texts, *sent])))
    except (KeyError, ValueError) as error:
        raise StoreUnavailable(f"the record of a finished plan cannot be read: {error!r}") from error


def _pairs(flat: Sequence[str]) -> Iterator[tuple[str, str]]:
    return ((left, right) for place, (left, right) in enumerate(pairwise(flat)) if place % 2 == 0)


def quantity_of(claim: Claim) -> Decimal:
    """The quantity a claim was made for, exactly."""
    return Decimal(claim.safe_qty)

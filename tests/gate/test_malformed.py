"""Malformed permits, one by one: each ends its own plan for a stated cause, deletes nothing, hurts no other plan."""

import json
from collections.abc import Callable

import pytest
import redis

from tasks.act import execute_once
from tasks.keys import Keys
from tasks.outcome import Outcome
from tasks.parts import Parts
from tasks.settings import Settings, read_settings
from tests.helpers import GOVERNOR, P33, grant, hold, intent_of, orders_of, record_of, run_to_outcome, stream

GRANTING = {"governor": GOVERNOR, "p33": P33, "p26": '{"granted": true, "symbol": "BTCUSDT"}'}
SIZE_LIMIT = 16 * 1024


def governor(*fields: str) -> str:
    """A granting governor permit with `fields` of raw JSON at its end."""
    return "{" + ", ".join(['"granted": true', '"symbol": "BTCUSDT"', *fields]) + "}"


def p33(*fields: str, qty: str = "0.008") -> str:
    """A granting p33 permit for `qty` (raw JSON) with `fields` of raw JSON at its end."""
    return "{" + ", ".join(['"allow": true', '"symbol": "BTCUSDT"', f'"safe_close_qty": {qty}', *fields]) + "}"


def padded(size: int) -> str:
    """A granting governor permit of exactly `size` bytes."""
    rest = size - len(governor('"note": ""'))
    return governor(f'"note": "{"x" * rest}"')


#: Bytes that are no permit whoever wrote them, and what the operator is told.
NOT_A_DOCUMENT: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "not JSON"),
    "blank": (" \n", "not JSON"),
    "no JSON": ("granted", "not JSON"),
    "truncated": (GOVERNOR[:-1], "not JSON"),
    "truncated in a text": (GOVERNOR[:30], "not JSON"),
    "trailing comma": ('{"granted": true, "symbol": "BTCUSDT",}', "not JSON"),
    "single quotes": ("{'granted': true, 'symbol': 'BTCUSDT'}", "not JSON"),
    "two documents": (GOVERNOR * 2, "not JSON: Extra data"),
    "hexadecimal": (governor('"computed_qty": 0x10'), "not JSON"),
    "plus sign": (governor('"computed_qty": +1'), "not JSON"),
    "leading zero": (governor('"computed_qty": 007'), "not JSON"),
    "byte order mark": (b"\xef\xbb\xbf" + GOVERNOR.encode(), "BOM"),
    "UTF-16": (GOVERNOR.encode("utf-16"), "not UTF-8 at byte 0"),
    "invalid UTF-8": (GOVERNOR.encode().replace(b"BTC", b"B\xffC"), "not UTF-8 at byte"),
    "surrogate bytes": (governor('"note": "?"').encode().replace(b"?", b"\xed\xa0\x80"), "not UTF-8 at byte"),
    "control character": (governor('"note": "\x01"'), "not JSON: Invalid control character"),
    "duplicate key": ('{"granted": false, "granted": true, "symbol": "BTCUSDT"}', "duplicate key 'granted'"),
    "duplicate key inside": (governor('"context": {"a": 1, "a": 2}'), "duplicate key 'a'"),
    "one": ("1", "a JSON object was expected, found 1 (a number)"),
    "text": ('"granted"', "a JSON object was expected, found 'granted' (text)"),
    "list": (f"[{GOVERNOR}]", "a JSON object was expected, found [{"),
    "null": ("null", "a JSON object was expected, found None (null)"),
    "true": ("true", "a JSON object was expected, found True (a boolean)"),
    "NaN alone": ("NaN", "a JSON object was expected, found NaN"),
    "NaN in a field nobody reads": (governor('"created_at": NaN'), "'created_at' is not a finite number"),
    "infinity deep inside": (governor('"context": [{"a": -Infinity}]'), "'context' is not a finite number"),
    "exponent beyond every number": (governor('"score": 1e99999999999999999999'), "not a usable number"),
    "17 levels": (governor(f'"context": {"[" * 16}{"]" * 16}'), "nested deeper than 16 levels"),
    "7000 levels": ("[" * 7000 + "]" * 7000, "nested deeper than 16 levels"),
    "10000 levels, unclosed": ('{"a":' * 2000 + "[" * 6000, "nested deeper than 16 levels"),
    "quotes without end": ('"' + '\\"' * 8000, "not JSON"),
    "one byte too large": (padded(SIZE_LIMIT + 1), "16385 bytes, at most 16384 are read"),
    "a megabyte": (padded(1024 * 1024), "1048576 bytes, at most 16384 are read"),
}

#: Well formed documents of the wrong form, by permit.
WRONG_FORM: dict[str, dict[str, tuple[str, str]]] = {
    "governor": {
        "granted 1": ('{"granted": 1, "symbol": "BTCUSDT"}', "granted: found 1 (a number)"),
        "granted text": ('{"granted": "true", "symbol": "BTCUSDT"}', "granted: found 'true' (text)"),
        "granted null": ('{"granted": null, "symbol": "BTCUSDT"}', "granted: found None (null)"),
        "granted absent": ('{"symbol": "BTCUSDT"}', "granted: absent"),
        "granted by another name": ('{"allow": true, "symbol": "BTCUSDT"}', "granted: absent"),
        "granted inside": ('{"permit": {"granted": true, "symbol": "BTCUSDT"}}', "absent"),
        "symbol absent": ('{"granted": true}', "symbol: absent"),
        "symbol number": ('{"granted": true, "symbol": 1}', "symbol: found 1 (a number)"),
        "symbol list": ('{"granted": true, "symbol": ["BTCUSDT"]}', "symbol: found ['BTCUSDT'] (a list)"),
        "plan id null": (governor('"plan_id": null'), "plan_id: found None (null)"),
        "plan id number": (governor('"plan_id": 7'), "plan_id: found 7 (a number)"),
        "consumed": (governor('"consumed": true'), "consumed: found true"),
        "consumed text": (governor('"consumed": "false"'), "consumed: found 'false' (text)"),
        "consumed 0": (governor('"consumed": 0'), "consumed: found 0 (a number)"),
        "consumed null": (governor('"consumed": null'), "consumed: found None (null)"),
        "decision SKIP": (governor('"decision": "SKIP"'), "decision: found 'SKIP'"),
        "decision lower case": (governor('"decision": "execute"'), "decision: found 'execute'"),
        "decision null": (governor('"decision": null'), "decision: found None (null)"),
        "computed_qty text": (governor('"computed_qty": "0.02"'), "computed_qty: found '0.02' (text)"),
        "computed_qty NaN": (governor('"computed_qty": NaN'), "'computed_qty' is not a finite number"),
        "computed_qty infinite": (governor('"computed_qty": Infinity'), "'computed_qty' is not a finite number"),
        "computed_qty negative": (governor('"computed_qty": -0.02'), "computed_qty: found -0.02 (a number)"),
        "computed_qty boolean": (governor('"computed_qty": true'), "computed_qty: found True (a boolean)"),
        "computed_qty null": (governor('"computed_qty": null'), "computed_qty: found None (null)"),
        "computed_qty 30 digits": (governor(f'"computed_qty": {"1" * 30}'), "28 digits"),
        "computed_qty huge": (governor('"computed_qty": 1e999'), "computed_qty: found 1E+999"),
    },
    "p33": {
        "allow 1": ('{"allow": 1, "symbol": "BTCUSDT", "safe_close_qty": 0.008}', "allow: found 1 (a number)"),
        "allow text": ('{"allow": "true", "symbol": "BTCUSDT", "safe_close_qty": 0.008}', "allow: found 'true' (text)"),
        "allow text false": ('{"allow": "false", "symbol": "BTCUSDT"}', "allow: found 'false' (text)"),
        "allow absent": ('{"symbol": "BTCUSDT", "safe_close_qty": 0.008}', "allow: absent"),
        "allow NaN": ('{"allow": NaN, "symbol": "BTCUSDT", "safe_close_qty": 0.008}', "'allow' is not a finite number"),
        "symbol absent": ('{"allow": true, "safe_close_qty": 0.008}', "symbol: absent"),
        "symbol null": ('{"allow": true, "symbol": null, "safe_close_qty": 0.008}', "symbol: found None (null)"),
        "plan id list": (p33('"plan_id": ["plan-1"]'), "plan_id: found ['plan-1'] (a list)"),
        "position text": (p33('"exchange_position_amt": "0.062"'), "exchange_position_amt: found '0.062' (text)"),
        "position NaN": (p33('"exchange_position_amt": NaN'), "'exchange_position_amt' is not a finite number"),
        "position null": (p33('"exchange_position_amt": null'), "exchange_position_amt: found None (null)"),
        "position true": (p33('"exchange_position_amt": true'), "exchange_position_amt: found True (a boolean)"),
        "position 30 digits": (p33(f'"exchange_position_amt": {"9" * 30}'), "28 digits"),
    },
    "p26": {
        "the bare 1": ("1", "a JSON object was expected, found 1 (a number)"),
        "granted 1": ('{"granted": 1, "symbol": "BTCUSDT"}', "granted: found 1 (a number)"),
        "granted absent": ('{"symbol": "BTCUSDT"}', "granted: absent"),
        "symbol absent": ('{"granted": true}', "symbol: absent"),
        "plan id number": ('{"granted": true, "symbol": "BTCUSDT", "plan_id": 1}', "plan_id: found 1 (a number)"),
    },
}

#: p33 permits that allow an unusable quantity.
BAD_QUANTITY: dict[str, tuple[str, str]] = {
    "absent": ('{"allow": true, "symbol": "BTCUSDT"}', "safe_close_qty: absent"),
    "NaN": (p33(qty="NaN"), "found NaN (a number)"),
    "Infinity": (p33(qty="Infinity"), "found Infinity (a number)"),
    "-Infinity": (p33(qty="-Infinity"), "found -Infinity (a number)"),
    "1e999": (p33(qty="1e999"), "found 1E+999 (a number); not a usable number"),
    "1e-999": (p33(qty="1e-999"), "found 1E-999 (a number); not a usable number"),
    "1e1000000": (p33(qty="1e1000000"), "found 1E+1000000 (a number); not a usable number"),
    "30 digits": (p33(qty="1" * 30), "not a usable number"),
    "30 decimals": (p33(qty="0." + "1" * 30), "not a usable number"),
    "-1": (p33(qty="-1"), "safe_close_qty -1 is -1 after rounding down to 0.001"),
    "0": (p33(qty="0"), "safe_close_qty 0 is 0 after rounding down to 0.001"),
    "-0.0": (p33(qty="-0.0"), "after rounding down to 0.001"),
    "0.0004": (p33(qty="0.0004"), "safe_close_qty 0.0004 is 0 after rounding down to 0.001"),
    "text": (p33(qty='"0.008"'), "found '0.008' (text); expected a JSON number"),
    "true": (p33(qty="true"), "found True (a boolean); expected a JSON number"),
    "false": (p33(qty="false"), "found False (a boolean); expected a JSON number"),
    "null": (p33(qty="null"), "found None (null); expected a JSON number"),
    "object": (p33(qty='{"qty": 0.008}'), "(an object); expected a JSON number"),
    "list": (p33(qty="[0.008]"), "(a list); expected a JSON number"),
    "list with NaN": (p33(qty="[NaN]"), "(a list); expected a JSON number"),
    "above the position": (
        p33('"exchange_position_amt": 0.007'),
        "safe_close_qty 0.008 is above the position 0.007",
    ),
    "above a short position": (
        p33('"exchange_position_amt": -0.007'),
        "safe_close_qty 0.008 is above the position -0.007",
    ),
    "no position": (p33('"exchange_position_amt": 0'), "safe_close_qty 0.008 is above the position 0"),
    "a digit above the position": (
        p33('"exchange_position_amt": 0.0080000000000000000000', qty="0.0080000000000000000001"),
        "is above the position",
    ),
}

#: Another value than the plan's, in a permit of the right form.
MISMATCH: dict[str, tuple[str, str, str, str]] = {
    "symbol lower case": ("governor", governor().replace("BTC", "btc"), "permit_symbol_mismatch", "'btcUSDT'"),
    "symbol empty": ("governor", governor().replace("BTCUSDT", ""), "permit_symbol_mismatch", "symbol ''"),
    "symbol with blank": ("p33", p33().replace("BTCUSDT", "BTCUSDT "), "permit_symbol_mismatch", "'BTCUSDT '"),
    "symbol lone surrogate": (
        "p33",
        p33().replace("BTCUSDT", "\\ud800"),
        "permit_symbol_mismatch",
        "'\\ud800'",
    ),
    "plan id empty": ("governor", governor('"plan_id": ""'), "permit_plan_mismatch", "plan '' (text), not plan-1"),
    "plan id upper case": ("p33", p33('"plan_id": "PLAN-1"'), "permit_plan_mismatch", "'PLAN-1'"),
    "plan id lone surrogate": ("p33", p33('"plan_id": "\\udfff"'), "permit_plan_mismatch", "'\\udfff'"),
    "above the Governor": (
        "governor",
        governor('"computed_qty": 0.0079'),
        "qty_above_governor_limit",
        "0.008 to close, the Governor computed 0.0079",
    ),
}

ALL_CASES = [
    *(
        pytest.param(name, raw, f"invalid_{name}_permit", told, id=f"{name}: {case}")
        for case, (raw, told) in NOT_A_DOCUMENT.items()
        for name in GRANTING
    ),
    *(
        pytest.param(name, raw, f"invalid_{name}_permit", told, id=f"{name}: {case}")
        for name, cases in WRONG_FORM.items()
        for case, (raw, told) in cases.items()
    ),
    *(
        pytest.param("p33", raw, "invalid_safe_qty", told, id=f"quantity: {case}")
        for case, (raw, told) in BAD_QUANTITY.items()
    ),
    *(
        pytest.param(name, raw, reason, told, id=f"{name}: {case}")
        for case, (name, raw, reason, told) in MISMATCH.items()
    ),
]


@pytest.fixture
def executor(settings: Settings, make_parts: Callable[[Settings], Parts]) -> Parts:
    """An executor that requires every permit there is."""
    return make_parts(
        read_settings(
            redis_url=settings.redis_url, namespace=settings.namespace, mode="paper", permits="p26", _env_file=None
        )
    )


def grant_all(client: redis.Redis, keys: Keys, plan_id: str) -> None:
    """Write all three permits, each granting."""
    grant(client, keys, plan_id)
    client.set(keys.permit("p26", plan_id), GRANTING["p26"], ex=60)


def dumps(client: redis.Redis, keys: Keys) -> list[bytes | None]:
    """What stands in the permit keys of plan-1, as the server would write it to disk."""
    return [client.dump(keys.permit(name, "plan-1")) for name in GRANTING]


def assert_blocked(client: redis.Redis, keys: Keys, outcome: Outcome, reason: str, told: str) -> None:
    """The plan ended for `reason`, nothing was ordered, and record and timeline tell what was found."""
    record, timeline = record_of(client, keys, "plan-1"), stream(client, keys.timeline("plan-1"))

    assert ("BLOCKED", reason, False) == (outcome.decision, outcome.reason, outcome.executed)
    assert told in record["detail"]
    assert ("ended", record["detail"]) == (timeline[-1]["event"], timeline[-1]["detail"])
    assert [] == orders_of(client, keys)


def assert_lives(client: redis.Redis, keys: Keys, executor: Parts) -> None:
    """The next plan, with good permits, executes in the same executor."""
    grant_all(client, keys, "plan-2")

    assert "EXECUTE" == run_to_outcome(executor, intent_of("plan-2")).decision
    assert ["plan-2"] == [order["plan_id"] for order in orders_of(client, keys)]


@pytest.mark.parametrize(("name", "raw", "reason", "told"), ALL_CASES)
@pytest.mark.fault("F22")
def test_a_malformed_permit_blocks(
    client: redis.Redis, keys: Keys, executor: Parts, name: str, raw: str | bytes, reason: str, told: str
) -> None:
    """It ends its plan for the right reason and says what was found; nothing is deleted, the executor goes on."""
    hold(client, keys)
    grant_all(client, keys, "plan-1")
    client.set(keys.permit(name, "plan-1"), raw, ex=60)
    before = dumps(client, keys)

    outcome = run_to_outcome(executor, intent_of())

    assert before == dumps(client, keys)
    assert_blocked(client, keys, outcome, reason, told)
    assert_lives(client, keys, executor)


@pytest.mark.parametrize("kind", ["hash", "list", "set", "zset", "stream"])
@pytest.mark.parametrize("name", GRANTING)
@pytest.mark.fault("F24")
def test_a_permit_of_another_redis_type_blocks(
    client: redis.Redis, keys: Keys, executor: Parts, name: str, kind: str
) -> None:
    """A key that holds no text is refused by its type, and left as it is."""
    hold(client, keys)
    grant_all(client, keys, "plan-1")
    key, text = keys.permit(name, "plan-1"), GRANTING[name]
    client.delete(key)
    writers: dict[str, Callable[[], object]] = {
        "hash": lambda: client.hset(key, mapping={"granted": "true", "symbol": "BTCUSDT"}),
        "list": lambda: client.rpush(key, text),
        "set": lambda: client.sadd(key, text),
        "zset": lambda: client.zadd(key, {text: 1}),
        "stream": lambda: client.xadd(key, {"permit": text}),
    }
    writers[kind]()
    client.expire(key, 60)
    before = dumps(client, keys)

    outcome = run_to_outcome(executor, intent_of())

    assert before == dumps(client, keys)
    assert_blocked(client, keys, outcome, f"invalid_{name}_permit", f"found a Redis {kind}, expected a STRING")
    assert_lives(client, keys, executor)


ACCEPTED = {
    "exactly 16 KiB": (padded(SIZE_LIMIT), P33, "0.008"),
    "fields nobody knows": (governor('"vendor": {"a": [1, null]}'), p33('"ledger_amt": 1e999'), "0.008"),
    "brackets in a text": (governor(f'"note": "{"[" * 9000}"'), P33, "0.008"),
    "NaN in a text": (governor('"note": "NaN, \\"Infinity\\""'), P33, "0.008"),
    "blanks around": (f" \r\n\t{GOVERNOR}\n", P33, "0.008"),
    "escaped keys": (GOVERNOR.replace("granted", "grante\\u0064"), P33, "0.008"),
    "the limit reached after rounding": (governor('"computed_qty": 0.008'), p33(qty="0.0089999"), "0.008"),
    "a limit of zero states none": (governor('"computed_qty": 0'), P33, "0.008"),
    "the whole position": (GOVERNOR, p33('"exchange_position_amt": 0.062', qty="0.062"), "0.062"),
    "the whole short position": (GOVERNOR, p33('"exchange_position_amt": -0.062', qty="0.062"), "0.062"),
    "no position stated": (GOVERNOR, p33(), "0.008"),
    "an exponent": (GOVERNOR, p33(qty="8e-3"), "0.008"),
    "a binary fraction's long tail": (GOVERNOR, p33(qty="0.01700000000000000012"), "0.017"),
}


@pytest.mark.parametrize(("governor_permit", "p33_permit", "qty"), ACCEPTED.values(), ids=ACCEPTED)
@pytest.mark.fault("F22", promise="what the contract allows executes")
def test_an_unusual_but_well_formed_permit_counts(
    client: redis.Redis, keys: Keys, parts: Parts, governor_permit: str, p33_permit: str, qty: str
) -> None:
    """Strictness ends where the contract's form is kept: these permits execute, for exactly this quantity."""
    hold(client, keys)
    grant(client, keys, "plan-1", governor_permit, p33_permit)

    outcome = run_to_outcome(parts, intent_of())

    assert ("", qty) == (outcome.reason, outcome.safe_qty)
    assert [qty] == [order["qty"] for order in orders_of(client, keys)]


@pytest.mark.parametrize("qty", ["1e24", "1e27", "9999999999999999999999999999"])
def test_a_quantity_beyond_every_market_still_ends_its_plan(
    client: redis.Redis, keys: Keys, parts: Parts, qty: str
) -> None:
    """The largest quantities that are well formed are consumed for and answered by the venue, not by a crash."""
    hold(client, keys)
    grant(client, keys, "plan-1", p33=p33(qty=qty))

    outcome = run_to_outcome(parts, intent_of())

    assert ("REJECTED", "order_rejected") == (outcome.decision, outcome.reason)
    assert json.loads(outcome.model_dump_json())["safe_qty"].isdigit()
    assert [] == orders_of(client, keys)


@pytest.mark.parametrize("spoil", ["step", "type"])
@pytest.mark.parametrize("end", ["kill_switch", "governor_denied", "invalid_p33_permit", "deadline_passed"])
def test_a_venue_that_cannot_be_asked_keeps_no_plan_open(
    client: redis.Redis, keys: Keys, parts: Parts, end: str, spoil: str
) -> None:
    """Whatever ends a plan without a look at its quantity ends it, though the venue cannot tell its step."""
    if spoil == "step":
        client.hset(keys.paper_position("BTCUSDT"), mapping={"position_amt": "0.062", "step": "fine"})
    else:
        client.set(keys.paper_position("BTCUSDT"), "0.062")
    execute_once(parts, intent_of())
    grant(client, keys, "plan-1")
    if end == "kill_switch":
        client.set(keys.kill_switch, "true")
    elif end == "governor_denied":
        client.set(keys.permit("governor", "plan-1"), GOVERNOR.replace("true", "false"), ex=60)
    elif end == "invalid_p33_permit":
        client.set(keys.permit("p33", "plan-1"), "1", ex=60)
    else:
        client.hset(keys.record("plan-1"), "deadline_ms", "0")

    outcome = execute_once(parts, intent_of())

    assert isinstance(outcome, Outcome)
    assert end == outcome.reason
    assert 2 == client.exists(keys.permit("governor", "plan-1"), keys.permit("p33", "plan-1"))

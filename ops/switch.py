"""`permitwait halt` and `permitwait resume`: the kill switch, with who, why and when."""

from datetime import UTC, datetime
from typing import Any

from ops import screen
from tasks.address import RedisAddress
from tasks.judge import SWITCH_OFF
from tasks.keys import Keys
from tasks.settings import STREAM_MAXLEN, Settings, person
from tasks.store import Store, connect


def halt(settings: Settings, reason: str, *, as_json: bool) -> int:
    """Set the switch: no order leaves from now on; waiting plans end as `kill_switch`. Exit code 0.

    Raises:
        StoreUnavailable: Redis gave no answer: the switch may not be set.
    """
    store, keys = _store(settings), Keys(settings.namespace)
    if store.text(keys.kill_switch) not in SWITCH_OFF:
        screen.say(f"it was set already, {_by(store.hash(keys.kill_switch_info))}")
    info = {"who": person(), "why": reason, "when": f"{store.now_s():.3f}"}
    store.set_switch(keys.kill_switch, keys.kill_switch_info, info, keys.audit, STREAM_MAXLEN)
    _tell({"halted": True, **info}, "halted: no order leaves; `permitwait resume` clears it", as_json=as_json)
    return 0


def resume(settings: Settings, *, yes: bool, as_json: bool) -> int:
    """Clear the switch after it was confirmed. Exit code 0 where it is off afterwards, else 1.

    Raises:
        StoreUnavailable: Redis gave no answer: the switch may still be set.
    """
    store, keys = _store(settings), Keys(settings.namespace)
    value = store.text(keys.kill_switch)
    info = store.hash(keys.kill_switch_info)
    if value in SWITCH_OFF:
        _tell({"halted": False}, "the kill switch is not set", as_json=as_json)
        return 0
    screen.say(f"the kill switch is {value.decode(errors='replace')!a}, {_by(info)}")
    if not yes and not screen.confirmed("Let plans execute again?"):
        _tell({"halted": True, **info}, "nothing was changed", as_json=as_json)
        return 1
    facts = {"who": person(), "why": f"was {_by(info)}", "when": f"{store.now_s():.3f}"}
    store.clear_switch(keys.kill_switch, keys.kill_switch_info, facts, keys.audit, STREAM_MAXLEN)
    _tell({"halted": False, **facts}, "resumed: plans may execute again", as_json=as_json)
    return 0


def _by(info: dict[str, str]) -> str:
    return f"set by {info.get('who', 'unknown')} {when(info.get('when', ''))}: {info.get('why', 'no reason given')}"


def when(epoch_s: str) -> str:
    """Epoch seconds as a person reads them, UTC."""
    try:
        return datetime.fromtimestamp(float(epoch_s), UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return "at an unknown time"


def _tell(document: dict[str, Any], message: str, *, as_json: bool) -> None:
    if as_json:
        screen.data(document)
    else:
        screen.out.print(message, markup=False)


def _store(settings: Settings) -> Store:
    return Store(connect(RedisAddress.parse(settings.redis_url), timeout_ms=2_000))

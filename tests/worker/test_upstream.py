"""What our transport replaces of kombu, and relies on in it, is still what it was written for."""

import hashlib
import inspect
from importlib.metadata import version

import pytest
from kombu.transport import redis as stock
from kombu.transport import virtual

pytestmark = pytest.mark.broker("redis")

#: Upstream as this transport knows it; after a change here read the new source first.
UPSTREAM: dict[type, dict[str, str]] = {
    stock.Channel: {
        "_brpop_read": "(self, **options)",
        "_brpop_start": "(self, timeout=None)",
        "_get": "(self, queue)",
        "_maybe_update_queues_expire": "(self, client, queue)",
        "_q_for_pri": "(self, queue, pri)",
        "_receive_one": "(self, c)",
        "conn_or_acquire": "(self, client=None)",
    },
    stock.QoS: {
        "_remove_from_indices": "(self, delivery_tag, pipe=None)",
        "reject": "(self, delivery_tag, requeue=False)",
        "restore_by_tag": "(self, tag, client=None, leftmost=False)",
    },
    virtual.Transport: {"_deliver": "(self, message, queue)"},
    virtual.Message: {"__init__": "(self, payload, channel=None, **kwargs)"},
}

#: First digits of the SHA-256 of the source of what is replaced as a whole, or whose workings are relied on.
REPLACED: dict[type, dict[str, str]] = {
    stock.Channel: {
        "_brpop_read": "c42518699709f2df",
        "_brpop_start": "06723d707ddf2240",
        "_get": "be26a9f1eb4cf8da",
        "_do_restore_message": "8b430df94e45b5b0",
        "close": "101e9b9cdad44b88",
    },
    stock.MultiChannelPoller: {
        "_register_BRPOP": "85724582464a615f",
        "_update_brpop_polling": "de7b4600acf540fb",
        "_pause_brpop": "58133695f1a9f4fb",
        "on_poll_start": "414f76caaa675bc0",
        "on_readable": "c0d99f241607f845",
        "maybe_check_brpop_health": "0dc592e46353a0fc",
    },
    stock.Transport: {"register_with_event_loop": "4b835642e4a99425"},
    stock.QoS: {
        "append": "35c655f6ecc62fe6",
        "restore_visible": "d4a4a40a3eaf9f23",
    },
}


def test_upstream_is_what_we_know() -> None:
    """Another kombu, or other internals than those we override and call, fail here and not in a worker."""
    found = {
        kind: {name: str(inspect.signature(vars(kind)[name])) for name in names} for kind, names in UPSTREAM.items()
    }
    sources = {
        kind: {name: hashlib.sha256(inspect.getsource(vars(kind)[name]).encode()).hexdigest()[:16] for name in names}
        for kind, names in REPLACED.items()
    }

    assert ["5", "7"] == version("kombu").split(".")[:2]
    assert UPSTREAM == found
    assert sources == REPLACED
    assert "_callbacks" in vars(virtual.Transport)
    assert {"_delivered", "_dirty"} <= vars(virtual.QoS).keys()
    assert {"_closing", "_in_poll", "priority_steps", "sep"} <= vars(stock.Channel).keys()
    assert "_queue_cycle" in inspect.getsource(vars(stock.Channel)["__init__"])

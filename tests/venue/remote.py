"""The test venue's adapter: what an exchange adapter must be to the gate, over a Unix socket."""

import json
import socket
from decimal import Decimal
from pathlib import Path
from signal import SIGSTOP, pthread_kill
from threading import get_ident
from typing import Any, Final

from tasks.consume import Claim
from tasks.errors import StoreUnavailable
from tasks.venues import Order, Position, Receipt

#: A plan whose id begins so: the process that submits it stops itself (SIGSTOP) right before its request leaves.
FREEZE: Final = "freeze"


def ask(path: Path, timeout_ms: int, **request: Any) -> dict[str, Any]:
    """Send one request to the venue's process and read its answer.

    Raises:
        OSError: no answer in time, or none at all.
    """
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(timeout_ms / 1000)
        line.connect(str(path))
        line.sendall(json.dumps(request).encode() + b"\n")
        answer = line.makefile("rb").readline()
    if not answer:
        raise ConnectionResetError("the venue closed the connection")
    told: dict[str, Any] = json.loads(answer)
    return told


class RemoteVenue:
    """See `tasks.venues.Venue`. Does not look at the window itself: the venue has to refuse what comes late."""

    name = "far"
    checks_claim = False

    def __init__(
        self, path: Path, *, timeout_ms: int = 1_000, window_ms: int = 1_000, shows_within_ms: int = 2_000
    ) -> None:
        self._path, self._timeout_ms = path, timeout_ms
        self.window_ms, self.shows_within_ms = window_ms, shows_within_ms

    def position(self, symbol: str) -> Position:
        """See `Venue.position`."""
        told = self._asked(op="position", symbol=symbol)
        return Position(Decimal(told["amt"]), Decimal(told["price"]))

    def step(self, symbol: str) -> Decimal:  # noqa: ARG002 - the protocol's
        """See `Venue.step`."""
        return Decimal("0.001")

    def submit(self, order: Order, claim: Claim) -> Receipt:  # noqa: ARG002 - the protocol's
        """See `Venue.submit`."""
        window = order.window
        if window is None:
            raise ValueError("an order for this venue needs a window")
        if order.plan_id.startswith(FREEZE):
            # To this very thread: otherwise it may run on for a moment, and the request leaves.
            pthread_kill(get_ident(), SIGSTOP)
        told = ask(
            self._path,
            self._timeout_ms,
            op="order",
            client_order_id=order.client_order_id,
            plan_id=order.plan_id,
            symbol=order.symbol,
            qty=f"{order.qty:f}",
            until_ms=window.until_ms,
        )
        return Receipt("unknown", message="failed") if told["answer"] == "failed" else Receipt(**told)

    def lookup(self, order: Order) -> Receipt | None:
        """See `Venue.lookup`."""
        told = self._asked(op="lookup", client_order_id=order.client_order_id, plan_id=order.plan_id)
        return None if told["answer"] == "missing" else Receipt(**told)

    def _asked(self, **request: Any) -> dict[str, Any]:
        try:
            told = ask(self._path, self._timeout_ms, **request)
        except OSError as error:
            raise StoreUnavailable(f"test venue: {type(error).__name__}: {error}") from error
        if told.get("answer") == "failed":
            raise StoreUnavailable("test venue: failed")
        return told

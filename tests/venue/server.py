"""A venue in a process of its own: `python -m tests.venue.server SOCKET JOURNAL [--seed S --mix accept=9,hang=1]`.

One JSON line per request, one per answer, one connection each. Every accepted order is one line in JOURNAL before
anything else happens to it: a doubled submission shows, nothing is deduplicated. What was refused is in
JOURNAL.refused. A venue that is killed and started again on its journal knows its orders.
"""

import argparse
import json
import os
import socket
import socketserver
import struct
import time
from decimal import Decimal
from pathlib import Path
from threading import Lock
from typing import Any, Final

from tests.venue.behaviour import Behaviour, Reply, chosen

#: Held of every symbol that was never set.
DEFAULT_POSITION: Final = "1000000"
PRICE: Final = "50000"


def now_ms() -> int:
    """The machine's clock, which is Redis' too."""
    return time.time_ns() // 1_000_000


class Book:
    """Orders and positions, behind one lock."""

    def __init__(self, journal: Path, seed: str, mix: dict[str, int]) -> None:
        self._seed, self._mix = seed, mix
        self._lock = Lock()
        self._scripts: dict[str, Behaviour] = {}
        self._first_heard_ms: dict[str, int] = {}
        self._held: dict[str, Decimal] = {}
        self._orders: dict[str, dict[str, Any]] = {}
        self._count = 0
        lines = journal.read_text().splitlines() if journal.exists() else []
        for line in lines:
            self._book(json.loads(line))
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        self._journal = os.open(journal, flags, 0o644)
        self._refused = os.open(f"{journal}.refused", flags, 0o644)

    def _book(self, order: dict[str, Any]) -> None:
        self._count += 1
        self._orders.setdefault(order["client_order_id"], order)
        change = Decimal(order["executed_qty"]) * (1 if order["side"] == "BUY" else -1)
        self._held[order["symbol"]] = self.held(order["symbol"]) + change

    def held(self, symbol: str) -> Decimal:
        """The signed position."""
        return self._held.get(symbol, Decimal(DEFAULT_POSITION))

    def hold(self, symbol: str, amt: str) -> None:
        """Set a position."""
        with self._lock:
            self._held[symbol] = Decimal(amt)

    def script(self, plan_id: str, behaviour: Behaviour) -> None:
        """Say how a plan's order is treated."""
        self._scripts[plan_id] = behaviour

    def behaviour(self, asked: dict[str, Any]) -> Behaviour:
        """How this order is treated."""
        scripted = self._scripts.get(asked["plan_id"])
        return scripted or chosen(self._seed, self._mix, asked["client_order_id"])

    def heard(self, client_order_id: str) -> int:
        """When a request for this order arrived first, epoch ms."""
        return self._first_heard_ms.setdefault(client_order_id, now_ms())

    def decide(self, asked: dict[str, Any], how: Behaviour) -> dict[str, Any]:
        """Accept or refuse."""
        with self._lock:
            moment, amount, qty = now_ms(), self.held(asked["symbol"]), Decimal(asked["qty"])
            late = moment > asked["until_ms"]
            code = "-1021" if late else how.code or ("-2022" if qty > abs(amount) else "")
            facts = {name: asked[name] for name in ("client_order_id", "plan_id", "symbol", "qty", "until_ms")}
            if code:
                refused = facts | {"at_ms": moment, "code": code}
                os.write(self._refused, f"{json.dumps(refused)}\n".encode())
                return {"answer": "rejected", "code": code, "message": f"refused at {moment}"}
            executed = {"full": qty, "half": qty / 2, "none": Decimal(0)}[how.fills]
            order = facts | {
                "at_ms": moment,
                "order_id": f"far-{self._count + 1}",
                "side": "SELL" if amount > 0 else "BUY",
                "status": "filled" if executed == qty else "expired",
                "executed_qty": f"{executed:f}",
                "price": PRICE,
            }
            os.write(self._journal, f"{json.dumps(order)}\n".encode())
            self._book(order)
        return self.shown(order, how)

    def shown(self, order: dict[str, Any], how: Behaviour) -> dict[str, Any]:
        """An order as it is told."""
        told = {name: order[name] for name in ("order_id", "side", "qty", "status", "executed_qty", "price")}
        if now_ms() < order["at_ms"] + how.works_ms:
            told |= {"status": "new", "executed_qty": "0"}
        return {"answer": "accepted"} | told

    def find(self, asked: dict[str, Any], how: Behaviour) -> dict[str, Any]:
        """What a lookup is told."""
        order = self._orders.get(asked["client_order_id"])
        if order is None or now_ms() < order["at_ms"] + how.hides_ms:
            return {"answer": "missing"}
        return self.shown(order, how)


class Handler(socketserver.StreamRequestHandler):
    """One connection, one request."""

    def handle(self) -> None:
        """Treat it as its script says."""
        asked = json.loads(self.rfile.readline() or b"{}")
        book: Book = self.server.book  # type: ignore[attr-defined] # set in `main`
        if asked.get("op") == "order":
            self._order(book, asked)
        elif asked.get("op") == "lookup":
            how = book.behaviour(asked)
            over = how.lookup_ms and now_ms() > book.heard(asked["client_order_id"]) + how.lookup_ms
            self._reply(book.find(asked, how), "answer" if over else how.lookup)
        elif asked.get("op") == "script":
            book.script(asked["plan_id"], Behaviour(**asked["behaviour"]))
            self._reply({}, "answer")
        elif asked.get("op") == "hold":
            book.hold(asked["symbol"], asked["amt"])
            self._reply({}, "answer")
        elif asked.get("op") == "position":
            self._reply({"amt": f"{book.held(asked['symbol']):f}", "price": PRICE}, "answer")

    def _order(self, book: Book, asked: dict[str, Any]) -> None:
        how = book.behaviour(asked)
        book.heard(asked["client_order_id"])
        time.sleep(how.before_ms / 1000)
        answer = {} if how.drops else book.decide(asked, how)
        time.sleep(how.after_ms / 1000)
        self._reply(answer, how.then)

    def _reply(self, answer: dict[str, Any], how: Reply) -> None:
        if how == "hang":
            # Until the asker goes away, or this process ends.
            self.rfile.readline()
        elif how == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            self.wfile.write(json.dumps({"answer": "failed"} if how == "fail" else answer).encode() + b"\n")


class Server(socketserver.ThreadingUnixStreamServer):
    """A thread per request: one that hangs holds up no other."""

    daemon_threads = True
    request_queue_size = 256
    book: Book

    def handle_error(self, request: Any, client_address: Any) -> None:
        """An asker that went away is no finding."""


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("socket", type=Path)
    parser.add_argument("journal", type=Path)
    parser.add_argument("--seed", default="0")
    parser.add_argument("--mix", default="accept=1", help="name=weight,… of tests.venue.behaviour.BEHAVIOURS")
    given = parser.parse_args()
    mix = {name: int(weight) for name, weight in (part.split("=") for part in given.mix.split(","))}
    given.socket.unlink(missing_ok=True)
    with Server(str(given.socket), Handler) as server:
        server.book = Book(given.journal, given.seed, mix)
        server.serve_forever()


if __name__ == "__main__":
    main()

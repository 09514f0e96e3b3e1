"""Breaks what the schedule says, mends it again, and counts what it really did."""

import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from signal import SIGCONT, SIGQUIT, SIGSTOP, SIGTERM
from threading import Event, Lock
from typing import Final

import redis

from ops.server import answering_pid
from tasks.address import RedisAddress
from tasks.keys import Keys
from tasks.store import connect
from tests.chaos.journal import STORE_LOST, SWITCH, Journal, Window, now_ms
from tests.chaos.relay import Relay
from tests.chaos.schedule import Action, Kind
from tests.chaos.site import ServerName, Site

_ASK_AGAIN_S: Final = 0.05


class Breaker:
    """Acts on a site. `counts` holds what was done: an action that found nothing to act on does not count."""

    def __init__(self, site: Site, journal: Journal, seed: str, say: Callable[[str], None]) -> None:
        self._site, self._journal, self._say = site, journal, say
        self._random = Random(f"{seed}:breaker")
        self._keys = Keys(site.settings.namespace)
        # Straight to the servers: what breaks them must not hang on what is broken.
        self._clients = {
            name: connect(RedisAddress.parse(server.url), timeout_ms=2_000) for name, server in site.servers.items()
        }
        self._restarting = {id(server): Lock() for server in site.servers.values()}
        self._switching, self._breaking_venue = Lock(), Lock()
        self._over = Event()
        self.counts: Counter[str] = Counter()

    def act(self, action: Action) -> None:
        """Break it, keep it broken for its time, mend it."""
        done = self._do(action)
        self._say(f"{action}{'' if done else '  (nothing there)'}")
        if done:
            self.counts[action.kind.value] += 1

    def finish(self) -> None:
        """What is broken is mended now instead of at its time."""
        self._over.set()

    def mend(self) -> None:
        """After the last action: nothing is broken any more."""
        for relay in self._site.relays.values():
            relay.mend()
        for unit in self._site.fleet.units:
            unit.thaw()

    def close(self) -> None:
        """Close the connections."""
        for client in self._clients.values():
            client.close()

    def _do(self, action: Action) -> bool:
        kind = action.kind
        if kind in {Kind.KILL, Kind.KILL_MAIN, Kind.KILL_CHILD, Kind.STOP, Kind.QUIT, Kind.FREEZE}:
            return self._break_worker(action)
        if kind in {Kind.RESTART_STORE, Kind.RESTART_BROKER}:
            return self._restart(_server_of(kind), action.for_s)
        if kind in {Kind.FREEZE_STORE, Kind.FREEZE_BROKER}:
            return self._freeze(_server_of(kind), action.for_s)
        if kind in {Kind.RESTART_VENUE, Kind.FREEZE_VENUE}:
            return self._break_venue(action)
        if kind is Kind.SWITCH:
            return self._set_switch(action.for_s)
        if kind in {Kind.FLUSH_SCRIPTS, Kind.KILL_CLIENTS, Kind.FILL_STORE, Kind.FILL_BROKER}:
            return self._disturb(action)
        return self._break_ways(action)

    def _break_worker(self, action: Action) -> bool:
        fleet = self._site.fleet
        if action.kind is Kind.KILL_CHILD:
            return fleet.by_name[action.target].kill_child()
        unit = fleet.living(action.target)
        if unit is None:
            return False
        if action.kind is Kind.KILL:
            unit.kill()
        elif action.kind is Kind.KILL_MAIN:
            unit.kill_main()
        elif action.kind is Kind.FREEZE:
            unit.freeze()
            self._over.wait(action.for_s)
            unit.thaw()
        else:
            unit.signal(SIGTERM if action.kind is Kind.STOP else SIGQUIT)
        return True

    def _restart(self, name: ServerName, down_s: float) -> bool:
        server = self._site.servers[name]
        with self._restarting[id(server)]:
            from_ms = now_ms()
            server.kill()
            gone_ms = now_ms()
            self._over.wait(down_s)
            back_ms = now_ms()
            server.start()
            if server is self._site.servers["store"]:
                self._journal.note_window(Window(STORE_LOST, from_ms, gone_ms, back_ms, now_ms()))
        return True

    def _freeze(self, name: ServerName, for_s: float) -> bool:
        server = self._site.servers[name]
        with self._restarting[id(server)]:
            pid = answering_pid(server.socket_path)
            if pid is None:
                return False
            os.kill(pid, SIGSTOP)
            try:
                self._over.wait(for_s)
            finally:
                os.kill(pid, SIGCONT)
        return True

    def _break_venue(self, action: Action) -> bool:
        venue = self._site.venue
        if venue is None:
            return False
        with self._breaking_venue:
            if action.kind is Kind.RESTART_VENUE:
                venue.kill()
                self._over.wait(action.for_s)
                venue.start()
            else:
                os.kill(venue.pid, SIGSTOP)
                try:
                    self._over.wait(action.for_s)
                finally:
                    os.kill(venue.pid, SIGCONT)
        return True

    def _set_switch(self, for_s: float) -> bool:
        client, key = self._clients["store"], self._keys.kill_switch
        with self._switching:
            maybe_from = now_ms()
            self._surely(lambda: client.set(key, "true"))
            from_ms = now_ms()
            self._over.wait(for_s)
            until_ms = now_ms()
            self._surely(lambda: client.delete(key))
            self._journal.note_window(Window(SWITCH, maybe_from, from_ms, until_ms, now_ms()))
        return True

    def _surely(self, act: Callable[[], object]) -> None:
        while True:
            try:
                act()
            except redis.RedisError:
                time.sleep(_ASK_AGAIN_S)
            else:
                return

    def _disturb(self, action: Action) -> bool:
        client = self._clients["broker" if action.target == "broker" else _server_of(action.kind)]
        try:
            if action.kind is Kind.FLUSH_SCRIPTS:
                client.script_flush()
            elif action.kind is Kind.KILL_CLIENTS:
                others = [entry["id"] for entry in client.client_list() if entry["cmd"] != "client|list"]
                for number in self._random.sample(others, len(others) // 2):
                    client.client_kill_filter(_id=number)
            else:
                client.config_set("maxmemory", "1")
                self._over.wait(action.for_s)
                # A server that was restarted meanwhile has its own configuration again.
                self._surely(lambda: client.config_set("maxmemory", "0"))
        except redis.RedisError:
            return False
        return True

    def _break_ways(self, action: Action) -> bool:
        ways = self._ways(action)
        for way in ways:
            if action.kind in {Kind.CUT_BROKER, Kind.CUT_STORE}:
                way.cut()
            elif action.kind in {Kind.HALF_OPEN_BROKER, Kind.HALF_OPEN_STORE}:
                way.hold_up()
            elif action.kind in {Kind.STALE_BROKER, Kind.STALE_STORE}:
                way.go_stale()
            else:
                way.lose_replies()
        if action.for_s:
            self._over.wait(action.for_s)
            for way in ways:
                way.mend(late=action.late)
        return bool(ways)

    def _ways(self, action: Action) -> Sequence[Relay]:
        if action.kind is Kind.CUT_BROKER:
            return self._site.of_server("broker")
        return [self._site.relays[action.target, _server_of(action.kind)]]


_OF_BROKER: Final = (
    Kind.RESTART_BROKER,
    Kind.FREEZE_BROKER,
    Kind.FILL_BROKER,
    Kind.HALF_OPEN_BROKER,
    Kind.STALE_BROKER,
    Kind.DROP_BROKER_REPLIES,
)


def _server_of(kind: Kind) -> ServerName:
    return "broker" if kind in _OF_BROKER else "store"

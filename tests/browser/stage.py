"""One server, two workers and Flower with a login, after plans with every outcome; some still wait."""

import json
import os
import re
import secrets
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from http.client import HTTPConnection
from pathlib import Path
from signal import SIGKILL, SIGTERM
from tempfile import TemporaryDirectory
from typing import Any, Final

from tests.helpers import wait_until
from tests.servers import RealServer
from tests.venue.behaviour import Behaviour
from tests.venue.process import VENUE_APP, VenueProcess
from tests.worker.nodes import (
    Site,
    Worker,
    celery_command,
    clean_environment,
    permit_texts,
    plan,
    site_on,
    start_worker,
    wait_for_ends,
)

#: What must be seen nowhere: the password of Redis, the login's password, what a careless client put in an intent.
REDIS_PASSWORD: Final = "redis-" + secrets.token_hex(8)
LOGIN_PASSWORD: Final = "login-" + secrets.token_hex(8)
CARELESS: Final = "api-" + secrets.token_hex(8)

_USER: Final = "desk"
#: What the venue holds of each symbol.
_SYMBOLS: Final = {"BTCUSDT": "0.062", "ETHUSDT": "-1.250", "SOLUSDT": "14.0"}


@dataclass(frozen=True)
class Shown:
    """A plan of the stage, and what its row must say: the state, and how the result begins."""

    plan_id: str
    symbol: str
    state: str
    result: str


class Dashboard:
    """A running `celery -A workers flower`."""

    def __init__(self, port: int) -> None:
        self.port: Final = port
        self.url: Final = f"http://127.0.0.1:{port}"
        #: With the login, as a person would type it into the browser's dialogue.
        self.url_with_login: Final = f"http://{_USER}:{LOGIN_PASSWORD}@127.0.0.1:{port}"

    def ask(
        self, method: str, path: str, *, login: str | None = f"{_USER}:{LOGIN_PASSWORD}", body: str | None = None
    ) -> tuple[int, str]:
        """Status and text of one request, as any program makes it."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            headers = {"Authorization": f"Basic {b64encode(login.encode()).decode()}"} if login else {}
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode(errors="replace")
        finally:
            connection.close()

    def workers(self) -> set[str]:
        """Names of the workers that Flower has heard of."""
        _, text = self.ask("GET", "/workers?json=1")
        return {worker["hostname"] for worker in json.loads(text)["data"]}

    def states(self) -> dict[str, str]:
        """State of every plan that Flower knows."""
        _, text = self.ask("GET", "/api/tasks?limit=1000")
        return {task_id: task["state"] for task_id, task in json.loads(text).items()}


@dataclass(frozen=True)
class Stage:
    """What the tests look at."""

    site: Site
    dashboard: Dashboard
    shown: list[Shown]
    workers: list[str]


def id_of(title: str) -> str:
    """A plan id as producers make them, the same in every run."""
    return sha256(title.encode()).hexdigest()[:16]


@contextmanager
def started_flower(folder: Path, **env: str) -> Iterator[Dashboard]:
    """Flower as the documents start it, with its login in a file; gone afterwards."""
    (folder / "logins").write_text(f"{_USER}:{LOGIN_PASSWORD}\n")
    settings = {"APPLY_FLOWER_AUTH_FILE": str(folder / "logins")} | env
    log_path = folder / "flower.log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            celery_command("flower", "--port=0"),
            cwd=folder,
            env=clean_environment(**settings),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:

        def port() -> int:
            assert process.poll() is None, log_path.read_text()
            found = re.search(r"Visit me at http://127\.0\.0\.1:(\d+)", log_path.read_text())
            return int(found[1]) if found else 0

        yield Dashboard(wait_until(port, "Flower listens", within_s=40))
    finally:
        os.killpg(process.pid, SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, SIGKILL)
            process.wait()


@contextmanager
def started_stage() -> Iterator[Stage]:
    """The whole stage, played; everything is gone afterwards."""
    with ExitStack() as at_end:
        folder = Path(at_end.enter_context(TemporaryDirectory(prefix="pw-stage-")))
        server = at_end.enter_context(RealServer())
        site = at_end.enter_context(site_on(server))
        site.client.acl_setuser(
            _USER, enabled=True, passwords=[f"+{REDIS_PASSWORD}"], keys=["*"], channels=["*"], categories=["+@all"]
        )
        redis_url = server.url.replace("://", f"://{_USER}:{REDIS_PASSWORD}@")
        broker_url = redis_url if server.broker_url == server.url else server.broker_url
        addresses = {"APPLY_REDIS_URL": redis_url, "APPLY_BROKER_URL": broker_url}
        venue = at_end.enter_context(VenueProcess())
        for symbol, amount in _SYMBOLS.items():
            venue.hold(symbol, amount)
        settings = addresses | {"APPLY_ALLOWLIST": ",".join(_SYMBOLS)} | venue.env(timeout_ms=500)
        first = at_end.enter_context(start_worker(server, application=VENUE_APP, **settings))
        dashboard = at_end.enter_context(started_flower(folder, **addresses))
        watched(dashboard, [first])
        unknown = play_unknown(site, venue)
        ended = play_ends(site)
        # From here on plans go to a worker that waits long enough to be looked at.
        wait_for_ends(site, [unknown.plan_id], within_s=120)
        patient = at_end.enter_context(
            start_worker(server, application=VENUE_APP, **settings, APPLY_PERMIT_WAIT_MS="60000")
        )
        watched(dashboard, [first, patient])
        site.producer.control.cancel_consumer("execute", destination=[node(first)], reply=True, timeout=10)
        waiting = play_waits(site)
        shown = [unknown, *ended, *waiting]
        wait_until(
            lambda: {row.plan_id: row.state for row in shown}.items() <= dashboard.states().items(),
            f"Flower knows the state of every plan; it says {dashboard.states()}",
        )
        yield Stage(site, dashboard, shown, [node(first), node(patient)])


def node(worker: Worker) -> str:
    """The worker's name among its fellows."""
    return f"{worker.worker_name()}@{worker.id[:12]}"


def watched(dashboard: Dashboard, workers: list[Worker]) -> None:
    """Wait until Flower sees these workers and they tell of their tasks, which they do while somebody watches."""
    for worker in workers:
        wait_until(lambda w=worker: w.lines("Events of group {task} enabled"), "events are on", within_s=30)  # type: ignore[misc] # bound now
    names = {node(worker) for worker in workers}
    wait_until(lambda: names <= dashboard.workers(), "Flower has heard of the workers")


def play_unknown(site: Site, venue: VenueProcess) -> Shown:
    """A plan whose order was sent, and about which the venue never says anything again."""
    plan_id = id_of("unknown")
    venue.script(plan_id, Behaviour(then="hang", lookup="reset"))
    for name, text in zip(("governor", "p33"), permit_texts("BTCUSDT"), strict=True):
        site.client.set(site.keys.permit(name, plan_id), text, ex=60)
    site.send(plan(plan_id, "BTCUSDT"), plan_id)
    return Shown(plan_id, "BTCUSDT", "FAILURE", "UNKNOWN order_unknown after")


def play_ends(site: Site) -> list[Shown]:
    """Plans with every outcome but waiting, each ended."""
    rows: list[Shown] = []

    def send(title: str, symbol: str, state: str, result: str, permits: dict[str, Any], **fields: Any) -> None:
        plan_id = id_of(title)
        governor, p33 = (json.loads(text) for text in permit_texts(symbol))
        for name, whole in (("governor", governor), ("p33", p33)):
            if name in permits:
                text = json.dumps(whole | permits[name])
                site.client.set(site.keys.permit(name, plan_id), text, ex=60)
        site.send(plan(plan_id, symbol, **fields), plan_id)
        rows.append(Shown(plan_id, symbol, state, result))

    both: dict[str, Any] = {"governor": {}, "p33": {}}
    send("late", "BTCUSDT", "BLOCKED", "BLOCKED missing_p33 after 12", {"governor": {}})
    send("never", "ETHUSDT", "BLOCKED", "BLOCKED missing_both after 12", {})
    wait_for_ends(site, [row.plan_id for row in rows])
    send("closes", "BTCUSDT", "SUCCESS", "EXECUTE 0.008 after", both, api_key=CARELESS, source="desk")
    half = {"governor": {}, "p33": {"safe_close_qty": 0.625, "exchange_position_amt": -1.25}}
    send("half", "ETHUSDT", "SUCCESS", "EXECUTE 0.625 after", half, action="PARTIAL_50")
    send("denied", "SOLUSDT", "BLOCKED", "BLOCKED p33_denied after", {"governor": {}, "p33": {"allow": False}})
    text = {"governor": {}, "p33": {"safe_close_qty": "0.008"}}
    send("text", "BTCUSDT", "BLOCKED", "BLOCKED invalid_safe_qty after", text)
    send("foreign", "DOGEUSDT", "BLOCKED", "BLOCKED symbol_not_allowed after", both)
    above = {"governor": {}, "p33": {"safe_close_qty": 99, "exchange_position_amt": 99}}
    send("above", "SOLUSDT", "VENUE-REJECTED", "REJECTED order_rejected after", above)
    wait_for_ends(site, [row.plan_id for row in rows])
    odd = id_of("odd")
    site.send({"plan_id": odd, "symbol": "BTCUSDT", "action": 75, "decision": "EXECUTE"}, odd).get(timeout=20)
    rows.append(Shown(odd, "BTCUSDT", "BLOCKED", "BLOCKED invalid_intent after"))
    site.client.set(site.keys.kill_switch, "true")
    send("halted", "BTCUSDT", "BLOCKED", "BLOCKED kill_switch after", both)
    wait_for_ends(site, [rows[-1].plan_id])
    site.client.delete(site.keys.kill_switch)
    return rows


def play_waits(site: Site) -> list[Shown]:
    """Two plans that wait for a permit that does not come while anybody looks."""
    rows = [
        Shown(id_of(f"waits {symbol}"), symbol, "WAITING", "waits for its permits") for symbol in list(_SYMBOLS)[:2]
    ]
    for row in rows:
        site.send(plan(row.plan_id, row.symbol, action="FULL_CLOSE_PROPOSED"), row.plan_id)
    return rows

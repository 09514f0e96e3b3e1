"""Real servers and real `celery -A workers worker` processes, also as nodes of pytest-celery; no Docker."""

import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from signal import SIGKILL, SIGTERM, Signals
from tempfile import TemporaryDirectory
from typing import Any, Final

import kombu.pools
import redis
from celery import Celery
from celery.result import AsyncResult

from tasks.address import RedisAddress
from tasks.keys import Keys
from tasks.store import connect
from tests.helpers import GOVERNOR, P33
from tests.servers import RealServer

ROOT: Final = Path(__file__).parents[2]

#: Of a worker: enough for a machine on which everything runs at once.
READY_WITHIN_S: Final = 40.0
#: From the request to stop until SIGKILL; celeryconfig gives attempts in hand 5 s.
STOP_WITHIN_S: Final = 15.0
_POLL_S: Final = 0.05
_TAIL_LINES: Final = 60

#: A symbol per test, so that tests that share a cluster never share a position.
SYMBOLS: Final = tuple(f"T{number:02}USDT" for number in range(12))


def clean_environment(**settings: str) -> dict[str, str]:
    """The environment of this process without settings of ours, plus `settings`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("APPLY_", "CELERY", "C_"))}
    # The worker runs elsewhere, so that a developer's `.env` is not read. Celery warns root; that is no finding here.
    return kept | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore", "NO_COLOR": "1"} | settings


def celery_command(*arguments: str, application: str = "workers") -> list[str]:
    """Celery's command line for our application, from this very environment."""
    return [sys.executable, "-m", "celery", "-A", application, *arguments]


class ServerProcess:
    """A server behind the part of a Docker container that pytest-celery's nodes use.

    `url` is the address it is used by: its own, or its broker's.
    """

    def __init__(self, server: RealServer, url: str) -> None:
        self.server = server
        self._url = url
        self.name = self.id = server.socket_path.parent.name

    @property
    def status(self) -> str:
        """As Docker says it."""
        return "running" if self.server.running() else "exited"

    @property
    def celeryconfig(self) -> dict[str, str]:
        """The address, as seen by workers and by tests."""
        return {"url": self._url, "host_url": self._url}

    def ready(self) -> bool:
        """A started server answers."""
        return self.server.running()

    def teardown(self) -> None:
        """End the server; kombu keeps a pool per address for the whole process, which must not outlive it."""
        self.server.stop()
        kombu.pools.reset()


class Worker:
    """One `celery -A workers worker` in a session and a directory of its own, logging to a file there.

    Also a container to pytest-celery's nodes. `env` are settings, `options` go on the command line. No issuer of
    ours runs: the tests write the permits. `application` is the shipped one, or `tests.venue.app`.
    """

    def __init__(self, server: RealServer, *options: str, application: str = "workers", **env: str) -> None:
        self._options = options
        self._application = application
        settings = {"REDIS_URL": server.url, "MODE": "paper", "ALLOWLIST": ",".join(SYMBOLS), "ISSUERS": ""}
        if server.broker_url != server.url:
            settings["BROKER_URL"] = server.broker_url
        self._env = {f"APPLY_{name}": value for name, value in settings.items()} | env
        self._folder = TemporaryDirectory(prefix="pw-worker-")
        self.log_path: Final = Path(self._folder.name) / "log"
        self.name: Final = Path(self._folder.name).name
        self.id: Final = self.name.removeprefix("pw-worker-")
        self._process: subprocess.Popen[bytes] | None = None
        self._ready_lines = 0

    @property
    def pid(self) -> int:
        """Of the worker's main process, which leads its session."""
        assert self._process is not None

        return self._process.pid

    @property
    def status(self) -> str:
        """As Docker says it."""
        return "running" if self._process is not None and self._process.poll() is None else "exited"

    @property
    def celeryconfig(self) -> dict[str, str]:
        """A worker adds nothing to the configuration of the tests."""
        return {}

    def start(self) -> None:
        """Start the process; `ready` waits for it."""
        # As pytest-celery expects node names: name of the worker, then the container's id.
        hostname = f"{self.worker_name()}@{self.id[:12]}"
        self._ready_lines = self.logs().count(" ready.")
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                celery_command(
                    "worker",
                    *("--loglevel", "INFO", "--hostname", hostname),
                    *self._options,
                    application=self._application,
                ),
                cwd=self._folder.name,
                env=clean_environment(**self._env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def ready(self) -> bool:
        """Wait until the worker takes messages; fails with its log when it does not."""
        give_up = time.monotonic() + READY_WITHIN_S
        while self.logs().count(" ready.") == self._ready_lines:
            assert self.status == "running", f"the worker ended:\n{self.logs()}"
            assert time.monotonic() < give_up, f"the worker was not ready in {READY_WITHIN_S} s:\n{self.logs()}"

            time.sleep(_POLL_S)
        return True

    def logs(self) -> str:
        """Everything that the process wrote, over restarts."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def lines(self, *parts: str) -> list[str]:
        """The log lines that hold every one of `parts`."""
        return [line for line in self.logs().splitlines() if all(part in line for part in parts)]

    def kill(self, signal: str | int = SIGKILL) -> None:
        """Send a signal to every process of the worker; after SIGKILL, return when the main process is gone."""
        number = Signals[signal] if isinstance(signal, str) else Signals(signal)
        if self.status == "running":
            os.killpg(self.pid, number)
        if number == SIGKILL:
            self.wait()

    def wait(self) -> None:
        """Return when the worker is gone, by force where it does not end by itself."""
        if self._process is None:
            return
        try:
            self._process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, SIGKILL)
            self._process.wait()

    def reload(self) -> None:
        """Nothing is cached here."""

    def restart(self, timeout: float = READY_WITHIN_S) -> None:
        """Stop the worker in good order and start it again."""
        _ = timeout  # Docker's; ours is fixed
        self.kill(SIGTERM)
        self.wait()
        self.start()
        self.ready()

    def teardown(self) -> None:
        """Stop the worker and remove its files."""
        self.kill(SIGTERM)
        self.wait()
        self._folder.cleanup()

    @classmethod
    def version(cls) -> str:
        """Of Celery."""
        return version("celery")

    @classmethod
    def log_level(cls) -> str:
        """Of the worker."""
        return "INFO"

    @classmethod
    def worker_name(cls) -> str:
        """First part of the node's name."""
        return "w"

    @classmethod
    def worker_queue(cls) -> str:
        """Where the tests' tasks go."""
        return "execute"


def log_tail(worker: Worker) -> str:
    """The last lines of a worker's log, for the report of a failed test."""
    return "\n".join(worker.logs().splitlines()[-_TAIL_LINES:])


def stop_all(workers: Iterable[Worker]) -> None:
    """Signal every worker before waiting for the first: their last seconds pass side by side."""
    chosen = list(workers)
    for worker in chosen:
        worker.kill(SIGTERM)
    for worker in chosen:
        worker.teardown()


@contextmanager
def start_workers(
    number: int, server: RealServer, *options: str, application: str = "workers", **env: str
) -> Iterator[list[Worker]]:
    """So many workers on one server, ready; gone afterwards."""
    workers = [Worker(server, *options, application=application, **env) for _ in range(number)]
    with ExitStack() as at_end:
        at_end.callback(stop_all, workers)
        for worker in workers:
            worker.start()
        try:
            for worker in workers:
                worker.ready()
            yield workers
        except BaseException as error:
            # Their files are gone when the report is made.
            for worker in workers:
                error.add_note(f"log of worker {worker.id}:\n{log_tail(worker)}")
            raise


@contextmanager
def start_worker(server: RealServer, *options: str, application: str = "workers", **env: str) -> Iterator[Worker]:
    """One worker with these command line options and settings, ready; gone afterwards."""
    with start_workers(1, server, *options, application=application, **env) as workers:
        yield workers[0]


class Site:
    """One server as tests see it: a client, the key names, and a producer that knows Celery but none of our code."""

    def __init__(self, server: RealServer, producer: Celery | None = None, namespace: str = "quantum") -> None:
        self.server = server
        self.keys = Keys(namespace)
        self.client: redis.Redis = connect(RedisAddress.parse(server.url), timeout_ms=30_000)
        self.producer = producer or Celery(
            "any-producer", broker=server.broker_url, backend=server.url, set_as_current=False
        )

    def send(self, intent: Any, task_id: str) -> "AsyncResult[Any]":
        """Send one intent as any Celery client does."""
        return self.producer.send_task("tasks.execute", kwargs={"intent": intent}, task_id=task_id, queue="execute")

    def position(self, symbol: str) -> Decimal:
        """What the paper venue still holds."""
        amount = self.client.hget(self.keys.paper_position(symbol), "position_amt")
        assert isinstance(amount, bytes)

        return Decimal(amount.decode())

    def close(self) -> None:
        """Close the client; the producer's connections are its application's."""
        self.client.close()


@contextmanager
def site_on(server: RealServer, namespace: str = "quantum") -> Iterator[Site]:
    """A site with a producer of its own; their connections are closed before the server ends."""
    site = Site(server, namespace=namespace)
    try:
        yield site
    finally:
        # Typed as the pool of producers, which it is not.
        site.producer.pool.force_close_all()  # type: ignore[attr-defined] # see above
        site.producer.close()
        site.close()


def permit_texts(symbol: str) -> tuple[str, str]:
    """Both permits of a plan in this symbol, as their issuers write them."""
    return GOVERNOR.replace("BTCUSDT", symbol), P33.replace("BTCUSDT", symbol)


def wait_for_ends(site: Site, plan_ids: Iterable[str], within_s: float = 40.0) -> None:
    """Wait until every plan has its outcome; fails with those that have none."""
    waiting = set(plan_ids)
    give_up = time.monotonic() + within_s
    while waiting:
        asked = sorted(waiting)
        pipeline = site.client.pipeline(transaction=False)
        for plan_id in asked:
            pipeline.hexists(site.keys.record(plan_id), "ended_ms")
        waiting -= {plan_id for plan_id, ended in zip(asked, pipeline.execute(), strict=True) if ended}
        assert time.monotonic() < give_up, f"no outcome within {within_s} s: {sorted(waiting)}"

        time.sleep(_POLL_S)


def of_plans(entries: Iterable[dict[str, str]], plan_ids: Iterable[str]) -> list[dict[str, str]]:
    """The entries of a stream that belong to these plans."""
    wanted = set(plan_ids)
    return [entry for entry in entries if entry["plan_id"] in wanted]


def plan(plan_id: str, symbol: str, **fields: Any) -> dict[str, Any]:
    """A valid intent as a producer writes it."""
    return {"plan_id": plan_id, "symbol": symbol, "action": "PARTIAL_75", "decision": "EXECUTE"} | fields

"""`permitwait ready`: may plans be sent? A probe for systemd, compose and Kubernetes: one line, one exit code."""

from kombu import Connection
from kombu.exceptions import OperationalError

import lua
from ops import screen
from ops.status.facts import Facts, gather
from ops.status.words import ago, number_of
from tasks.address import RedisAddress, for_celery
from tasks.errors import StoreUnavailable
from tasks.life import Life
from tasks.settings import Settings, masked
from tasks.store import Store, connect

#: A probe that asks for longer would be given up by whoever runs it.
_TIMEOUT_MS = 1_000


def run(settings: Settings, worker: str | None, *, as_json: bool) -> int:
    """Say whether plans can be decided here now, by `worker` or by any. Exit code: 0 ready, 1 not, and why.

    Raises:
        StoreUnavailable: Redis or the broker gave no answer.
    """
    store = Store(connect(RedisAddress.parse(settings.redis_url), timeout_ms=_TIMEOUT_MS))
    try:
        facts = gather(store, settings)
        why = _scripts(store) or _switch(facts) or _workers(facts, worker)
    finally:
        store.close()
    _ask_broker(settings.effective_broker_url)
    halted = ", and the kill switch is set: every plan ends blocked" if facts.switch.is_set else ""
    woken = ", permits wake their plans" if any(_decides(one) for one in _chosen(facts, worker)) else ""
    good = f"{worker or number_of(facts.workers, 'worker')} alive{woken}{halted}"
    if as_json:
        screen.data({"ready": not why, "why": why or good})
    else:
        screen.out.print(f"{'not ready' if why else 'ready'}: {why or good}", markup=False)
    return 1 if why else 0


def _scripts(store: Store) -> str:
    names = lua.names()
    answers = store.ask(*(("SCRIPT LOAD", lua.source(name)) for name in names))
    refused = [
        f"Redis refuses {name}.lua: {answer}"
        for name, answer in zip(names, answers, strict=True)
        if isinstance(answer, Exception)
    ]
    return refused[0] if refused else ""


def _switch(facts: Facts) -> str:
    return "" if facts.switch.readable else f"the kill switch cannot be read: {facts.switch.value}"


def _workers(facts: Facts, wanted: str | None) -> str:
    """Why no worker, or not the wanted one, can decide plans now; empty where one can."""
    chosen = _chosen(facts, wanted)
    if not chosen:
        return _missing(facts, wanted)
    faults = [_fault(worker, must_decide=wanted is None) for worker in chosen]
    return "" if "" in faults else faults[0]


def _chosen(facts: Facts, wanted: str | None) -> list[Life]:
    return [worker for worker in facts.workers if wanted in {None, worker.hostname}]


def _decides(worker: Life) -> bool:
    # An issuer's worker waits for no permits.
    return "execute" in worker.queues


def _missing(facts: Facts, wanted: str | None) -> str:
    gone = [gone for gone in facts.gone if wanted in {None, gone.hostname}]
    if not gone:
        return f"no sign of life of {wanted or 'any worker'}"
    last = max(gone, key=lambda gone: gone.at_ms)
    return f"the last sign of life of {last.hostname} is {ago(facts.now_ms - last.at_ms)} old"


def _fault(worker: Life, *, must_decide: bool) -> str:
    if not _decides(worker):
        return f"no worker reads the queue execute; {worker.hostname} does not" if must_decide else ""
    return "" if worker.watch == "alive" else f"{worker.hostname} does not see permits arrive: watch {worker.watch}"


def _ask_broker(url: str) -> None:
    """Raises StoreUnavailable where the broker gives no answer."""
    shown = masked("APPLY_BROKER_URL", url)
    if not url.startswith("amqp"):
        broker = Store(connect(RedisAddress.parse(url), timeout_ms=_TIMEOUT_MS))
        try:
            broker.now_s()
        except StoreUnavailable as error:
            raise StoreUnavailable(f"broker {shown}: {error}") from error
        finally:
            broker.close()
        return
    address, options = for_celery(url)
    try:
        with Connection(address, connect_timeout=_TIMEOUT_MS / 1000, transport_options=options) as connection:
            connection.ensure_connection(max_retries=1, timeout=_TIMEOUT_MS // 1000)
    except (OperationalError, OSError) as error:
        raise StoreUnavailable(f"broker {shown}: {error}") from error

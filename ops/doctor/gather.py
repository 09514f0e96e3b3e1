"""Reads every fact once: the servers, the broker, the plans, this machine. Changes nothing anywhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any, Final, cast

import redis

from ops.doctor import here
from ops.doctor.facts import Broker, Facts, Server, State
from ops.doctor.queues import amqp_broker, redis_broker
from ops.doctor.rights import broker_commands, gate_commands
from tasks.address import RedisAddress
from tasks.errors import PermitWaitError, StoreUnavailable
from tasks.keys import Keys
from tasks.life import Life
from tasks.settings import GovernorSettings, PositionSettings, Settings
from tasks.store import Store, connect
from workers.watch import Link, WatchLost

#: Nothing waits for this command.
TIMEOUT_MS: Final = 2_000

#: Flags of a connection on which a worker watches permits: tracking, with broadcast.
_WATCHING: Final = frozenset("tB")


class CannotLook(PermitWaitError):
    """Raised when the server answers and not even a worker could start with this login."""


def gather(
    settings: Settings,
    governor: GovernorSettings,
    position: PositionSettings,
    *,
    flower_url: str = here.FLOWER_URL,
    now: Callable[[], float] = time.time,
) -> Facts:
    """Look at the deployment that these settings describe; `now` is this machine's clock, epoch seconds.

    Raises:
        StoreUnavailable: the permits' Redis gave no answer.
        CannotLook: it refuses even INFO.
    """
    keys = Keys(settings.namespace)
    address = RedisAddress.parse(settings.redis_url)
    same = settings.effective_broker_url == settings.redis_url
    commands = gate_commands(keys) + (broker_commands() if same else ())
    with _open(address) as client:
        servers = [_server("permits", address, client, commands, now)]
        servers[0] = replace(servers[0], tracking_error=_tracking_error(address, keys))
        if servers[0].info.get("cluster_enabled"):
            # Plans cannot even be read there; whatever else is to be found, this comes first.
            return _facts(settings, governor, position, servers, Broker(), State(), flower_url)
        state = _state(client, keys, settings)
    broker = Broker()
    if not settings.effective_broker_url.startswith("amqp"):
        broker_address = RedisAddress.parse(settings.effective_broker_url)
        try:
            with _open(broker_address) as client:
                if not same:
                    servers.append(_server("broker", broker_address, client, broker_commands(), now))
                broker = redis_broker(client, settings)
        except StoreUnavailable as error:
            broker = Broker(error=str(error))
    else:
        broker = amqp_broker(settings)
    return _facts(settings, governor, position, servers, broker, state, flower_url)


def _facts(
    settings: Settings,
    governor: GovernorSettings,
    position: PositionSettings,
    servers: list[Server],
    broker: Broker,
    state: State,
    flower_url: str,
) -> Facts:
    return Facts(
        settings=settings,
        governor=governor,
        position=position,
        addresses=here.addresses(settings),
        servers=tuple(servers),
        broker=broker,
        state=state,
        host=here.host(settings, flower_url),
    )


@contextmanager
def _open(address: RedisAddress) -> "Iterator[redis.Redis]":
    with closing(connect(address, timeout_ms=TIMEOUT_MS)) as client:
        try:
            yield client
        except redis.AuthenticationError as error:
            raise CannotLook(f"Redis refused the login: {error}") from error
        except redis.RedisError as error:
            raise StoreUnavailable(f"{type(error).__name__}: {error}") from error


def _server(
    role: Any,  # noqa: ANN401 - one of two words
    address: RedisAddress,
    client: "redis.Redis",
    commands: tuple[tuple[str, ...], ...],
    now: Callable[[], float],
) -> Server:
    blind_to: list[str] = []

    def ask(name: str, call: Callable[[], Any]) -> Any:  # noqa: ANN401 - redis answers
        try:
            return call()
        except redis.ResponseError as error:
            # No permission, or the command was renamed.
            blind_to.append(name)
            return _refusal(error)

    info = ask("INFO", client.info)
    if not isinstance(info, dict):
        raise CannotLook(f"Redis refuses INFO: {info}; a worker would not start either; grant +info")
    config = ask("CONFIG GET", lambda: client.config_get("*"))
    connections = ask("CLIENT LIST", client.client_list)
    try:
        user = str(client.acl_whoami())
    except redis.ResponseError:
        user = address.username or "default"
    workers = (
        {str(one.get("user", "default")) for one in connections if set(str(one["flags"])) >= _WATCHING}
        if isinstance(connections, list)
        else set()
    )
    return Server(
        role=role,
        info=info,
        config=config if isinstance(config, dict) else None,
        user=user,
        open_to_all=address.password is None or _lets_in(address),
        blind_to=tuple(blind_to),
        offset_s=_offset_s(client, now),
        refused=_refused(client, workers or {user}, commands),
    )


def _refusal(error: redis.ResponseError) -> str:
    return str(error)


def _refused(
    client: "redis.Redis", users: set[str], commands: tuple[tuple[str, ...], ...]
) -> dict[str, tuple[str, ...]] | None:
    found: dict[str, tuple[str, ...]] = {}
    for user in sorted(users):
        pipeline = cast("Any", client.pipeline(transaction=False))
        for name, *arguments in commands:
            pipeline.execute_command("ACL DRYRUN", user, *name.split(), *arguments)
        answers = pipeline.execute(raise_on_error=False)
        if any(isinstance(answer, redis.ResponseError) and "dryrun" in str(answer).lower() for answer in answers):
            return None  # the server is too old, or this login may not
        # A command that this server does not have is as good as refused.
        lacking = [name for (name, *_), answer in zip(commands, answers, strict=True) if answer not in {b"OK", "OK"}]
        found[user] = tuple(dict.fromkeys(lacking))
    return found


def _offset_s(client: "redis.Redis", now: Callable[[], float]) -> float:
    offsets = []
    for _ in range(3):
        before = now()
        seconds, micros = client.time()
        after = now()
        offsets.append((after - before, (before + after) / 2 - seconds - micros / 1_000_000))
    # The quickest answer says most.
    return min(offsets)[1]


def _lets_in(address: RedisAddress) -> bool:
    """Whether a client without a login may read our keys."""
    with closing(connect(address.without_login(), timeout_ms=TIMEOUT_MS)) as stranger:
        try:
            stranger.exists("permitwait")
        except (redis.RedisError, OSError):
            return False
        return True


def _tracking_error(address: RedisAddress, keys: Keys) -> str:
    try:
        Link(address, [keys.permit("governor", "")], TIMEOUT_MS).close()
    except WatchLost as error:
        return str(error)
    return ""


def _state(client: "redis.Redis", keys: Keys, settings: Settings) -> State:
    store = Store(client)
    now_ms = int(store.now_s() * 1000)
    oldest = cast("list[tuple[bytes, float]]", client.zrange(keys.open, 0, 0, withscores=True))
    hostnames = [name.decode() for name in cast("list[bytes]", client.zrange(keys.workers, 0, -1))]
    told = {name: store.hash(keys.worker(name)) for name in hostnames}
    signs = {name: store.hash(keys.heartbeat(name)) for name in settings.issuers}
    return State(
        kill_switch=store.text(keys.kill_switch),
        switch_info=store.hash(keys.kill_switch_info),
        open_plans=client.zcard(keys.open),
        overdue=client.zcount(keys.open, 0, now_ms),
        workers={name: Life.read(fields) for name, fields in told.items() if fields},
        oldest_overdue_s=max(0.0, (now_ms - oldest[0][1]) / 1000) if oldest else 0.0,
        issuers={name: now_ms / 1000 - float(sign["at"]) if sign.get("at") else None for name, sign in signs.items()},
    )

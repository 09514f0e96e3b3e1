"""What must hold before a worker takes its first message. Each refusal is one line that says what to do."""

import socket
import time
from typing import Any, Final

import redis

from tasks.address import HostPort, RedisAddress
from tasks.errors import BadSettings, PermitWaitError
from tasks.settings import PositionSettings, Settings
from tasks.store import connect

#: Redis may still be starting or loading its data for this long.
REACHABLE_WITHIN_S: Final = 10.0

_PAUSE_S: Final = 0.2

#: Pools that run Celery's event loop beside the tasks; gevent and eventlet replace it.
POOLS: Final = ("threads", "prefork", "solo")


class RefusedToStart(PermitWaitError):
    """Raised when a worker must not start; the text is one line for the operator."""


def check_settings(settings: Settings, position: PositionSettings) -> None:
    """Refuse settings that are valid by themselves but that a worker cannot run with.

    Raises:
        BadSettings: in one line.
    """
    if not settings.redis_url:
        raise BadSettings(
            "APPLY_REDIS_URL is not set; a worker needs the Redis that holds the permits, e.g. "
            "APPLY_REDIS_URL=redis://localhost:6379/0 (to try things out: permitwait demo)"
        )
    if "p33" in settings.issuers and position.permit_ttl * 1000 > settings.permit_max_ttl_ms:
        raise BadSettings(
            f"P33_PERMIT_TTL={position.permit_ttl} is not allowed: our own gate refuses permits that live longer than "
            f"APPLY_PERMIT_MAX_TTL_MS={settings.permit_max_ttl_ms}"
        )
    if settings.mode in {"testnet", "live"}:
        raise BadSettings(f"APPLY_MODE={settings.mode}: this version has no exchange adapter; use dry_run or paper")


def pool_name(pool: type) -> str:
    """What `--pool` calls this class."""
    name = pool.__module__.rpartition(".")[2]
    return {"thread": "threads"}.get(name, name)


def check_pool(pool: type) -> None:
    """Refuse a pool without Celery's event loop, on which waiting plans depend.

    Raises:
        RefusedToStart: in one line.
    """
    known = pool_name(pool)
    if known not in POOLS:
        raise RefusedToStart(f"pool {known} is not supported; use one of {', '.join(POOLS)} (--pool threads)")


def check_metrics(settings: Settings) -> None:
    """Refuse an address for figures that is taken: a worker that nobody can see must not trade unnoticed.

    Raises:
        RefusedToStart: in one line.
    """
    if not settings.metrics_address:
        return
    address = HostPort.parse(settings.metrics_address)
    try:
        family = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0][0]
        socket.create_server((address.host, address.port), family=family).close()
    except OSError as error:
        raise RefusedToStart(
            f"APPLY_METRICS_ADDRESS={settings.metrics_address} cannot be listened on: {error}; give each worker of "
            "this machine a port of its own, or unset it"
        ) from error


def check_server(settings: Settings, within_s: float = REACHABLE_WITHIN_S) -> None:
    """Refuse a Redis that cannot be reached, may evict keys, is read only, or is a cluster.

    Raises:
        RefusedToStart: in one line.
    """
    client = connect(RedisAddress.parse(settings.redis_url), timeout_ms=1_000)
    try:
        _check(_reached(client, within_s))
    finally:
        client.close()


def _reached(client: "redis.Redis", within_s: float) -> dict[str, Any]:
    give_up = time.monotonic() + within_s
    while True:
        try:
            info: dict[str, Any] = dict(client.info())
        except redis.ResponseError as error:
            raise RefusedToStart(f"Redis at APPLY_REDIS_URL refused INFO: {error}") from error
        except redis.AuthenticationError as error:
            raise RefusedToStart(f"Redis at APPLY_REDIS_URL refused the login: {error}") from error
        except redis.RedisError as error:
            if time.monotonic() + _PAUSE_S > give_up:
                raise RefusedToStart(
                    f"Redis at APPLY_REDIS_URL could not be reached for {within_s:g} s: {error}"
                ) from error
        else:
            if not info.get("loading"):
                return info
            if time.monotonic() + _PAUSE_S > give_up:
                raise RefusedToStart(f"Redis at APPLY_REDIS_URL is still loading its data after {within_s:g} s")
        time.sleep(_PAUSE_S)


def _check(info: dict[str, Any]) -> None:
    if info.get("cluster_enabled"):
        raise RefusedToStart(
            "Redis at APPLY_REDIS_URL is a cluster: one plan's keys would be spread over slots; "
            "use a single server or sentinel, and shard by APPLY_NAMESPACE"
        )
    policy = info.get("maxmemory_policy", "unknown")
    if policy != "noeviction":
        raise RefusedToStart(
            f"Redis at APPLY_REDIS_URL may evict keys (maxmemory-policy {policy}): a lost record could let a plan "
            "run twice; set maxmemory-policy noeviction"
        )
    if info.get("role", "master") != "master":
        raise RefusedToStart("Redis at APPLY_REDIS_URL is a read-only replica; point it at the master")

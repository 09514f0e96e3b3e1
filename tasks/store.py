"""Redis, as the gate needs it: short timeouts, no hidden retries, scripts by name, one kind of error."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, cast

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

import lua
from tasks.address import RedisAddress
from tasks.errors import StoreUnavailable
from tasks.settings import CALL_TIMEOUT_MS


class _Script(Protocol):
    def __call__(self, *, keys: Sequence[str], args: Sequence[object]) -> Any: ...  # noqa: ANN401 - Redis answers


def connect(address: RedisAddress, *, timeout_ms: int = CALL_TIMEOUT_MS) -> "redis.Redis":
    """A client that answers or fails within `timeout_ms` per step and never retries by itself.

    Nothing is opened until the first call. redis-py 8.1 would by default wait 5 s and try 10 times, which
    outlasts every wait for permits, and would hide that a script may have run already.
    """
    options: dict[str, Any] = {
        "socket_timeout": timeout_ms / 1000,
        "socket_connect_timeout": timeout_ms / 1000,
        "retry": Retry(NoBackoff(), 0),
        "retry_on_error": [],
        "db": address.db,
        "username": address.username,
        "password": address.password,
    }
    if address.scheme == "sentinel":
        # redis-py leaves these calls untyped.
        sentinel = Sentinel(  # type: ignore[no-untyped-call] # see above
            list(address.sentinels), sentinel_kwargs=_sentinel_options(timeout_ms)
        )
        master = sentinel.master_for(address.master, **options)  # type: ignore[no-untyped-call] # see above
        return cast("redis.Redis", master)
    if address.scheme == "redis+socket":
        return redis.Redis(unix_socket_path=address.socket_path, **options)
    return redis.Redis.from_url(address.url, **options)


def _sentinel_options(timeout_ms: int) -> dict[str, Any]:
    return {"socket_timeout": timeout_ms / 1000, "retry": Retry(NoBackoff(), 0)}


class Store:
    """Runs the shipped scripts on one Redis.

    Safe to share between threads; open a new one after a fork.
    """

    def __init__(self, client: "redis.Redis") -> None:
        self.client = client
        self._scripts: dict[str, _Script] = {}

    def run(self, script: str, keys: Sequence[str], args: Sequence[object], *, resend: bool = True) -> list[Any]:
        """Run `lua/<script>.lua` and return its answer as a list.

        A call whose reply was lost is sent once more, unless `resend` is false: scripts that may be re-sent
        give the same verdict to the same token.

        Raises:
            StoreUnavailable: no answer in time, or an error for an answer. The script may have run.
        """
        run = self._scripts.get(script)
        if run is None:
            run = self._scripts[script] = cast("_Script", self.client.register_script(lua.source(script)))
        with _errors(script):
            try:
                answer = run(keys=keys, args=args)
            except (redis.ConnectionError, redis.TimeoutError):
                if not resend:
                    raise
                answer = run(keys=keys, args=args)
        return cast("list[Any]", answer)

    def field(self, key: str, name: str) -> bytes | None:
        """One field of a HASH.

        Raises:
            StoreUnavailable: Redis gave no answer, or an error.
        """
        with _errors(f"HGET {key}"):
            return cast("bytes | None", self.client.hget(key, name))

    def hash(self, key: str) -> dict[str, str]:
        """A whole HASH as text; empty where there is none.

        Raises:
            StoreUnavailable: Redis gave no answer, or an error.
        """
        with _errors(f"HGETALL {key}"):
            found = cast("dict[bytes, bytes]", self.client.hgetall(key))
        return {name.decode(errors="replace"): value.decode(errors="replace") for name, value in found.items()}

    def due(self, key: str, most: int) -> list[str]:
        """The members of a ZSET scored by epoch ms that are due on the Redis clock, the longest due first.

        Raises:
            StoreUnavailable: Redis gave no answer, or an error.
        """
        with _errors(f"ZRANGE {key}"):
            seconds, micros = self.client.time()
            found = self.client.zrangebyscore(key, 0, seconds * 1000 + micros // 1000, start=0, num=most)
        return [member.decode(errors="replace") for member in cast("list[bytes]", found)]

    @contextmanager
    def on_one_connection(self) -> "Iterator[Store]":
        """The same Redis through a single connection: acknowledgements are counted per connection.

        Raises:
            StoreUnavailable: no connection could be opened.
        """
        with _errors("connect"):
            one = self.client.client()  # type: ignore[no-untyped-call] # untyped in redis-py
        with one:
            yield Store(one)

    def acknowledgements(self, wanted: int, within_ms: int) -> int:
        """How many of the local AOF and the replicas hold everything this connection wrote.

        Waits for `wanted` of them, at most `within_ms` for each of the two kinds.

        Raises:
            StoreUnavailable: Redis gave no answer.
        """
        with _errors("WAIT"):
            try:
                local = int(self._blocking("WAITAOF", 1, 0, within_ms)[0])
            except redis.ResponseError:
                local = 0  # AOF is off, or the server is older than Redis 7.2
            if local >= wanted:
                return local
            return local + int(self._blocking("WAIT", wanted - local, within_ms))

    def _blocking(self, *command: str | int) -> Any:  # noqa: ANN401 - as redis-py
        return self.client.execute_command(*command)  # type: ignore[no-untyped-call] # untyped in redis-py

    def close(self) -> None:
        """Close every connection."""
        self.client.close()


@contextmanager
def _errors(call: str) -> Iterator[None]:
    try:
        yield
    except redis.RedisError as error:
        raise StoreUnavailable(f"{call}: {type(error).__name__}: {error}") from error

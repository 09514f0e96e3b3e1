"""Redis, as the gate needs it: short timeouts, no hidden retries, scripts by name, one kind of error."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from decimal import Decimal
from typing import Any, cast

import redis
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError
from redis.retry import Retry
from redis.sentinel import Sentinel

import lua
from tasks import observed
from tasks.address import RedisAddress
from tasks.errors import StoreUnavailable
from tasks.settings import CALL_TIMEOUT_MS
from tasks.wire import Wires

#: Keys and arguments of one run of a script.
Call = tuple[Sequence[str], Sequence[object]]


def connect(address: RedisAddress, *, timeout_ms: int = CALL_TIMEOUT_MS, protocol: int = 2) -> "redis.Redis":
    """A client that answers or fails within `timeout_ms` per step and never retries by itself.

    Nothing is opened until the first call. redis-py 8.1 would by default wait 5 s and try 10 times, which
    outlasts every wait for permits, and would hide that a script may have run already.
    """
    options: dict[str, Any] = {
        "socket_timeout": timeout_ms / 1000,
        "socket_connect_timeout": timeout_ms / 1000,
        "retry": Retry(NoBackoff(), 0),
        "retry_on_error": [],
        "protocol": protocol,
        # redis-py's own limit, 100, would fail calls of a worker with more threads than that.
        "max_connections": 10_000,
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
        self._wires = Wires(lambda: client)

    def run(self, script: str, keys: Sequence[str], args: Sequence[object], *, resend: bool = True) -> list[Any]:
        """Run `lua/<script>.lua` and return its answer as a list.

        A call whose reply was lost is sent once more, unless `resend` is false: scripts that may be re-sent
        give the same verdict to the same token.

        Raises:
            StoreUnavailable: no answer in time, or an error for an answer. The script may have run.
        """
        with _errors(script):
            (answer,) = self._evaluate(script, [(keys, args)], resend=resend)
            if isinstance(answer, redis.ResponseError):
                raise answer
        return cast("list[Any]", answer)

    def run_many(self, script: str, calls: Sequence[Call]) -> "list[list[Any] | StoreUnavailable]":
        """Run `lua/<script>.lua` once per call in one round trip; a call that failed answers with its error.

        Nothing is sent twice, except to a server that did not know the script and ran nothing.
        """
        try:
            with _errors(script):
                answers = self._evaluate(script, calls)
        except StoreUnavailable as error:
            return [error] * len(calls)
        return [_refused(script, answer) if isinstance(answer, redis.ResponseError) else answer for answer in answers]

    def _evaluate(self, script: str, calls: Sequence[Call], *, resend: bool = False) -> list[Any]:
        """The answer to each call; the error for one that was refused."""
        wire = self._wires.mine()
        answers = wire.ask([evaluation(script, *call) for call in calls], resend=resend)
        unknown = [place for place, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
        if unknown:
            # Of a script that is sent whole the server knows the digest from then on.
            again = wire.ask([evaluation(script, *calls[place], whole=True) for place in unknown], resend=resend)
            for place, answer in zip(unknown, again, strict=True):
                answers[place] = answer
        return answers

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
        return _texts(found)

    def put(self, key: str, facts: Mapping[str, str]) -> None:
        """Set fields of a HASH.

        Raises:
            StoreUnavailable: Redis gave no answer, or an error.
        """
        with _errors(f"HSET {key}"):
            self.client.hset(key, mapping=cast("Any", facts))

    def text(self, key: str) -> bytes:
        """A STRING's bytes; empty where there is none, a description where it is of another type.

        Raises:
            StoreUnavailable: Redis gave no answer, or an error.
        """
        with _errors(f"GET {key}"):
            kind = cast("bytes", self.client.type(key))
            found = self.client.get(key) if kind == b"string" else None
        if kind not in {b"string", b"none"}:
            return b"a Redis " + kind
        return cast("bytes", found or b"")

    def set_switch(self, switch: str, info: str, facts: Mapping[str, str], audit: str, maxlen: int) -> None:
        """Set the kill switch and what stands beside it, and tell the stream `audit`, together.

        Raises:
            StoreUnavailable: Redis gave no answer, or an error.
        """
        with _errors(f"SET {switch}"):
            pipeline = self.client.pipeline(transaction=True)
            pipeline.set(switch, "true")
            pipeline.delete(info)
            pipeline.hset(info, mapping=cast("Any", facts))
            pipeline.xadd(audit, cast("Any", {"action": "halt", **facts}), maxlen=maxlen, approximate=True)
            pipeline.execute()

    def clear_switch(self, switch: str, info: str, facts: Mapping[str, str], audit: str, maxlen: int) -> None:
        """Clear the kill switch and what stands beside it, and tell the stream `audit`, together.

        Raises:
            StoreUnavailable: Redis gave no answer, or an error.
        """
        with _errors(f"DEL {switch}"):
            pipeline = self.client.pipeline(transaction=True)
            pipeline.delete(switch, info)
            pipeline.xadd(audit, cast("Any", {"action": "resume", **facts}), maxlen=maxlen, approximate=True)
            pipeline.execute()

    def scored(self, key: str, most: int) -> tuple[list[tuple[str, int]], int]:
        """The lowest members of a ZSET scored by epoch ms, and how many there are altogether.

        Raises:
            StoreUnavailable: Redis gave no answer, or an error.
        """
        with _errors(f"ZRANGE {key}"):
            found = cast("list[tuple[bytes, float]]", self.client.zrange(key, 0, most - 1, withscores=True))
            number = int(self.client.zcard(key))
        return [(member.decode(errors="replace"), int(score)) for member, score in found], number

    def due(self, key: str, most: int, skip: int = 0) -> list[str]:
        """The members of a ZSET scored by epoch ms that are due on the Redis clock, longest due first, after `skip`.

        Raises:
            StoreUnavailable: Redis gave no answer, or an error.
        """
        now_ms = int(self.now_s() * 1000)
        with _errors(f"ZRANGE {key}"):
            found = self.client.zrangebyscore(key, 0, now_ms, start=skip, num=most)
        return [member.decode(errors="replace") for member in cast("list[bytes]", found)]

    def ask(self, *commands: tuple[object, ...]) -> list[Any]:
        """Send plain reading commands in one round trip; one that Redis refuses has its error for an answer.

        Raises:
            StoreUnavailable: Redis gave no answer.
        """
        with _errors(str(commands[0][0])):
            pipeline = self.client.pipeline(transaction=False)
            for command in commands:
                pipeline.execute_command(*command)  # type: ignore[no-untyped-call] # untyped in redis-py
            return pipeline.execute(raise_on_error=False)

    def waiting(self, key: str) -> tuple[int, int]:
        """How many members a ZSET scored by epoch ms has, and how many of them are due on the Redis clock.

        Raises:
            StoreUnavailable: Redis gave no answer, or an error.
        """
        now_ms = int(self.now_s() * 1000)
        with _errors(f"ZCOUNT {key}"):
            return self.client.zcard(key), self.client.zcount(key, 0, now_ms)

    def append(self, stream: str, facts: Mapping[str, str], maxlen: int) -> None:
        """Add one entry to a stream of about `maxlen` entries.

        Raises:
            StoreUnavailable: Redis gave no answer, or an error.
        """
        with _errors(f"XADD {stream}"):
            self.client.xadd(stream, cast("Any", facts), maxlen=maxlen, approximate=True)

    def count(self, key: str, field: str) -> None:
        """Add one to a counter in a HASH. Never raises: a count that is lost changes nothing."""
        with suppress(redis.RedisError):
            self.client.hincrby(key, field)

    def entries(
        self, stream: str, most: int, *, newest_first: bool = False, beyond: str = ""
    ) -> list[tuple[str, dict[str, str]]]:
        """At most so many entries of a stream as id and text, from one end, or from `beyond` an id on.

        Raises:
            StoreUnavailable: Redis gave no answer, or an error.
        """
        edge = f"({beyond}" if beyond else ("+" if newest_first else "-")
        with _errors(f"XRANGE {stream}"):
            read = self.client.xrevrange if newest_first else self.client.xrange
            ends = (edge, "-") if newest_first else (edge, "+")
            found = cast("list[tuple[bytes, dict[bytes, bytes]]]", read(stream, *ends, count=most))
        return [(entry_id.decode(), _texts(fields)) for entry_id, fields in found]

    def note(self, key: str, hostname: str, life_s: int) -> None:
        """Write a HASH of host and epoch seconds (Redis clock) that lives `life_s`.

        Raises:
            StoreUnavailable: Redis gave no answer, or an error.
        """
        now_s = self.now_s()
        with _errors(f"HSET {key}"):
            pipeline = self.client.pipeline()
            pipeline.hset(key, mapping={"host": hostname, "at": f"{now_s:.3f}"})
            pipeline.expire(key, life_s)
            pipeline.execute()

    def forget(self, key: str, index: str, member: str) -> None:
        """Delete a key and its entry in a ZSET. Never raises: what is left expires by itself."""
        with suppress(redis.RedisError):
            pipeline = self.client.pipeline()
            pipeline.delete(key)
            pipeline.zrem(index, member)
            pipeline.execute()

    def now_s(self) -> Decimal:
        """The server's clock, epoch seconds.

        Raises:
            StoreUnavailable: Redis gave no answer.
        """
        with _errors("TIME"):
            seconds, micros = self.client.time()
        return Decimal(seconds) + Decimal(micros) / 1_000_000

    def acknowledgements(self, wanted: int, within_ms: int) -> int:
        """How many of the local AOF and the replicas hold everything that this thread wrote with its last script.

        Waits for `wanted` of them, at most `within_ms` for each of the two kinds.

        Raises:
            StoreUnavailable: Redis gave no answer.
        """
        # They are counted per connection: another one would be told of nothing that it had to wait for.
        wire = self._wires.mine()
        with _errors("WAIT"):
            found = wire.ask_there("WAITAOF", 1, 0, within_ms)
            # Refused: AOF is off, or the server is older than Redis 7.2.
            local_file = 0 if isinstance(found, redis.ResponseError) else int(found[0])
            if local_file >= wanted:
                return local_file
            replicas = wire.ask_there("WAIT", wanted - local_file, within_ms)
            if isinstance(replicas, redis.ResponseError):
                raise replicas
            return local_file + int(replicas)

    def close(self) -> None:
        """Close every connection."""
        self._wires.close()
        self.client.close()


def _texts(fields: Mapping[bytes, bytes]) -> dict[str, str]:
    return {name.decode(errors="replace"): value.decode(errors="replace") for name, value in fields.items()}


def evaluation(script: str, keys: Sequence[str], args: Sequence[object], *, whole: bool = False) -> tuple[Any, ...]:
    """The command that runs `lua/<script>.lua`: by its digest, or `whole` for a server that does not know it."""
    text = lua.source(script)
    program = ("EVAL", text) if whole else ("EVALSHA", lua.digest(text))
    return (*program, len(keys), *keys, *args)


def _refused(script: str, error: redis.ResponseError) -> StoreUnavailable:
    _count_error(error)
    return StoreUnavailable(f"{script}: {type(error).__name__}: {error}")


@contextmanager
def _errors(call: str) -> Iterator[None]:
    try:
        yield
    except redis.RedisError as error:
        _count_error(error)
        raise StoreUnavailable(f"{call}: {type(error).__name__}: {error}") from error


def _count_error(error: Exception) -> None:
    timeout, connection = isinstance(error, redis.TimeoutError), isinstance(error, redis.ConnectionError)
    observed.count("redis_errors", "timeout" if timeout else "connection" if connection else "refused")

"""A client whose calls a test interferes with: each can be lost on its way there or on its way back."""

from collections.abc import Callable
from typing import Any, Final, Self

import redis

Hook = Callable[[redis.Redis], object]


class HookedRedis(redis.Redis):
    """A client that runs a hook right before or right after one of its calls, counted from 0 at `arm`."""

    before: dict[int, Hook]
    after: dict[int, Hook]
    calls: list[str]

    def arm(self, before: dict[int, Hook] | None = None, after: dict[int, Hook] | None = None) -> Self:
        """Count from here on, with these hooks."""
        self.before, self.after, self.calls = before or {}, after or {}, []
        return self

    def client(self) -> "HookedRedis":
        """See `redis.Redis.client`; the one connection goes on counting."""
        one = HookedRedis(connection_pool=self.connection_pool, single_connection_client=True)
        one.before, one.after, one.calls = self.before, self.after, self.calls
        return one

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """See `redis.Redis.execute_command`."""
        number = len(self.calls)
        self.calls.append(str(args[0]))
        self.before.get(number, bool)(self)
        answer = super().execute_command(*args, **options)  # type: ignore[no-untyped-call] # untyped in redis-py
        self.after.get(number, bool)(self)
        return answer


def lose_request(_: redis.Redis) -> None:
    """The server never hears of the call."""
    raise redis.ConnectionError("lost on the way there")


def lose_answer(one: redis.Redis) -> None:
    """The server ran the call, and the connection is gone before its answer."""
    (one.connection or one.connection_pool).disconnect()
    raise redis.TimeoutError("lost on the way back")


LOSSES: Final[dict[str, dict[str, Hook]]] = {"before": {"before": lose_request}, "after": {"after": lose_answer}}

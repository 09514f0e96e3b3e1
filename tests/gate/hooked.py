"""A client whose calls a test interferes with: each can be lost on its way there or on its way back."""

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, Self

import redis

from tasks.wire import Wire


class Closable(Protocol):
    """What a call went over."""

    def close(self) -> None:
        """End the connection."""


Hook = Callable[[Closable], object]


class HookedRedis(redis.Redis):
    """A client that runs a hook right before or right after one of its calls, counted from 0 at `arm`.

    A script is called over its thread's wire (`HookedWire`), all else by the client itself; both count.
    """

    before: dict[int, Hook]
    after: dict[int, Hook]
    calls: list[str]

    def arm(self, before: dict[int, Hook] | None = None, after: dict[int, Hook] | None = None) -> Self:
        """Count from here on, with these hooks."""
        self.before, self.after, self.calls = before or {}, after or {}, []
        return self

    def hook(self, name: str, over: Closable, call: Callable[[], Any]) -> Any:
        """Make a call with what was armed for it."""
        number = len(self.calls)
        self.calls.append(name)
        self.before.get(number, bool)(over)
        answer = call()
        self.after.get(number, bool)(over)
        return answer

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """See `redis.Redis.execute_command`."""
        call: Callable[..., Any] = super().execute_command
        return self.hook(str(args[0]), self.connection_pool, lambda: call(*args, **options))


class HookedWire(Wire):
    """The wire of a hooked client."""

    def __init__(self, client: redis.Redis) -> None:
        super().__init__(client)
        self._client = client

    def _ask(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        if not isinstance(self._client, HookedRedis):
            return super()._ask(commands)
        answers: list[Any] = self._client.hook(
            str(commands[0][0]), self, lambda: super(HookedWire, self)._ask(commands)
        )
        return answers


def lose_request(_: Closable) -> None:
    """The server never hears of the call."""
    raise redis.ConnectionError("lost on the way there")


def lose_answer(over: Closable) -> None:
    """The server ran the call, and the connection is gone before its answer."""
    over.close()
    raise redis.TimeoutError("lost on the way back")


LOSSES: Final[dict[str, dict[str, Hook]]] = {"before": {"before": lose_request}, "after": {"after": lose_answer}}

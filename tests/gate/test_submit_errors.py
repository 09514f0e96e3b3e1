"""`submit()` while the broker fails: it tells its caller so, in time, and the plan is registered."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import redis
from celery import Celery

from tasks.errors import StoreUnavailable
from tasks.keys import Keys
from tasks.settings import Settings
from tasks.submit import submit
from tests.chaos.relay import Relay, Relays
from tests.helpers import intent_of, record_of
from tests.servers import RealServer


@pytest.fixture
def way(server: RealServer) -> Iterator[Relay]:
    """The way to the broker."""
    relays = Relays()
    with TemporaryDirectory(prefix="pw-") as folder:
        yield relays.add(Path(folder) / "r", server.socket_path)
        relays.close()


class Broken(Celery):
    """What kombu does while a connection that it wants to use is being closed."""

    def send_task(self, *_: object, **__: object) -> None:  # type: ignore[override] # it never returns
        """Fail as kombu 5.7 does."""
        raise AttributeError("'NoneType' object has no attribute 'client'")


def check_refused(settings: Settings, client: redis.Redis, keys: Keys, app: Celery | None = None) -> None:
    with pytest.raises(StoreUnavailable, match="submit the same plan again"):
        submit(intent_of(), app=app, settings=settings)

    assert "registered" == record_of(client, keys, "plan-1")["state"]


def test_whatever_the_client_raises_is_said_in_one_way(settings: Settings, client: redis.Redis, keys: Keys) -> None:
    """Errors of the messaging library that have nothing to do with the plan do not reach its author as such."""
    check_refused(settings, client, keys, Broken("broken", set_as_current=False))


@pytest.mark.parametrize("how", ["cut", "hold_up", pytest.param("lose_replies", marks=pytest.mark.long)])
@pytest.mark.fault("F9", promise="`submit` says so in time, and may be repeated")
def test_a_broker_that_does_not_answer_is_not_waited_for_for_ever(
    settings: Settings, client: redis.Redis, keys: Keys, way: Relay, how: str
) -> None:
    """A cut, a half-open connection and a lost answer end in an error that says what to do."""
    getattr(way, how)()
    check_refused(settings.model_copy(update={"broker_url": way.url}), client, keys)
    way.mend()

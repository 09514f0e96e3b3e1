"""Which Redis a command talks to: the configured one, or the embedded server that runs here or left its data."""

from collections.abc import Iterator
from contextlib import contextmanager

from ops.places import find_server, server_dir
from ops.screen import say
from ops.server import EmbeddedServer
from tasks.errors import BadSettings
from tasks.settings import Settings, read_settings


def reachable_settings() -> Settings:
    """The settings of this shell; without APPLY_REDIS_URL those of the embedded server that runs, saying so.

    Raises:
        BadSettings: nothing is configured and no embedded server runs.
    """
    settings = read_settings()
    if settings.redis_url:
        return settings
    found = find_server()
    if found is None or found.url is None:
        raise BadSettings(
            "APPLY_REDIS_URL is not set and no embedded server runs; set it, or start `permitwait up` in another shell"
        )
    say(f"APPLY_REDIS_URL is not set: using the embedded server of `permitwait {found.name}`")
    return read_settings(redis_url=found.url)


@contextmanager
def readable_settings() -> Iterator[Settings]:
    """As `reachable_settings`, for a command that only reads: also data that an embedded server left.

    That server runs until the command has read; nobody is kept from starting it for longer than that.

    Raises:
        BadSettings: nothing is configured and no embedded server runs or left data.
        EmbeddedServerError: the data that was left cannot be read.
    """
    found = None if read_settings().redis_url else find_server()
    if found is None or found.running:
        yield reachable_settings()
        return
    say(f"APPLY_REDIS_URL is not set and nothing runs here: reading what `permitwait {found.name}` left")
    with EmbeddedServer(server_dir(found.name)) as server:
        yield read_settings(redis_url=server.url)

"""Which Redis a command talks to: the configured one, or the embedded server that runs here."""

from ops.places import find_server
from ops.screen import say
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

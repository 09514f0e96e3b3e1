"""`permitwait status --reset`: begin the acceptance anew, for example after the cause of a race error was removed."""

from ops import screen
from tasks.address import RedisAddress
from tasks.keys import Keys
from tasks.settings import Settings, person
from tasks.store import Store, connect

#: The counters of before are kept for this long.
KEPT_S = 30 * 86_400


def run(settings: Settings, *, yes: bool, as_json: bool) -> int:
    """Set the counters aside after it was confirmed. Exit code: 0 they begin anew, 1 nothing was changed.

    Raises:
        StoreUnavailable: Redis gave no answer.
    """
    if not yes and not screen.confirmed("Count from nothing, as if no plan had ever run?"):
        return _tell("", "nothing was changed", as_json=as_json)
    keys, store = Keys(settings.namespace), Store(connect(RedisAddress.parse(settings.redis_url), timeout_ms=2_000))
    kept = keys.stats_until(int(store.now_s() * 1000))
    word = store.run("reset_stats", [keys.stats, kept], [person(), KEPT_S])[0]
    store.close()
    if word == b"nothing":
        return _tell("", "nothing was counted yet", as_json=as_json)
    return _tell(kept, f"counting begins anew; what was counted is kept for 30 days in {kept}", as_json=as_json)


def _tell(kept: str, message: str, *, as_json: bool) -> int:
    if as_json:
        screen.data({"reset": bool(kept), "kept": kept})
    else:
        screen.out.print(message, markup=False)
    return 0 if kept else 1

"""Two remote control commands in the place of Celery's own, which Flower uses all the time."""

from typing import Any, Final

from celery.worker import control
from kombu.utils.url import maybe_sanitize_url

#: Flower asks for events every 5 s; who has stopped asking has gone.
WATCHED_S: Final = 60.0


def install() -> None:
    """Register both; before the worker reads its first command."""
    control.control_command()(enable_events)
    control.inspect_command()(stats)


def enable_events(state: Any, **_: Any) -> Any:  # noqa: ANN401 - Celery's own signature
    """Tell worker(s) to send task-related events."""
    # Celery's own sends them for ever once somebody has looked: 19 % of the CPU of a waiting plan, measured.
    answer = control.enable_events(state)  # type: ignore[attr-defined] # missing in the stubs
    dispatcher = state.consumer.event_dispatcher
    # Without groups everything is sent, as the worker's option -E asks for.
    if dispatcher is not None and dispatcher.groups:
        if hasattr(dispatcher, "last_watch"):
            dispatcher.last_watch.cancel()
        disable = control.disable_events  # type: ignore[attr-defined] # missing in the stubs
        dispatcher.last_watch = state.consumer.timer.call_after(WATCHED_S, disable, (state,))
    return answer


def stats(state: Any, **_: Any) -> dict[str, Any]:  # noqa: ANN401 - Celery's own signature
    """Request worker statistics/information."""
    # Celery's own tells the password: the host name of a broker on a socket is its whole address.
    told: dict[str, Any] = state.consumer.controller.stats()
    broker = told.get("broker")
    if isinstance(broker, dict):
        broker["hostname"] = maybe_sanitize_url(str(broker.get("hostname")))
    return told

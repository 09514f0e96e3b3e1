"""`permitwait up`: embedded server and worker, on request Flower, until Ctrl-C; the data is kept."""

import signal
import threading
from contextlib import ExitStack

from ops import screen
from ops.child import Child, celery_command
from ops.dashboard import Dashboard
from ops.places import server_dir
from ops.server import EmbeddedServer
from tasks.settings import read_settings


def run(flower_port: int | None = None) -> int:
    """Run until Ctrl-C or TERM, with the dashboard where `flower_port` is given.

    Returns the exit code: 0 stopped by the operator, 1 the worker ended by itself.

    Raises:
        BadSettings: a setting is not allowed.
        EmbeddedServerError: the server cannot start, for example because `up` runs already.
    """
    settings = read_settings()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with EmbeddedServer(server_dir("up")) as server, ExitStack() as at_end:
        dashboard = None
        if flower_port is not None:
            dashboard = Dashboard(server.url, flower_port, settings.flower_auth_file)
            at_end.callback(dashboard.stop)
        worker = Child(celery_command("worker"), {"APPLY_REDIS_URL": server.url}, screen.coloured)
        try:
            screen.say(
                f"mode {settings.mode}, symbols {', '.join(settings.allowlist)}, data kept in {server_dir('up')}"
            )
            screen.say(f"for other programs: export APPLY_REDIS_URL={server.url}")
            screen.say("submit plans from another shell: permitwait submit FILE --wait     stop: Ctrl-C")
            while not stop.wait(0.2):
                if not server.running():
                    screen.say("the embedded server ended; its data is kept, start `permitwait up` again")
                    return 1
                if not worker.running():
                    screen.say("the worker ended by itself; its last lines are above")
                    return 1
                if dashboard:
                    dashboard.look()
        finally:
            screen.say("stopping: the worker finishes what it has in hand")
            worker.stop()
    return 0

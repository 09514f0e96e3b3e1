"""`permitwait up`: embedded server and worker until Ctrl-C; the data is kept."""

import signal
import threading

from ops import screen
from ops.child import Child, celery_command
from ops.places import server_dir
from ops.server import EmbeddedServer
from tasks.settings import read_settings


def run() -> int:
    """Run until Ctrl-C or TERM. Returns the exit code: 0 stopped by the operator, 1 the worker ended by itself.

    Raises:
        BadSettings: a setting is not allowed.
        EmbeddedServerError: the server cannot start, for example because `up` runs already.
    """
    settings = read_settings()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with EmbeddedServer(server_dir("up")) as server:
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
        finally:
            screen.say("stopping: the worker finishes what it has in hand")
            worker.stop()
    return 0

"""Flower as a child of `permitwait up`: on this machine only, with a login, and never in the way of the worker."""

import base64
import http.client
import secrets
from collections import deque
from importlib.util import find_spec
from typing import Final

from ops import screen
from ops.child import Child, celery_command
from tasks.errors import BadSettings
from workers.dashboard import logins_of

_HOST: Final = "127.0.0.1"

#: One look whether it answers, seconds; the loop that looks also watches the worker.
_ANSWER_S: Final = 0.5


class Dashboard:
    """Flower on `port` of the loopback interface; tells once where it is, and once when it ended by itself.

    Raises:
        BadSettings: Flower is not installed, or the file with the logins cannot be used.
    """

    def __init__(self, redis_url: str, port: int, auth_file: str) -> None:
        if find_spec("flower") is None:
            raise BadSettings("Flower is not installed: pip install 'permitwait[flower]'")
        known = logins_of(auth_file)
        self._login = known[0] if known else f"permitwait:{secrets.token_urlsafe(15)}"
        self._own_login = not known
        self._port = port
        self._last_lines: deque[str] = deque(maxlen=3)
        self._told = ""
        # In the environment, not on the command line, which every user of the machine can read.
        env = {"APPLY_REDIS_URL": redis_url, "APPLY_FLOWER_AUTH_FILE": auth_file} | (
            {} if known else {"FLOWER_BASIC_AUTH": self._login}
        )
        command = celery_command("flower", f"--address={_HOST}", f"--port={port}")
        self._child = Child(command, env, self._last_lines.append)

    def look(self) -> None:
        """Say what changed since the last look: that it answers now, or that it ended."""
        if not self._child.running():
            self._tell("ended", f"the dashboard ended, plans go on without it: {' '.join(self._last_lines)[-300:]}")
        elif not self._told and self.answers():
            user, _, password = self._login.partition(":")
            login = f"user {user}, password {password}" if self._own_login else "log in with APPLY_FLOWER_AUTH_FILE"
            self._tell("answers", f"dashboard: http://{_HOST}:{self._port}/tasks ({login})")

    def answers(self) -> bool:
        """Whether Flower answers, and is ours: another one on this port does not know the login."""
        connection = http.client.HTTPConnection(_HOST, self._port, timeout=_ANSWER_S)
        try:
            login = base64.b64encode(self._login.encode()).decode()
            connection.request("GET", "/api/task/types", headers={"Authorization": f"Basic {login}"})
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def stop(self) -> None:
        """End it; there is nothing that it could lose."""
        self._child.stop(within_s=5.0)

    def _tell(self, what: str, sentence: str) -> None:
        if self._told != what:
            self._told = what
            screen.say(sentence)

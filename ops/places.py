"""Where the embedded servers keep their data, and whether one of them runs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import platformdirs

from ops.server import answering_pid, holds_data, recorded_socket, socket_url

ServerName = Literal["up", "demo"]

_BY_PREFERENCE: Final[tuple[ServerName, ...]] = ("up", "demo")


@dataclass(frozen=True, slots=True)
class FoundServer:
    """The embedded server of one command: its address while it runs, or None where it only left data."""

    name: ServerName
    url: str | None

    @property
    def running(self) -> bool:
        """Whether it answered when it was looked for."""
        return self.url is not None


def data_root() -> Path:
    """Return the folder of all our data in the user's data folder; it need not exist."""
    return platformdirs.user_data_path("permitwait", appauthor=False)


def server_dir(name: ServerName) -> Path:
    """Return the data directory of that command's embedded server; it need not exist."""
    return data_root() / name


def find_server() -> FoundServer | None:
    """Find the embedded server that runs now, `up` before `demo`; else one that left data; else None.

    Only looks: nothing is started, made or changed.
    """
    for name in _BY_PREFERENCE:
        socket_path = recorded_socket(server_dir(name))
        if socket_path is not None and answering_pid(socket_path) is not None:
            return FoundServer(name, socket_url(socket_path))
    for name in _BY_PREFERENCE:
        if holds_data(server_dir(name)):
            return FoundServer(name, None)
    return None

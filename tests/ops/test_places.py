from pathlib import Path

import platformdirs
import pytest

from ops.places import FoundServer, data_root, find_server, server_dir
from ops.server import EmbeddedServer


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A user data folder of the test's own, on either system."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))


def snapshot(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in [folder, *folder.rglob("*")]}


def test_data_lives_in_the_users_data_folder(tmp_path: Path) -> None:
    """All embedded data is below the user's data folder for `permitwait`, each command's in its own."""
    assert platformdirs.user_data_path("permitwait", appauthor=False) == data_root()
    assert tmp_path in data_root().parents
    assert data_root() / "up" == server_dir("up")
    assert data_root() / "demo" == server_dir("demo")


def test_nothing_is_found_and_nothing_is_made_where_nothing_was(tmp_path: Path) -> None:
    """Where no command ever ran, there is no server, and looking for one makes no folder."""
    assert find_server() is None
    assert [] == list(tmp_path.iterdir())


def test_a_running_server_is_found_and_left_alone(tmp_path: Path) -> None:
    """The running server of `demo` is found with its address, and the look changes no file."""
    with EmbeddedServer(server_dir("demo")) as server:
        before = snapshot(tmp_path)
        found = find_server()

        assert FoundServer("demo", server.url) == found
        assert found.running
        assert before == snapshot(tmp_path)


def test_the_server_of_up_comes_first() -> None:
    """Of two running servers, and of two that left data, that of `up` is meant; a running one beats data."""
    with EmbeddedServer(server_dir("demo")) as demo:
        with EmbeddedServer(server_dir("up")) as up:
            assert FoundServer("up", up.url) == find_server()

        assert FoundServer("demo", demo.url) == find_server()

    assert FoundServer("up", None) == find_server()


def test_data_without_a_server_is_told_apart() -> None:
    """Data left by a server that ended, in order or not, is reported as not running and stays unstarted."""
    server = EmbeddedServer(server_dir("demo"))
    server.start()
    server.kill()

    found = find_server()

    assert FoundServer("demo", None) == found
    assert not found.running


def test_a_server_with_its_socket_elsewhere_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A data folder too deep for a socket does not hide the server."""
    monkeypatch.setenv("HOME", str(tmp_path / ("deep" * 40)))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / ("deep" * 40)))
    with EmbeddedServer(server_dir("up")) as server:
        assert FoundServer("up", server.url) == find_server()
        assert server_dir("up") not in server.socket_path.parents

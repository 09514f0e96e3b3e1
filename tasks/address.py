"""One Redis address, as each library wants to hear it."""

import re
from dataclasses import dataclass, replace
from typing import Any, Final, Self
from urllib.parse import parse_qs, unquote, urlsplit

#: What may be written in APPLY_REDIS_URL and APPLY_RESULT_BACKEND.
REDIS_SCHEMES: Final = ("redis", "rediss", "redis+socket", "unix", "sentinel")

_SENTINEL_PORT = 26379
# A password with one of these ends the host part early; what follows must not be shown.
_ENCODED = "in a password / ? # @ must be percent-encoded"
_SENTINEL_FORM = "sentinel://host:port,host:port/<master>/<db>"


@dataclass(frozen=True)
class RedisAddress:
    """A parsed Redis address.

    Attributes:
        scheme: one of `redis`, `rediss`, `redis+socket`, `sentinel` (`unix` is read as `redis+socket`).
        url: the address as given; for a socket in the form that Celery knows.
        socket_path: of the Unix socket, else empty.
        sentinels: host and port of every sentinel, else empty.
        master: the name the sentinels know the master by, else empty.
        db: database number.
    """

    scheme: str
    url: str
    socket_path: str = ""
    sentinels: tuple[tuple[str, int], ...] = ()
    master: str = ""
    db: int = 0
    username: str | None = None
    password: str | None = None

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read an address.

        Raises:
            ValueError: in one sentence, when it is not one of `REDIS_SCHEMES` or is incomplete.
        """
        scheme = url.partition("://")[0]
        if scheme not in REDIS_SCHEMES:
            raise ValueError(f"must start with one of {', '.join(f'{known}://' for known in REDIS_SCHEMES)}")
        if scheme == "sentinel":
            return cls._sentinel(url)
        parts = urlsplit(url)
        username = unquote(parts.username) if parts.username else None
        password = unquote(parts.password) if parts.password else None
        if scheme in {"unix", "redis+socket"}:
            if len(parts.path) < len("/x"):
                raise ValueError("must name the path of the socket, e.g. redis+socket:///run/redis/redis.sock")
            query = parse_qs(parts.query)
            db = _number((query.get("virtual_host") or query.get("db") or ["0"])[0], "database")
            login = parts.netloc.rpartition("@")[0]
            celery_url = f"redis+socket://{login + '@' if login else ''}{parts.path}?virtual_host={db}"
            return cls(
                "redis+socket", celery_url, socket_path=unquote(parts.path), db=db, username=username, password=password
            )
        if not parts.hostname:
            raise ValueError(f"must name a host, e.g. {scheme}://localhost:6379/0")
        try:
            _ = parts.port  # urllib checks the port only when it is read
        except ValueError:
            raise ValueError(f"the port must be a whole number up to 65535; {_ENCODED}") from None
        db = _number(parts.path.strip("/") or "0", "database")
        return cls(scheme, url, db=db, username=username, password=password)

    @classmethod
    def _sentinel(cls, url: str) -> Self:
        netloc, _, path = url.removeprefix("sentinel://").partition("/")
        login, _, hosts = netloc.rpartition("@")
        master, _, db = path.partition("/")
        if not hosts or not master:
            raise ValueError(f"must have the form {_SENTINEL_FORM}")
        sentinels = []
        for host in hosts.split(","):
            name, _, port = host.partition(":")
            if not name:
                raise ValueError(f"must have the form {_SENTINEL_FORM}")
            sentinels.append((name, _number(port or str(_SENTINEL_PORT), "port")))
        username, _, password = login.partition(":")
        return cls(
            "sentinel",
            url,
            sentinels=tuple(sentinels),
            master=master,
            db=_number(db or "0", "database"),
            username=unquote(username) or None,
            password=unquote(password) or None,
        )

    def without_login(self) -> Self:
        """The same address as somebody without a login reaches it."""
        scheme, separator, rest = self.url.partition("://")
        place, slash, path = rest.partition("/")
        path = re.sub(r"(?<=[?&])(username|password)=[^&]*&?", "", path)
        bare = f"{scheme}{separator}{place.rpartition('@')[2]}{slash}{path}"
        return replace(self, url=bare, username=None, password=None)

    @property
    def celery_url(self) -> str:
        """The address in Celery's form (several sentinels are joined by semicolons there)."""
        if self.scheme == "rediss" and "ssl_cert_reqs=" not in self.url:
            # Without it Celery refuses the address for results, and as broker verifies no certificate.
            return f"{self.url}{'&' if '?' in self.url else '?'}ssl_cert_reqs=required"
        if self.scheme != "sentinel":
            return self.url
        login = self.url.removeprefix("sentinel://").partition("/")[0].rpartition("@")[0]
        prefix = f"sentinel://{login + '@' if login else ''}"
        return ";".join(f"{prefix}{host}:{port}/{self.db}" for host, port in self.sentinels)

    @property
    def celery_options(self) -> dict[str, Any]:
        """Transport options that go with `celery_url`."""
        return {"master_name": self.master} if self.scheme == "sentinel" else {}


@dataclass(frozen=True)
class HostPort:
    """Where a server of ours listens."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `host:port` or `[IPv6]:port`.

        Raises:
            ValueError: in one sentence.
        """
        host, _, port = text.rpartition(":")
        bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        if not bare or (":" in bare and bare == host) or not port.isascii() or not port.isdigit():
            raise ValueError("must have the form host:port, e.g. 127.0.0.1:19101 (0.0.0.0:19101: all interfaces)")
        if not 0 < int(port) < 65_536:  # noqa: PLR2004 - what a port is
            raise ValueError("the port must be from 1 to 65535")
        return cls(bare, int(port))


def _number(text: str, what: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise ValueError(f"the {what} must be a whole number; {_ENCODED}")
    return int(text)


def for_celery(url: str) -> tuple[str, dict[str, Any]]:
    """A broker or result address as Celery wants it: the URL, and the transport options that go with it."""
    if not url or url.startswith("amqp"):
        return url, {}
    address = RedisAddress.parse(url)
    return address.celery_url, address.celery_options

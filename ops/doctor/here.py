"""Reads this machine: who runs what with which versions, and where the configured addresses lead."""

import os
import socket
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from importlib.metadata import version
from ipaddress import ip_address
from pathlib import Path
from stat import S_IRGRP, S_IROTH
from typing import Final
from urllib.parse import urlsplit

from redis.utils import HIREDIS_AVAILABLE

from ops.doctor.facts import Address, Host, Reach
from tasks.address import RedisAddress
from tasks.settings import Settings, masked

#: Where Flower listens unless told otherwise.
FLOWER_URL: Final = "http://127.0.0.1:5555"

_ANSWER_S: Final = 1.0
_OK: Final = 200
_PACKAGES: Final = ("permitwait", "celery", "kombu", "redis")


def host(settings: Settings, flower_url: str) -> Host:
    """This machine as the command finds it."""
    return Host(
        root=os.geteuid() == 0,
        hiredis=HIREDIS_AVAILABLE,
        readable_env=_readable_env(settings),
        versions={name: version(name) for name in _PACKAGES},
        flower_url=flower_url,
        flower=tuple(_flower(flower_url)),
    )


def addresses(settings: Settings) -> tuple[Address, ...]:
    """Every configured address, each once."""
    found: dict[str, Address] = {}
    for name in ("redis_url", "broker_url", "result_backend"):
        url, setting = getattr(settings, name), f"APPLY_{name}".upper()
        if url and url not in found:
            found[url] = Address(
                setting=setting,
                shown=masked(setting, url),
                reach=_reach(_hosts(url)),
                encrypted=url.startswith(("rediss:", "amqps:")),
                verified="ssl_cert_reqs=none" not in url.lower() and "cert_none" not in url.lower(),
            )
    return tuple(found.values())


def _hosts(url: str) -> list[str]:
    if url.startswith("amqp"):
        return [urlsplit(url).hostname or "localhost"]
    address = RedisAddress.parse(url)
    if address.socket_path:
        return []
    return [name for name, _ in address.sentinels] or [urlsplit(url).hostname or "localhost"]


def _reach(hosts: list[str]) -> Reach:
    try:
        found = [ip_address(entry[4][0]) for name in hosts for entry in socket.getaddrinfo(name, None)]
    except (OSError, ValueError):
        return "unresolved"
    if any(address.is_global for address in found):
        return "public"
    return "local" if all(address.is_loopback for address in found) else "private"


def _readable_env(settings: Settings) -> str:
    file = Path(".env")
    secret = any(name in "".join(addresses_of(settings)) for name in ("@", "password="))
    try:
        mode = file.stat().st_mode
    except OSError:
        return ""
    return str(file.absolute()) if secret and mode & (S_IRGRP | S_IROTH) else ""


def addresses_of(settings: Settings) -> tuple[str, ...]:
    """The addresses as they were given, passwords and all."""
    return (settings.redis_url, settings.broker_url, settings.result_backend)


def _flower(url: str) -> Iterator[str]:
    parts = urlsplit(url)
    prefix = parts.path.rstrip("/")
    page = _fetch(url, f"{prefix}/")
    if page is None or "flower" not in page.lower():
        return
    yield "pages"
    if _fetch(url, f"{prefix}/api/workers") is not None:
        yield "tasks"


def _fetch(url: str, path: str) -> str | None:
    """What anybody gets there; None where the answer is not 200, or there is none."""
    parts = urlsplit(url)
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = kind(parts.hostname or "127.0.0.1", parts.port, timeout=_ANSWER_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        text = answer.read(65_536).decode(errors="replace")
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()
    return text if answer.status == _OK else None

"""One Redis address, as redis-py, kombu and Celery want to hear it."""

import pytest

from tasks.address import HostPort, RedisAddress, for_celery


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://localhost", ("redis", 0, None, None)),
        ("redis://localhost:6379/3", ("redis", 3, None, None)),
        ("redis://:secret@localhost:6379/0", ("redis", 0, None, "secret")),
        ("redis://user:p%40ss%2F@localhost/1", ("redis", 1, "user", "p@ss/")),
        ("redis://[::1]:6379/2", ("redis", 2, None, None)),
        ("rediss://user:secret@redis.example:6380/1", ("rediss", 1, "user", "secret")),
    ],
)
def test_addresses_by_host(url: str, expected: tuple[object, ...]) -> None:
    """Scheme, database and login are read as everyone writes them; the address itself is kept."""
    address = RedisAddress.parse(url)

    assert expected == (address.scheme, address.db, address.username, address.password)
    assert url == address.url


@pytest.mark.parametrize(
    ("url", "path", "db", "login"),
    [
        ("redis+socket:///run/redis.sock", "/run/redis.sock", 0, (None, None)),
        ("unix:///run/redis.sock", "/run/redis.sock", 0, (None, None)),
        ("unix:///run/redis.sock?db=4", "/run/redis.sock", 4, (None, None)),
        ("redis+socket:///run/redis.sock?virtual_host=5", "/run/redis.sock", 5, (None, None)),
        ("unix://:secret@/run/redis.sock", "/run/redis.sock", 0, (None, "secret")),
        ("redis+socket://user:p%40ss@/run/redis.sock", "/run/redis.sock", 0, ("user", "p@ss")),
        ("unix:///run/a%20b.sock", "/run/a b.sock", 0, (None, None)),
    ],
)
def test_addresses_by_socket(url: str, path: str, db: int, login: tuple[str | None, str | None]) -> None:
    """Both names of the scheme and both names of the database are understood."""
    address = RedisAddress.parse(url)

    assert ("redis+socket", path, db) == (address.scheme, address.socket_path, address.db)
    assert login == (address.username, address.password)


@pytest.mark.parametrize(
    ("url", "celery_url"),
    [
        ("unix:///run/redis.sock", "redis+socket:///run/redis.sock?virtual_host=0"),
        ("unix:///run/redis.sock?db=4", "redis+socket:///run/redis.sock?virtual_host=4"),
        ("unix://:s%40@/run/redis.sock", "redis+socket://:s%40@/run/redis.sock?virtual_host=0"),
        ("redis://:secret@localhost:6379/3", "redis://:secret@localhost:6379/3"),
        ("sentinel://a:1/main/2", "sentinel://a:1/2"),
        ("sentinel://a:1,b:2,c/main/2", "sentinel://a:1/2;sentinel://b:2/2;sentinel://c:26379/2"),
        ("sentinel://:secret@a:1,b:2/main", "sentinel://:secret@a:1/0;sentinel://:secret@b:2/0"),
    ],
)
def test_what_celery_hears(url: str, celery_url: str) -> None:
    """Celery gets its own form: a virtual host for sockets, a list for sentinels, the master as an option."""
    options = {"master_name": "main"} if url.startswith("sentinel") else {}

    assert (celery_url, options) == for_celery(url)


@pytest.mark.parametrize("url", ["", "amqp://user:secret@localhost:5672//", "amqps://rabbit.example/vhost"])
def test_what_is_no_redis_address_is_handed_on(url: str) -> None:
    """RabbitMQ's addresses and an unset one reach Celery as they are."""
    assert (url, {}) == for_celery(url)


@pytest.mark.parametrize(
    ("url", "celery_url"),
    [
        ("rediss://h:6380/1", "rediss://h:6380/1?ssl_cert_reqs=required"),
        ("rediss://h:6380/1?ssl_ca_certs=/ca.pem", "rediss://h:6380/1?ssl_ca_certs=/ca.pem&ssl_cert_reqs=required"),
        ("rediss://h:6380/1?ssl_cert_reqs=none", "rediss://h:6380/1?ssl_cert_reqs=none"),
    ],
)
def test_certificates_are_verified_unless_said_otherwise(url: str, celery_url: str) -> None:
    """Celery, which refuses `rediss://` as result backend and verifies nothing as broker, is told to verify."""
    assert (celery_url, {}) == for_celery(url)


def test_sentinels() -> None:
    """Every sentinel with its port, the master's name, the database and the login."""
    address = RedisAddress.parse("sentinel://user:p%40ss@a:1,b/main/2")

    assert ((("a", 1), ("b", 26379)), "main", 2) == (address.sentinels, address.master, address.db)
    assert ("user", "p@ss") == (address.username, address.password)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("", "must start with one of redis://"),
        ("localhost:6379", "must start with one of redis://"),
        ("http://localhost", "must start with one of redis://"),
        ("rediscluster://localhost", "must start with one of redis://"),
        ("redis:/localhost", "must start with one of redis://"),
        ("REDIS://localhost", "must start with one of redis://"),
        ("redis://", "must name a host"),
        ("redis:///0", "must name a host"),
        ("redis://localhost/zero", "the database must be a whole number"),
        ("redis://localhost/-1", "the database must be a whole number"),
        ("redis://localhost/0/1", "the database must be a whole number"),
        ("redis://localhost/\u0661", "the database must be a whole number"),
        ("redis://localhost:port/0", "port must be a whole number"),
        ("redis://localhost:99999/0", "port must be a whole number"),
        ("unix://", "must name the path of the socket"),
        ("unix:///", "must name the path of the socket"),
        ("redis+socket://localhost", "must name the path of the socket"),
        ("unix:///run/redis.sock?db=x", "the database must be a whole number"),
        ("sentinel://", "must have the form sentinel://host:port"),
        ("sentinel://a:1", "must have the form sentinel://host:port"),
        ("sentinel://a:1/", "must have the form sentinel://host:port"),
        ("sentinel:///main/0", "must have the form sentinel://host:port"),
        ("sentinel://a:1,/main/0", "must have the form sentinel://host:port"),
        ("sentinel://:1/main/0", "must have the form sentinel://host:port"),
        ("sentinel://a:x/main/0", "the port must be a whole number"),
        ("sentinel://a:1/main/x", "the database must be a whole number"),
    ],
)
def test_other_addresses_are_refused(url: str, told: str) -> None:
    """Each refusal says in one sentence what is missing or allowed."""
    with pytest.raises(ValueError, match=told):
        RedisAddress.parse(url)


@pytest.mark.parametrize(
    "url",
    [
        "redis://user:hun#ter2@localhost/0",
        "redis://user:hun/ter2@localhost/0",
        "redis://user:hun?ter2@localhost/0",
        "sentinel://user:hun/ter2@a:1/main/x",
    ],
)
def test_a_refusal_shows_no_password(url: str) -> None:
    """A password that must be percent-encoded and is not ends the parse, and is not repeated in the message."""
    with pytest.raises(ValueError, match="must") as refused:
        RedisAddress.parse(url)

    assert "hun" not in str(refused.value)
    assert "ter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("127.0.0.1:19101", "127.0.0.1", 19101), ("0.0.0.0:1", "0.0.0.0", 1), ("[::1]:65535", "::1", 65535)],  # noqa: S104 - read, not listened on
)
def test_where_to_listen(text: str, host: str, port: int) -> None:
    """Host and port of a page of ours, IPv6 in brackets."""
    assert HostPort(host, port) == HostPort.parse(text)


@pytest.mark.parametrize(
    ("url", "bare"),
    [
        ("redis://u:p%40x@host:6379/1", "redis://host:6379/1"),
        ("redis+socket://u:p@/run/s.sock", "redis+socket:///run/s.sock?virtual_host=0"),
        ("redis://host/0?username=u&password=p&socket_timeout=1", "redis://host/0?socket_timeout=1"),
        ("sentinel://u:p@a:1,b:2/main/0", "sentinel://a:1,b:2/main/0"),
    ],
)
def test_an_address_without_its_login(url: str, bare: str) -> None:
    """As somebody without a login reaches the same place."""
    stranger = RedisAddress.parse(url).without_login()

    assert (bare, None, None) == (stranger.url, stranger.username, stranger.password)

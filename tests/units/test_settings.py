"""The settings: defaults, bounds, and the one line that a bad value earns."""

from pathlib import Path

import pytest

from tasks.errors import BadSettings
from tasks.settings import ALWAYS_REQUIRED, FUTURE_TOLERANCE_MS, Settings, masked, read_settings

#: CONTRACT "Settings", and where the dashboard's logins are.
DEFAULTS = {
    "APPLY_REDIS_URL": "",
    "APPLY_BROKER_URL": "",
    "APPLY_RESULT_BACKEND": "",
    "APPLY_NAMESPACE": "quantum",
    "APPLY_MODE": "dry_run",
    "APPLY_LIVE_CONFIRM": "",
    "APPLY_ALLOWLIST": ("BTCUSDT",),
    "APPLY_PERMITS": ("governor", "p33"),
    "APPLY_ISSUERS": ("governor", "p33"),
    "APPLY_PERMIT_WAIT_MS": 1200,
    "APPLY_PERMIT_STEP_MS": 100,
    "APPLY_PERMIT_MAX_TTL_MS": 120000,
    "APPLY_PLAN_MAX_AGE_MS": 60000,
    "APPLY_RECORD_TTL_S": 86400,
    "APPLY_CLAIM_LEASE_MS": 10000,
    "APPLY_CONSUME_ACKS": 0,
    "APPLY_ONE_CORE": False,
    "APPLY_LOG_FORMAT": "text",
    "APPLY_FLOWER_AUTH_FILE": "",
    "APPLY_METRICS_ADDRESS": "",
}


@pytest.fixture(autouse=True)
def _empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No `.env` of a developer is read."""
    monkeypatch.chdir(tmp_path)


def refusal(monkeypatch: pytest.MonkeyPatch, **environment: str) -> str:
    """The message with which this environment stops a start."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(BadSettings) as refused:
        read_settings()
    return str(refused.value)


def test_defaults_are_the_contracts() -> None:
    """Without any environment every setting has its default, and there is no other setting."""
    assert DEFAULTS == {f"APPLY_{name.upper()}": value for name, value in read_settings().model_dump().items()}


def test_every_setting_is_explained() -> None:
    """`permitwait config` has a sentence for each."""
    assert [] == [name for name, info in Settings.model_fields.items() if not info.description]


def test_broker_and_results_follow_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    """One address is enough; each of the two others can be set apart."""
    monkeypatch.setenv("APPLY_REDIS_URL", "redis://a/1")
    one = read_settings()
    monkeypatch.setenv("APPLY_BROKER_URL", "amqp://b//")
    monkeypatch.setenv("APPLY_RESULT_BACKEND", "unix:///c?db=2")
    apart = read_settings()

    assert ("redis://a/1", "redis://a/1") == (one.effective_broker_url, one.effective_result_backend)
    assert ("amqp://b//", "unix:///c?db=2") == (apart.effective_broker_url, apart.effective_result_backend)


@pytest.mark.parametrize(
    ("text", "permits"),
    [
        ("", ("governor", "p33")),
        ("p26", ("governor", "p33", "p26")),
        ("governor", ("p33", "governor")),
        ("p26,governor,p33", ("p26", "governor", "p33")),
        (" p33 ,, p26,p26 ", ("governor", "p33", "p26")),
    ],
)
def test_permits_can_only_be_added(monkeypatch: pytest.MonkeyPatch, text: str, permits: tuple[str, ...]) -> None:
    """Whatever is written, governor and p33 stay required; the order given is kept, nothing comes twice."""
    monkeypatch.setenv("APPLY_PERMITS", text)

    assert permits == read_settings().permits
    assert set(ALWAYS_REQUIRED) <= set(permits)


@pytest.mark.parametrize(("text", "issuers"), [("", ()), ("p33", ("p33",)), ("governor,p33", ("governor", "p33"))])
def test_issuers_may_be_none(monkeypatch: pytest.MonkeyPatch, text: str, issuers: tuple[str, ...]) -> None:
    """Where other services issue the permits, ours are switched off by an empty list."""
    monkeypatch.setenv("APPLY_ISSUERS", text)

    assert issuers == read_settings().issuers


def test_a_list_of_symbols(monkeypatch: pytest.MonkeyPatch) -> None:
    """Symbols are separated by commas, blanks do not matter."""
    monkeypatch.setenv("APPLY_ALLOWLIST", "BTCUSDT, ETHUSDT,")

    assert ("BTCUSDT", "ETHUSDT") == read_settings().allowlist


#: Setting, bad value, what its line must say is allowed.
BAD_VALUES = [
    ("APPLY_MODE", "real", "'dry_run', 'paper', 'testnet' or 'live'"),
    ("APPLY_MODE", "", "'dry_run', 'paper', 'testnet' or 'live'"),
    ("APPLY_MODE", "PAPER", "'dry_run', 'paper', 'testnet' or 'live'"),
    ("APPLY_NAMESPACE", "", "[A-Za-z0-9_-]{1,32}"),
    ("APPLY_NAMESPACE", "a:b", "[A-Za-z0-9_-]{1,32}"),
    ("APPLY_NAMESPACE", "a\nb", "[A-Za-z0-9_-]{1,32}"),
    ("APPLY_ALLOWLIST", "", "at least one symbol"),
    ("APPLY_ALLOWLIST", "btcusdt", "2 to 30 of A-Z and 0-9"),
    ("APPLY_ALLOWLIST", "BTCUSDT,*", "2 to 30 of A-Z and 0-9"),
    ("APPLY_PERMITS", "none", "known are governor, p33, p26"),
    ("APPLY_PERMITS", "Governor", "known are governor, p33, p26"),
    ("APPLY_ISSUERS", "p26", "known are governor, p33"),
    ("APPLY_REDIS_URL", "localhost:6379", "redis://, rediss://, redis+socket://, unix://, sentinel://"),
    ("APPLY_REDIS_URL", "amqp://localhost", "redis://, rediss://, redis+socket://, unix://, sentinel://"),
    ("APPLY_REDIS_URL", "redis://localhost/x", "whole number"),
    ("APPLY_BROKER_URL", "http://localhost", "sentinel://, or with amqp:// or amqps://"),
    ("APPLY_BROKER_URL", "memory://", "sentinel://, or with amqp:// or amqps://"),
    ("APPLY_RESULT_BACKEND", "amqp://localhost", "redis://, rediss://, redis+socket://, unix://, sentinel://"),
    ("APPLY_PERMIT_WAIT_MS", "0", "greater than or equal to 1"),
    ("APPLY_PERMIT_WAIT_MS", "60001", "less than or equal to 60000"),
    ("APPLY_PERMIT_STEP_MS", "9", "greater than or equal to 10"),
    ("APPLY_PERMIT_STEP_MS", "10001", "less than or equal to 10000"),
    ("APPLY_PERMIT_MAX_TTL_MS", "999", "greater than or equal to 1000"),
    ("APPLY_PERMIT_MAX_TTL_MS", "3600001", "less than or equal to 3600000"),
    ("APPLY_PLAN_MAX_AGE_MS", "999", "greater than or equal to 1000"),
    ("APPLY_PLAN_MAX_AGE_MS", "86400001", "less than or equal to 86400000"),
    ("APPLY_RECORD_TTL_S", "59", "greater than or equal to 60"),
    ("APPLY_RECORD_TTL_S", "31536001", "less than or equal to 31536000"),
    ("APPLY_CLAIM_LEASE_MS", "999", "greater than or equal to 1000"),
    ("APPLY_CLAIM_LEASE_MS", "600001", "less than or equal to 600000"),
    ("APPLY_CONSUME_ACKS", "-1", "greater than or equal to 0"),
    ("APPLY_CONSUME_ACKS", "17", "less than or equal to 16"),
    ("APPLY_ONE_CORE", "", "valid boolean"),
    ("APPLY_ONE_CORE", "1.5", "valid boolean"),
    ("APPLY_ONE_CORE", "core", "valid boolean"),
    ("APPLY_METRICS_ADDRESS", "9100", "must have the form host:port"),
    ("APPLY_METRICS_ADDRESS", ":9100", "must have the form host:port"),
    ("APPLY_METRICS_ADDRESS", "::1:9100", "must have the form host:port"),
    ("APPLY_METRICS_ADDRESS", "127.0.0.1:x", "must have the form host:port"),
    ("APPLY_METRICS_ADDRESS", "127.0.0.1:0", "from 1 to 65535"),
    ("APPLY_METRICS_ADDRESS", "127.0.0.1:65536", "from 1 to 65535"),
    *(
        (name, bad, "valid integer")
        for name, value in DEFAULTS.items()
        if value == 0 and value is not False
        for bad in ["", "x", "NaN", "0x1"]
    ),
    *(
        (name, bad, "valid integer")
        for name, value in DEFAULTS.items()
        if isinstance(value, int) and value
        for bad in ["", "1.5s", "1e3", "inf", "true"]
    ),
]


@pytest.mark.parametrize(("name", "value", "allowed"), BAD_VALUES)
def test_a_bad_value_stops_the_start(monkeypatch: pytest.MonkeyPatch, name: str, value: str, allowed: str) -> None:
    """The refusal is one printable line that names the setting, its value and what is allowed."""
    line = refusal(monkeypatch, **{name: value})

    assert f"{name}={value.encode('unicode_escape').decode()} is not allowed: " in line
    assert allowed in line
    assert line.isprintable()


#: Two settings that do not go together, and what the line must show of them.
AT_ODDS = {
    "step above wait": {"APPLY_PERMIT_WAIT_MS": "50", "APPLY_PERMIT_STEP_MS": "100"},
    "record shorter than a plan's age": {"APPLY_RECORD_TTL_S": "60", "APPLY_PLAN_MAX_AGE_MS": "60000"},
    "record as long as age and wait": {"APPLY_RECORD_TTL_S": "61", "APPLY_PLAN_MAX_AGE_MS": "59800"},
    "live without confirmation": {"APPLY_MODE": "live", "APPLY_LIVE_CONFIRM": ""},
    "live with another confirmation": {"APPLY_MODE": "live", "APPLY_LIVE_CONFIRM": "yes"},
}


@pytest.mark.parametrize("environment", AT_ODDS.values(), ids=AT_ODDS)
def test_settings_at_odds_stop_the_start(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    """Where two values forbid each other, the one line names both settings, and both values where there are any."""
    line = refusal(monkeypatch, **environment)

    assert [] == [
        f"{name}={value}" for name, value in environment.items() if (f"{name}={value}" if value else name) not in line
    ]
    assert line.isprintable()


def test_a_record_outlives_every_repeat_of_its_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan from the tolerated future ages later: its record must last until even that one is too old."""
    monkeypatch.setenv("APPLY_PLAN_MAX_AGE_MS", "60000")
    longest_life_s = (60_000 + FUTURE_TOLERANCE_MS + 1_200) // 1000

    line = refusal(monkeypatch, APPLY_RECORD_TTL_S=str(longest_life_s))
    monkeypatch.setenv("APPLY_RECORD_TTL_S", str(longest_life_s + 1))

    assert "APPLY_RECORD_TTL_S" in line
    assert longest_life_s + 1 == read_settings().record_ttl_s


def test_live_with_its_confirmation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the exact words confirm real money."""
    monkeypatch.setenv("APPLY_MODE", "live")
    monkeypatch.setenv("APPLY_LIVE_CONFIRM", "yes-real-money")

    assert "live" == read_settings().mode


def test_the_env_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A `.env` file in the working folder is read, and the environment wins over it."""
    lines = ["# a comment", "APPLY_MODE=paper", "APPLY_PERMIT_WAIT_MS='900'", "APPLY_PERMITS=p26", "OTHER=1", ""]
    (tmp_path / ".env").write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.setenv("APPLY_PERMIT_WAIT_MS", "800")
    read = read_settings()

    assert ("paper", 800, ("governor", "p33", "p26")) == (read.mode, read.permit_wait_ms, read.permits)


def test_a_bad_value_in_the_env_file(tmp_path: Path) -> None:
    """A bad value in the file is refused just as in the environment."""
    (tmp_path / ".env").write_text("APPLY_MODE=real\n", encoding="utf-8")

    with pytest.raises(BadSettings, match=r"^APPLY_MODE=real is not allowed"):
        read_settings()


def test_an_env_file_that_is_no_text(tmp_path: Path) -> None:
    """A file that cannot be read as text stops the start in one line as well."""
    (tmp_path / ".env").write_bytes(b"APPLY_MODE=\xff\n")

    with pytest.raises(BadSettings, match=r"\.env"):
        read_settings()


def test_settings_cannot_be_changed() -> None:
    """What a process started with is what it runs with."""
    with pytest.raises(ValueError, match="frozen"):
        read_settings().mode = "live"  # type: ignore[misc] # this is what must fail


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("redis://localhost/0", "redis://localhost/0"),
        ("redis://:hunter2@localhost/0", "redis://:***@localhost/0"),
        ("redis://user:hunter2@localhost/0", "redis://user:***@localhost/0"),
        ("redis://user:hun@ter2@localhost/0", "redis://user:***@localhost/0"),
        ("redis://user@localhost/0", "redis://user:***@localhost/0"),
        ("amqp://user:hunter2@localhost//", "amqp://user:***@localhost//"),
        ("sentinel://:hunter2@a:1,b:2/main/0", "sentinel://:***@a:1,b:2/main/0"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock"),
    ],
)
def test_passwords_are_masked(value: str, shown: str) -> None:
    """An address is shown with stars for its password."""
    assert shown == masked("APPLY_REDIS_URL", value)


@pytest.mark.parametrize(
    "value",
    [
        "user:hunter2@localhost:6379/0",
        ":hunter2@localhost",
        "redis:/user:hunter2@localhost/0",
        "redis://localhost/0?password=hunter2",
        "redis://localhost/0?db=1&password=hunter2&x=1",
        "sentinel://:x@a:1;sentinel://:hunter2@b:2",
    ],
)
def test_no_spelling_of_an_address_shows_a_password(value: str) -> None:
    """A mistyped address is repeated in an error, a password in its query in `config`: neither shows it."""
    assert "hunter2" not in masked("APPLY_REDIS_URL", value)
    assert "localhost" in masked("APPLY_REDIS_URL", value) or "b:2" in masked("APPLY_REDIS_URL", value)


def test_other_values_are_shown_as_they_are() -> None:
    """Only addresses hold secrets; lists are shown as they are written."""
    assert ["a@b", "governor,p33", "5"] == [
        masked("APPLY_NAMESPACE", "a@b"),
        masked("APPLY_PERMITS", ("governor", "p33")),
        masked("APPLY_CONSUME_ACKS", 5),
    ]

"""Every setting, its default, its bounds and its meaning. The only file that reads the environment."""

import getpass
import os
import re
from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from tasks.address import HostPort, RedisAddress
from tasks.errors import BadSettings
from tasks.intent import SYMBOL
from tasks.reasons import PERMIT_NAMES

#: Never optional: without both there is no gate.
ALWAYS_REQUIRED: Final = ("governor", "p33")

#: Issuers that this project contains.
OWN_ISSUERS: Final = ("governor", "p33")

#: A call to Redis longer than this is lost: well under the shortest sensible wait, so that one slow call
#: cannot eat the bound (redis-py 8.1 would wait 5 s and try 10 times).
CALL_TIMEOUT_MS: Final = 250

#: How long acknowledgements are waited for: `appendfsync everysec` needs up to a second.
ACK_WAIT_MS: Final = 1_100

#: An intent may come from a producer whose clock is this far ahead of Redis.
FUTURE_TOLERANCE_MS: Final = 5_000

#: Streams keep about this many entries (the figure of the system we re-create).
STREAM_MAXLEN: Final = 10_000

#: The paper venue's journal keeps at least this many entries.
JOURNAL_MAXLEN: Final = 100_000

#: An unfinished plan is overdue this long after its deadline or its lease.
DUE_GRACE_MS: Final = 2_000

#: What is known of the server is kept this long after the last worker; nothing from before outlives that.
SERVER_TTL_S: Final = 7 * 86_400

#: Life of a shadow ledger (the figure of the system we re-create).
LEDGER_TTL_S: Final = 86_400

LIVE_CONFIRMATION: Final = "yes-real-money"

Model = TypeVar("Model", bound=BaseSettings)
Names = Annotated[tuple[str, ...], NoDecode]


class Settings(BaseSettings):
    """Effective settings of one process, read once from the environment and from `.env`."""

    model_config = SettingsConfigDict(
        env_prefix="APPLY_", env_file=".env", env_file_encoding="utf-8", extra="ignore", frozen=True
    )

    redis_url: str = Field(
        default="",
        description="Permits, records and streams: redis:// rediss:// redis+socket:// (or unix://) or "
        "sentinel://host:port,host:port/<master>/<db>. Unset: the embedded server, for demo, up and tests only.",
    )
    broker_url: str = Field(default="", description="Celery broker; also amqp://. Default: APPLY_REDIS_URL.")
    result_backend: str = Field(default="", description="Celery results. Default: APPLY_REDIS_URL.")
    namespace: str = Field(
        default="quantum",
        pattern=r"^[A-Za-z0-9_-]{1,32}$",
        description="First part of every key. One broker database or vhost per namespace.",
    )
    mode: Literal["dry_run", "paper", "testnet", "live"] = Field(
        default="dry_run",
        description="dry_run: the whole gate runs and consumes, no order leaves. paper: orders go to the paper "
        "venue. testnet, live: the exchange.",
    )
    live_confirm: str = Field(default="", description=f"Must be {LIVE_CONFIRMATION} in mode live.")
    allowlist: Names = Field(default=("BTCUSDT",), description="Symbols that may be traded, comma separated.")
    permits: Names = Field(
        default=ALWAYS_REQUIRED,
        description="Required permits, comma separated. governor and p33 are always required; p26 can be added.",
    )
    issuers: Names = Field(
        default=OWN_ISSUERS,
        description="Permit issuers that we run ourselves, comma separated; empty where others issue them.",
    )
    permit_wait_ms: int = Field(
        default=1200, ge=1, le=60_000, description="Bound of the wait for the permits, on the Redis clock."
    )
    permit_step_ms: int = Field(
        default=100,
        ge=10,
        le=10_000,
        description="Longest pause between attempts while permits are not watched.",
    )
    permit_max_ttl_ms: int = Field(
        default=120_000,
        ge=1_000,
        le=3_600_000,
        description="A permit that lives longer than this is refused.",
    )
    plan_max_age_ms: int = Field(
        default=60_000, ge=1_000, le=86_400_000, description="An intent older than this never executes."
    )
    record_ttl_s: int = Field(
        default=86_400, ge=60, le=31_536_000, description="How long a finished plan's record is kept."
    )
    claim_lease_ms: int = Field(
        default=10_000,
        ge=1_000,
        le=600_000,
        description="How long a consumed plan belongs to the attempt that consumed it.",
    )
    consume_acks: int = Field(
        default=0, ge=0, le=16, description="Replica or AOF acknowledgements wanted before dispatch."
    )
    one_core: bool = Field(
        default=False,
        description="yes: a worker with the threads pool keeps to one core at a time, the one that others use least "
        "(Linux). Faster above 100 plans a second, where there are cores to spare.",
    )
    log_format: Literal["text", "json"] = Field(
        default="text", description="The worker's log: text, or json: one object per line, Celery's own lines too."
    )
    metrics_address: str = Field(
        default="",
        description="host:port at which this worker shows its figures to Prometheus, one port for each worker of a "
        "machine; unset: nowhere.",
    )

    flower_auth_file: str = Field(
        default="", description="File with a line user:password for each person who may look at Flower."
    )

    @field_validator("allowlist", "permits", "issuers", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(dict.fromkeys(part.strip() for part in value.split(",") if part.strip()))
        return value

    @field_validator("allowlist")
    @classmethod
    def _symbols(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        bad = [symbol for symbol in value if not re.fullmatch(SYMBOL[1:-1], symbol)]
        if bad:
            raise ValueError(f"{bad[0]!r} is not a symbol (2 to 30 of A-Z and 0-9)")
        if not value:
            raise ValueError("at least one symbol must be allowed")
        return value

    @field_validator("permits")
    @classmethod
    def _permits(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in value if name not in PERMIT_NAMES]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is not a permit; known are {', '.join(PERMIT_NAMES)}")
        return tuple(name for name in ALWAYS_REQUIRED if name not in value) + value

    @field_validator("issuers")
    @classmethod
    def _issuers(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in value if name not in OWN_ISSUERS]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is not an issuer of ours; known are {', '.join(OWN_ISSUERS)}")
        return value

    @field_validator("redis_url", "result_backend")
    @classmethod
    def _redis(cls, value: str) -> str:
        if value:
            RedisAddress.parse(value)
        return value

    @field_validator("metrics_address")
    @classmethod
    def _metrics_address(cls, value: str) -> str:
        if value:
            HostPort.parse(value)
        return value

    @field_validator("broker_url")
    @classmethod
    def _broker(cls, value: str) -> str:
        if value and not value.startswith(("amqp://", "amqps://")):
            try:
                RedisAddress.parse(value)
            except ValueError as error:
                raise ValueError(f"{error}, or with amqp:// or amqps://") from None
        return value

    @model_validator(mode="after")
    def _together(self) -> "Settings":
        if self.permit_step_ms > self.permit_wait_ms:
            raise ValueError(
                f"APPLY_PERMIT_STEP_MS={self.permit_step_ms} is not allowed: it must not be above "
                f"APPLY_PERMIT_WAIT_MS={self.permit_wait_ms}"
            )
        # An intent from the tolerated future grows too old that much later.
        if self.record_ttl_s * 1000 <= self.plan_max_age_ms + FUTURE_TOLERANCE_MS + self.permit_wait_ms:
            raise ValueError(
                f"APPLY_RECORD_TTL_S={self.record_ttl_s} is not allowed: a repeat could run again; it must outlast "
                f"APPLY_PLAN_MAX_AGE_MS={self.plan_max_age_ms} by {FUTURE_TOLERANCE_MS} ms and the wait"
            )
        if self.mode == "live" and self.live_confirm != LIVE_CONFIRMATION:
            raise ValueError(f"APPLY_MODE=live also needs APPLY_LIVE_CONFIRM={LIVE_CONFIRMATION}")
        return self

    @property
    def effective_broker_url(self) -> str:
        """Where the messages are."""
        return self.broker_url or self.redis_url

    @property
    def effective_result_backend(self) -> str:
        """Where Celery keeps results."""
        return self.result_backend or self.redis_url


def read_settings(**overrides: Any) -> Settings:  # noqa: ANN401 - any setting, checked by the model
    """Settings from the environment and `.env`; `overrides` win.

    Raises:
        BadSettings: one line that names the setting, the value and what is allowed.
    """
    return _read(Settings, **overrides)


def _read(model: type[Model], **overrides: Any) -> Model:  # noqa: ANN401 - as above
    try:
        return model(**overrides)
    except UnicodeDecodeError as error:
        raise BadSettings(f".env is not UTF-8 text at byte {error.start}") from None
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        message = problem["msg"].removeprefix("Value error, ")
        if not problem["loc"]:
            raise BadSettings(message) from None
        name = f"{model.model_config['env_prefix']}{problem['loc'][0]}".upper()
        shown = masked(name, problem["input"]) if isinstance(problem["input"], str) else repr(problem["input"])
        raise BadSettings(f"{name}={ascii(shown)[1:-1]} is not allowed: {message}") from None


class GovernorSettings(BaseSettings):
    """The Governor's limits, per symbol; names and defaults are those of the system we re-create."""

    model_config = SettingsConfigDict(
        env_prefix="GOV_", env_file=".env", env_file_encoding="utf-8", extra="ignore", frozen=True
    )

    kill_score_critical: Decimal = Field(
        default=Decimal("0.8"), ge=0, description="At or above it only plans that close the whole position pass."
    )
    max_exec_per_hour: int = Field(default=3, ge=0, description="Executions in any 60 minutes.")
    max_exec_per_5min: int = Field(default=2, ge=0, description="Executions in any 5 minutes; a breach may disarm.")
    max_reduce_notional_per_day_usd: Decimal = Field(
        default=Decimal(5000), ge=0, le=10**9, description="Notional of all executions of a UTC day."
    )
    max_reduce_qty_per_day: Decimal = Field(
        default=Decimal("0.02"), ge=0, le=10**7, description="Quantity of a UTC day; only where no price is known."
    )
    enable_auto_disarm: bool = Field(default=True, description="Whether the Governor may set the kill switch.")
    disarm_on_error_count: int = Field(
        default=5, ge=1, description="Evaluations of a UTC day that may fail before it disarms."
    )
    disarm_on_burst_breach: bool = Field(default=True, description="Disarm when the 5-minute limit is exceeded.")


class PositionSettings(BaseSettings):
    """The Position State Brain's limits; names and defaults are those of the system we re-create."""

    model_config = SettingsConfigDict(
        env_prefix="P33_", env_file=".env", env_file_encoding="utf-8", extra="ignore", frozen=True
    )

    stale_threshold_sec: Decimal = Field(
        default=Decimal(10), gt=0, le=3600, description="An exchange snapshot older than this is not judged on."
    )
    qty_tolerance_pct: Decimal = Field(
        default=Decimal("1.0"), ge=0, le=100, description="Allowed difference of ledger and exchange, % of exchange."
    )
    cooldown_sec: Decimal = Field(
        default=Decimal(15), ge=0, le=86_400, description="Pause after an order on the same symbol."
    )
    permit_ttl: int = Field(default=60, ge=1, le=3600, description="Seconds a position permit lives.")


class _Login(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="", extra="ignore", frozen=True)

    sudo_user: str = ""


def person() -> str:
    """Who runs this process: behind sudo the person who called it, else the login, else the number of the user."""
    try:
        return _Login().sudo_user or getpass.getuser()
    except (KeyError, OSError):
        # In a container the user may have a number and no name.
        return f"uid {os.getuid()}"


@lru_cache(maxsize=1)
def governor_settings() -> GovernorSettings:
    """The Governor's limits of this process, read once.

    Raises:
        BadSettings: one line that names the setting, the value and what is allowed.
    """
    return _read(GovernorSettings)


@lru_cache(maxsize=1)
def position_settings() -> PositionSettings:
    """The Position State Brain's limits of this process, read once.

    Raises:
        BadSettings: one line that names the setting, the value and what is allowed.
    """
    return _read(PositionSettings)


@lru_cache(maxsize=1)
def settings_of_process() -> Settings:
    """The settings this process runs with, read once."""
    return read_settings()


def in_force(*models: BaseSettings) -> dict[str, str]:
    """Every setting of these models by its name, as text; secrets are masked."""
    return {
        name: masked(name, getattr(settings, field))
        for settings in models
        for field in type(settings).model_fields
        for name in [f"{settings.model_config['env_prefix']}{field}".upper()]
    }


def masked(name: str, value: object) -> str:
    """`value` as text with any password in an address, even a mistyped one, replaced by stars."""
    text = ",".join(value) if isinstance(value, tuple) else str(value)
    if not name.endswith(("_URL", "_BACKEND")):
        return text
    text = re.sub(r"(password=)[^&]*", r"\1***", text, flags=re.IGNORECASE)
    before, at, place = text.rpartition("@")
    if not at:
        return text
    scheme, separator, login = before.partition("://") if "://" in before else ("", "", before)
    return f"{scheme}{separator}{login.partition(':')[0]}:***@{place}"

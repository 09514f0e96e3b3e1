"""The compose file, its Redis and its environment: what can be checked without a container engine."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml

from ops.server import server_binary
from tasks.settings import GovernorSettings, PositionSettings, Settings
from tests.deploy.configured import DEPLOY
from tests.deploy.test_redis_files import permitwait
from tests.helpers import wait_until
from tests.metrics.scrape import free_port

COMPOSE = DEPLOY / "compose" / "compose.yml"
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE.read_text())["services"]
OURS = [name for name, service in SERVICES.items() if "build" in service]


def test_every_part_is_there() -> None:
    """Redis, workers, issuers, beat, Flower; Prometheus where it is asked for."""
    assert {"redis", "worker", "issuers", "beat", "flower", "prometheus"} == set(SERVICES)
    assert ["monitoring"] == SERVICES["prometheus"]["profiles"]


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_service_is_hardened(name: str) -> None:
    """Restarted, without rights, with logs that end somewhere, reachable from this machine only."""
    service = SERVICES[name]

    assert "unless-stopped" == service["restart"]
    assert ["ALL"] == service["cap_drop"]
    assert "cap_add" not in service
    assert ["no-new-privileges:true"] == service["security_opt"]
    assert "max-size" in service["logging"]["options"]
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert ":" in service["image"]


@pytest.mark.parametrize("name", OURS)
def test_a_program_of_ours_is_known_and_waits_for_redis(name: str) -> None:
    """Its command line is a program of ours, its settings exist, and it is stopped warmly."""
    service = SERVICES[name]
    known = {
        f"{model.model_config['env_prefix']}{field}".upper()
        for model in (Settings, GovernorSettings, PositionSettings)
        for field in model.model_fields
    }

    assert ["celery", "-A", "workers"] == service["command"][:3]
    assert "service_healthy" == service["depends_on"]["redis"]["condition"]
    assert "30s" == service["stop_grace_period"]
    assert {setting for setting in service["environment"] if not setting.startswith("FLOWER_")} <= known


def test_no_password_stands_in_a_file() -> None:
    """Every secret comes from outside, and a missing one stops the start."""
    text = COMPOSE.read_text()
    wanted = set(re.findall(r"\$\{(\w+):\?", text))
    offered = set(re.findall(r"(?m)^(\w+)=$", (COMPOSE.parent / "env.example").read_text()))

    assert wanted == offered
    assert [] == re.findall(r"(?i)password:?=? *(?!\$)[a-z0-9]{6,}", re.sub(r"#.*", "", text))


def test_the_environment_example_is_valid(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every line of the example is a setting that exists, with a value that is allowed, and no secret."""
    text = (DEPLOY / "permitwait.env.example").read_text()
    pairs = dict(re.findall(r"(?m)^(\w+)=(.*)$", text))
    for name, value in pairs.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)

    assert "dry_run" == Settings().mode
    assert GovernorSettings().max_exec_per_hour == 3
    known = {f"{m.model_config['env_prefix']}{f}".upper() for m in (Settings, GovernorSettings) for f in m.model_fields}
    assert set(pairs) <= known
    assert ":REPLACE-ME@" in pairs["APPLY_REDIS_URL"]


@contextmanager
def container_redis(folder: Path, **passwords: str) -> Iterator[int]:
    """`deploy/redis/start.sh`, as the container runs it; the port it listens on."""
    port, programs = free_port(), folder / "bin"
    programs.mkdir()
    (programs / "valkey-server").symlink_to(server_binary())
    data = folder / "data"
    data.mkdir()
    environment = {
        "PATH": f"{programs}:/usr/bin:/bin",
        "PERMITWAIT_FILES": str(DEPLOY / "redis"),
        "PERMITWAIT_DATA": str(data),
        "PERMITWAIT_PORT": str(port),
    }
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["/bin/sh", str(DEPLOY / "redis" / "start.sh")],
            env=environment | {f"{role.upper()}_PASSWORD": secret for role, secret in passwords.items()},
            cwd=folder,
            stdout=output,
            stderr=output,
        )
    try:
        with redis.Redis(port=port) as stranger:
            wait_until(lambda: process.poll() is None and _listens(stranger), "the server listens", 10)
        yield port
    finally:
        process.terminate()
        process.wait(20)


def _listens(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.AuthenticationError:
        return True
    except redis.ConnectionError:
        return False


@pytest.mark.long
@pytest.mark.skipif(not shutil.which("sha256sum"), reason="no sha256sum, which containers have")
def test_the_containers_redis(tmp_path: Path) -> None:
    """Logins with a password work, the others and strangers stay out, no password is on disk, doctor is content."""
    secret = "of-this-test, ' and % #"  # noqa: S105 - of a server that nobody else reaches
    with container_redis(tmp_path, worker=secret, operator="operator-of-this-test") as port:
        with redis.Redis(port=port, username="worker", password=secret) as worker:
            assert worker.ping()
        for login in ({}, {"username": "flower", "password": ""}, {"username": "worker", "password": "x"}):
            with redis.Redis(port=port, **login) as stranger, pytest.raises(redis.RedisError):  # type: ignore[arg-type] # a login
                stranger.get("quantum:global:kill_switch")
        done = permitwait(
            tmp_path, "doctor", APPLY_REDIS_URL=f"redis://operator:operator-of-this-test@127.0.0.1:{port}/0"
        )
        written = (tmp_path / "data" / "users.acl").read_text()

    assert 0 == done.returncode, done.stdout + done.stderr
    assert secret not in written
    assert "operator-of-this-test" not in written


@pytest.mark.long
def test_compose_takes_the_file(tmp_path: Path) -> None:
    """`docker compose config`, where there is a client that can."""
    docker = shutil.which("docker")
    can = docker and 0 == subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode
    if not can:
        pytest.skip("docker compose is missing: the file was checked as YAML only")
    example = (COMPOSE.parent / "env.example").read_text()
    (tmp_path / ".env").write_text(re.sub(r"(?m)^(\w+)=$", r"\1=of-this-test:only", example))
    done = subprocess.run(
        [str(docker), "compose", "--file", str(COMPOSE), "--env-file", str(tmp_path / ".env"), "config", "--quiet"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (0, "") == (done.returncode, done.stderr)

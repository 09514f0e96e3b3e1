"""`permitwait doctor` as it is called: what it prints, what it exits with, what it leaves unchanged."""

import json
from collections.abc import Callable

import pytest

from ops.doctor.checks import ALL
from tasks.settings import Settings
from tests.doctor.bed import Patient
from tests.ops.command_call import Said, any_command


@pytest.fixture
def doctor(
    patient: Patient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Said]:
    """The command with the environment of a worker on the patient's server."""
    settings = Settings(redis_url=patient.server.url, _env_file=None)
    run = any_command(settings, monkeypatch, capsys)
    return lambda *arguments: run("doctor", *arguments)


def test_safe_is_0(doctor: Callable[..., Said]) -> None:
    """A healthy deployment: the verdict on the last line, exit code 0."""
    said = doctor()

    assert 0 == said.code
    assert said.out.splitlines()[-1].startswith(f"SAFE to trade: {len(ALL)} checks, 0 dangers, ")
    assert "" == said.err


def test_not_safe_is_1_and_tells_the_fix(patient: Patient, doctor: Callable[..., Said]) -> None:
    """A danger is the first line, its fix below it, every line fits a terminal, no colour where there is none."""
    patient.ask("CONFIG SET maxmemory-policy allkeys-lru")
    said = doctor()
    lines = said.out.splitlines()

    assert 1 == said.code
    assert "DANGER   eviction" == lines[0]
    assert any(line.startswith("  fix: `CONFIG SET maxmemory-policy noeviction`") for line in lines)
    assert lines[-1].startswith("NOT SAFE to trade: ")
    assert 80 >= max(map(len, lines))
    assert "\x1b" not in said.out


def test_a_known_danger_can_be_accepted(patient: Patient, doctor: Callable[..., Said]) -> None:
    """What the operator knows and accepts is still told, and decides nothing; only that."""
    patient.ask("CONFIG SET maxmemory-policy allkeys-lru")

    accepted = doctor("--accept", "eviction")
    assert 0 == accepted.code
    assert "ACCEPTED eviction" in accepted.out

    patient.ask("CONFIG SET appendonly no")
    assert 1 == doctor("--accept", "eviction").code
    assert 0 == doctor("--accept", "eviction", "--accept", "aof").code


def test_what_is_accepted_must_exist(doctor: Callable[..., Said]) -> None:
    """A mistyped name accepts nothing and says so."""
    said = doctor("--accept", "evictoin")

    assert 2 == said.code
    assert "there is no such check; known are eviction, " in said.err


def test_one_json_document(patient: Patient, doctor: Callable[..., Said]) -> None:
    """Everything a program needs, on stdout."""
    patient.ask("CONFIG SET maxmemory-policy allkeys-lru")
    document = json.loads(doctor("--json", "--accept", "eviction").out)

    assert document["safe"] is True
    assert [check.name for check in ALL] == document["checks"]
    first = document["findings"][0]
    assert ("eviction", "danger", True) == (first["check"], first["severity"], first["accepted"])
    assert {"check", "severity", "found", "fix", "accepted"} == set(first)


def test_unreachable_is_3(patient: Patient, doctor: Callable[..., Said]) -> None:
    """No Redis: one line on stderr. No broker: the rest is told all the same."""
    patient.setting("APPLY_BROKER_URL", "redis+socket:///nonexistent/s.sock")
    broker = doctor()
    assert 3 == broker.code
    assert "DANGER   reachable" in broker.out

    patient.server.stop()
    said = doctor()
    assert 3 == said.code
    assert "" == said.out
    assert said.err.startswith("permitwait: Redis or the broker gave no answer: ")


def test_a_refused_login_is_1(patient: Patient, doctor: Callable[..., Said]) -> None:
    """A server that lets us in no more is told in one line."""
    patient.ask("CONFIG SET requirepass other")
    said = doctor()

    assert 1 == said.code
    assert "refused the login" in said.err


def test_nothing_is_changed(patient: Patient, doctor: Callable[..., Said]) -> None:
    """Looking writes no key and changes no option."""
    patient.client.set("x", "y")
    keys, options = patient.client.keys(), patient.client.config_get("*")
    doctor()

    assert (keys, options) == (patient.client.keys(), patient.client.config_get("*"))

"""The systemd units: systemd takes them, rates them safe, and they start what exists."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

import celeryconfig
from tasks.issuers import TASKS
from tasks.settings import Settings
from tests.deploy.configured import DEPLOY
from tests.packages import need

FOLDER = DEPLOY / "systemd"
UNITS = sorted(path.name for path in FOLDER.glob("permitwait*.service"))
INSTALLED = "/opt/permitwait/current/bin"

#: systemd's exposure, 0 safe to 100 unsafe (ten times what it prints).
MOST_EXPOSED = 20


def options(name: str) -> dict[str, str]:
    """The options of a unit; of repeated ones the last."""
    return dict(re.findall(r"(?m)^(\w+)=(.*)$", (FOLDER / name).read_text()))


@pytest.fixture(scope="module")
def units(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The units with this environment's programs, instance 1 of the worker among them."""
    folder = tmp_path_factory.mktemp("units")
    programs = Path(__file__).parents[2] / ".venv" / "bin"
    for path in (*FOLDER.glob("permitwait*.service"), FOLDER / "permitwait.target"):
        text = path.read_text().replace(INSTALLED, str(programs))
        (folder / path.name).write_text(text)
        if "@" in path.name:
            (folder / path.name.replace("@", "@1")).write_text(text)
    return folder


def analyze(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """One call of systemd-analyze that knows these units too."""
    return subprocess.run(
        [need("systemd-analyze"), *arguments],
        env={"SYSTEMD_UNIT_PATH": f"{folder}:", "PATH": "/usr/bin:/bin", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.long
def test_systemd_takes_the_units(units: Path) -> None:
    """No unknown option, no missing program, no bad value."""
    names = [name.replace("@", "@1") for name in UNITS]
    done = analyze(units, "verify", "--man=no", *names, "permitwait.target")

    assert (0, "") == (done.returncode, done.stdout + done.stderr)


@pytest.mark.long
@pytest.mark.parametrize("name", UNITS)
def test_systemd_rates_the_units_safe(units: Path, name: str) -> None:
    """Exposure is at most 2.0 of 10."""
    done = analyze(
        units, "security", "--offline=true", f"--threshold={MOST_EXPOSED}", "--no-pager", name.replace("@", "@1")
    )

    assert 0 == done.returncode, done.stdout[-400:] + done.stderr


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_is_run_by_nobody_special(name: str) -> None:
    """A user of its own, a file for its settings, its own log, always restarted, part of the target."""
    found = options(name)

    assert ("permitwait", "permitwait") == (found["User"], found["Group"])
    assert "EnvironmentFile=/etc/permitwait/permitwait.env" in (FOLDER / name).read_text()
    assert "permitwait" == found["LogNamespace"]
    assert ("always", "0") == (found["Restart"], found["StartLimitIntervalSec"])
    assert "permitwait.target" == found["PartOf"] == found["WantedBy"]
    assert found["ExecStart"].startswith(f"{INSTALLED}/")
    assert not re.search(r"(?i)password|secret|redis://", (FOLDER / name).read_text())


@pytest.mark.parametrize("name", ["permitwait-worker@.service", "permitwait-issuers.service"])
def test_a_worker_is_stopped_warmly(name: str) -> None:
    """TERM goes to the main process alone, which has more time than a soft shutdown and a lease need."""
    found = options(name)
    lease_s = Settings.model_fields["claim_lease_ms"].default / 1000

    assert "mixed" == found["KillMode"]
    assert float(found["TimeoutStopSec"]) > celeryconfig.worker_soft_shutdown_timeout + lease_s
    assert "SIGTERM" == found.get("KillSignal", "SIGTERM")


def test_issuers_read_the_judges_queues() -> None:
    """The unit's queues are those of our issuers, and every other unit leaves them alone."""
    queues = re.search(r"--queues=(\S+)", options("permitwait-issuers.service")["ExecStart"])
    assert queues

    assert {queue for _, queue in TASKS.values()} == set(queues[1].split(","))


def test_each_worker_of_a_machine_has_a_port() -> None:
    """The instance number is the last digit of the port; the issuers have the one before."""
    assert "APPLY_METRICS_ADDRESS=127.0.0.1:1910%i" == options("permitwait-worker@.service")["Environment"]
    assert "APPLY_METRICS_ADDRESS=127.0.0.1:19100" == options("permitwait-issuers.service")["Environment"]


def test_the_log_is_bounded_and_complete() -> None:
    """Kept for months, within a size, and no decision dropped for coming too fast."""
    found: Any = options("journald@permitwait.conf")

    assert {"Storage", "SystemMaxUse", "MaxRetentionSec"} <= set(found)
    assert "0" == found["RateLimitIntervalSec"]

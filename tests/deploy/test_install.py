"""The installation as docs/deploy.md tells it, line by line into a folder of the test's own; then a plan executes."""

import os
import re
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path
from signal import SIGKILL

import pytest

from tests.deploy.configured import DEPLOY
from tests.helpers import grant, hold, wait_until
from tests.servers import RealServer
from tests.worker.nodes import ROOT, plan, site_on, wait_for_ends

DOCUMENT = ROOT / "docs" / "deploy.md"


def documented(name: str) -> list[str]:
    """The commands of the block that the document marks with this name."""
    found = re.search(rf"<!-- run: {name} -->\n```console\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    assert found

    return [line.removeprefix("$ ") for line in found[1].splitlines() if line.startswith("$ ")]


def test_the_documents_name_this_version() -> None:
    """The commands can be copied as they are."""
    wheels = re.findall(r"permitwait-([\d.]+)-py3", DOCUMENT.read_text(encoding="utf-8"))

    assert {version("permitwait")} == set(wheels)


def test_the_documents_name_files_that_exist() -> None:
    """Every file of ours in the documents of this folder is there."""
    for document in ("deploy.md", "doctor.md", "metrics.md"):
        text = (ROOT / "docs" / document).read_text(encoding="utf-8")
        named = set(re.findall(r"\b((?:deploy|requirements)/[\w./@-]*\w)", text)) - {"deploy/compose/.env"}
        links = {link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", text)}

        assert [] == [name for name in named if not (ROOT / name).exists() and not list(ROOT.glob(f"{name}*"))]
        assert [] == [link for link in links if link and not (ROOT / "docs" / link).exists()]
    assert DEPLOY.is_dir()


@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_wheel_runs_where_nothing_else_is(tmp_path: Path) -> None:
    """The documented commands install it; from there a worker starts with our settings, and executes a plan."""
    if not shutil.which("make"):
        pytest.skip("make is missing")
    place, empty = tmp_path / "opt", tmp_path / "empty"
    empty.mkdir()
    outside = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV", "APPLY_"))
    }
    script = "set -e\n" + "\n".join(documented("install")).replace("/opt/permitwait", str(place))
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, env=outside, capture_output=True, text=True, check=False)

    assert 0 == done.returncode, done.stdout + done.stderr
    assert version("permitwait") == done.stdout.splitlines()[-1]

    programs = place / "current" / "bin"
    shipped = place / "current" / "share" / "permitwait" / "deploy"
    assert {path.name for path in DEPLOY.iterdir()} == {path.name for path in shipped.iterdir()}
    report = subprocess.run(
        [programs / "celery", "-A", "workers", "report"],
        cwd=empty,
        env=outside,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "worker_pool: 'threads'" in report.stdout

    with RealServer() as server, site_on(server) as site:
        settings = {"APPLY_REDIS_URL": server.url, "APPLY_MODE": "paper", "APPLY_ISSUERS": ""}
        log = tmp_path / "log"
        with log.open("wb") as output:
            worker = subprocess.Popen(
                [programs / "celery", "-A", "workers", "worker"],
                cwd=empty,
                env=outside | settings,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            wait_until(lambda: "[START]" in log.read_text() or worker.poll() is not None, "the worker ready", 40)
            assert worker.poll() is None, log.read_text()
            hold(site.client, site.keys)
            grant(site.client, site.keys, "first")
            site.send(plan("first", "BTCUSDT"), "first")
            wait_for_ends(site, ["first"])
            assert b"EXECUTE" == site.client.hget(site.keys.record("first"), "decision")
        finally:
            worker.terminate()
            try:
                worker.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(worker.pid, SIGKILL)
                worker.wait()

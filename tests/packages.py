"""Programs that a Debian package brings and no Python package does."""

import os
import shutil
from typing import Final

import pytest

#: Program and the Debian package it comes from; `.ci/run` installs them all.
PACKAGES: Final = {
    "redis-server": "redis-server",
    "rabbitmq-server": "rabbitmq-server",
    "epmd": "rabbitmq-server",
    "chromium": "chromium",
    "promtool": "prometheus",
    "prometheus": "prometheus",
    "systemd-analyze": "systemd",
    "faketime": "faketime",
}

#: What stands on the PATH of Debian under this name changes the user; this one runs as whoever starts it.
_BEFORE_PATH: Final = "/usr/lib/rabbitmq/bin"


def need(program: str) -> str:
    """Path of an installed program. Where it is missing the test is skipped, and fails where `CI=true`."""
    path = shutil.which(program, path=os.pathsep.join((_BEFORE_PATH, os.environ.get("PATH", os.defpath))))
    if path:
        return path
    lacking = f"{program} is missing: apt-get install {PACKAGES[program]}"
    if os.environ.get("CI") == "true":
        pytest.fail(lacking, pytrace=False)
    pytest.skip(lacking)

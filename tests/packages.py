"""Programs that a Debian package brings and no Python package does."""

import os
import shutil
from typing import Final

import pytest

#: Program and the Debian package it comes from; `.ci/run` installs them all.
PACKAGES: Final = {
    "redis-server": "redis-server",
    "rabbitmq-server": "rabbitmq-server",
    "rabbitmqctl": "rabbitmq-server",
    "epmd": "rabbitmq-server",
    "chromium": "chromium",
    "chromedriver": "chromium-driver",
    "promtool": "prometheus",
    "prometheus": "prometheus",
    "systemd-analyze": "systemd",
    "faketime": "faketime",
}

#: What stands on the PATH of Debian under these names changes the user; this runs as whoever starts it.
_BEFORE_PATH: Final = "/usr/lib/rabbitmq/bin"


def installed(program: str) -> str | None:
    """Path of a program; None where it is missing."""
    return shutil.which(program, path=os.pathsep.join((_BEFORE_PATH, os.environ.get("PATH", os.defpath))))


def need(program: str) -> str:
    """Path of a program. Where it is missing the test is skipped, and fails where `CI=true`."""
    path = installed(program)
    if path:
        return path
    lacking = f"{program} is missing: apt-get install {PACKAGES[program]}"
    if os.environ.get("CI") == "true":
        pytest.fail(lacking, pytrace=False)
    pytest.skip(lacking)

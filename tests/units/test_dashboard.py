"""When Flower may start: read-only, and never without a login."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tasks.errors import BadSettings
from workers.dashboard import logins_of, refusal

GOOD = "desk:twelve-chars"


def refused(**options: Any) -> str:
    """The line that these options of Flower's earn; by default those of a good start."""
    return refusal(SimpleNamespace(**({"read_only": True, "basic_auth": [GOOD], "auth": ""} | options)))


def test_a_login_and_read_only_are_enough() -> None:
    """With a login from a file, or an OAuth provider, Flower starts."""
    assert "" == refused()
    assert "" == refused(
        basic_auth=None, auth=r".*@example\.com", auth_provider="flower.views.auth.GoogleAuth2LoginHandler"
    )


def test_without_a_login_there_is_no_dashboard() -> None:
    """Not on loopback either: every user and every web page of the machine reaches that."""
    assert refused(basic_auth=None).startswith("Flower needs a login: ")
    assert "APPLY_FLOWER_AUTH_FILE" in refused(basic_auth=[])


def test_a_dashboard_only_shows() -> None:
    """Nobody gets a Flower that can start, revoke or stop anything."""
    assert refused(read_only=False).startswith("Flower must be read-only")


@pytest.mark.parametrize(
    "login", ["desk", "desk:", "desk:short", ":twelve-chars", "desk:with a space in it", "twelve-chars"]
)
def test_a_weak_login_is_none(login: str) -> None:
    """A password that can be guessed is refused, one bad login among good ones too, and it is not repeated."""
    line = refused(basic_auth=[GOOD, login])

    assert line.startswith("a login of Flower's is not allowed")
    assert login not in line


def test_logins_stand_in_a_file_one_on_each_line(tmp_path: Path) -> None:
    """Blank lines do no harm."""
    (tmp_path / "logins").write_text(f"{GOOD}\n\n  night:another-twelve \n")

    assert [GOOD, "night:another-twelve"] == logins_of(str(tmp_path / "logins"))
    assert [] == logins_of("")


def test_a_file_without_a_login_is_no_open_door(tmp_path: Path) -> None:
    """A missing, empty or unreadable file stops the start instead of leaving the login out."""
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for name in ("missing", "empty", "binary"):
        with pytest.raises(BadSettings, match="APPLY_FLOWER_AUTH_FILE"):
            logins_of(str(tmp_path / name))

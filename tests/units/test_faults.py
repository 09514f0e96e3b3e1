"""Every fault of the matrix is shown by a test, or says why not."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests import faults
from tests.faults import FAULTS, Fault, Shown, check_markers, shown


def test_no_fault_is_left_out() -> None:
    """F1 to F36, each with what happens and what is promised then, in sentences."""
    assert [f"F{number}" for number in range(1, 37)] == list(FAULTS)
    assert [] == [
        name
        for name, fault in FAULTS.items()
        for text in (fault.what, fault.promise, fault.untested or ".")
        if not text.endswith((".", "`.")) or "|" in text or "\n" in text
    ]


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_shown_or_says_why_not(name: str) -> None:
    """At least one test has its marker, or the table says why there can be none; never both."""
    assert bool(shown()[name]) != bool(FAULTS[name].untested)


def test_markers_name_faults_that_there_are() -> None:
    """A marker with a name that is not in the table is a mistake."""
    assert set() == set(shown()) - set(FAULTS)


def test_markers_stand_only_where_they_are_read() -> None:
    """A marker anywhere else, in a list or a variable, would be missed by the document."""
    tests = Path(faults.ROOT / "tests")
    uses = {
        path.name: len(re.findall(r"mark\.fault\b", path.read_text(encoding="utf-8")))
        for path in tests.rglob("test_*.py")
        if path != Path(__file__)
    }
    read = {
        path.name: len(re.findall(r"^@pytest\.mark\.fault\(", path.read_text(encoding="utf-8"), re.MULTILINE))
        for path in tests.rglob("test_*.py")
        if path != Path(__file__)
    }

    assert uses == read


SOURCE = """
import pytest

@pytest.mark.parametrize("x", [1])
@pytest.mark.fault("F1", "F2", promise="at once")
def test_one(x): ...

def test_two(): ...
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with one test file and two faults."""
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/test_it.py").write_text(SOURCE)
    monkeypatch.setattr(faults, "ROOT", tmp_path)
    monkeypatch.setattr(faults, "FAULTS", dict.fromkeys(("F1", "F2"), Fault("", "")))
    return tmp_path


def test_markers_are_read(project: Path) -> None:
    """With their test and the promise where it differs."""
    assert project
    one = Shown("tests/test_it.py::test_one", "at once")
    assert {"F1": [one], "F2": [one]} == shown()


class Item:
    """A collected test, as far as its markers go."""

    def __init__(self, nodeid: str, *names: str, **words: Any) -> None:
        self.nodeid = nodeid
        self._marks = [pytest.mark.fault(*names, **words).mark]

    def iter_markers(self, name: str) -> list[pytest.Mark]:
        """See `pytest.Item`."""
        return [mark for mark in self._marks if mark.name == name]


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("item", "said"),
    [
        (Item("tests/test_it.py::test_one[1]", "F1", "F3", promise="at once"), "there is no fault 'F3'"),
        (Item("tests/test_it.py::test_one[1]", "F1"), "literally above its def"),
        (Item("tests/test_it.py::test_two", "F1"), "literally above its def"),
    ],
)
def test_a_wrong_marker_ends_the_collection(item: Any, said: str) -> None:
    """An unknown fault, or a marker that the document would not show, is refused with the test's name."""
    with pytest.raises(pytest.UsageError, match=said):
        check_markers([item])


@pytest.mark.usefixtures("project")
def test_a_right_marker_is_taken() -> None:
    """As it stands in the file."""
    check_markers([Item("tests/test_it.py::test_one[1]", "F1", "F2", promise="at once")])  # type: ignore[list-item] # a part of one

"""A healthy deployment per test."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.doctor.bed import Patient


@pytest.fixture
def admit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Patient]]:
    """Starts a server with these options; it is gone afterwards."""
    patients: list[Patient] = []

    def start(**config: str) -> Patient:
        folder = tmp_path / f"p{len(patients)}"
        folder.mkdir()
        options = {name.replace("_", "-"): value for name, value in config.items()}
        patients.append(Patient(folder, monkeypatch, **options))
        return patients[-1]

    yield start
    for patient in patients:
        patient.stop()


@pytest.fixture
def patient(admit: Callable[..., Patient]) -> Patient:
    """A healthy server on its own socket."""
    return admit()

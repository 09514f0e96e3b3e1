"""What a worker shows under `/metrics`, as Prometheus reads it."""

import socket
from collections.abc import Iterable
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families


def free_port() -> int:
    """A port of this machine that nobody uses now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Figures:
    """One scrape of one worker, or of several added up as sum() does."""

    def __init__(self, texts: Iterable[str]) -> None:
        self.text = "\n".join(texts)
        self._samples: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
        for family in text_string_to_metric_families(self.text):
            for sample in family.samples:
                key = sample.name, frozenset(sample.labels.items())
                self._samples[key] = self._samples.get(key, 0.0) + sample.value

    def sum(self, name: str, **labels: str) -> float:
        """Everything with this name and at least these labels, added up; the prefix is left out."""
        wanted = set(labels.items())
        return sum(
            value for (found, has), value in self._samples.items() if found == f"permitwait_{name}" and wanted <= has
        )

    def names(self) -> set[str]:
        """Every series' name."""
        return {name for name, _ in self._samples}


def scrape(*ports: int) -> Figures:
    """Ask the workers at these ports."""
    texts = []
    for port in ports:
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            texts.append(answer.read().decode())
    return Figures(texts)

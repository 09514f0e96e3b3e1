"""The fault matrix of `docs/reliability.md`: `python -m tests.matrix` writes it, `--check` compares.

It is made of `tests/faults.py`, of the markers in the tests, and of `docs/reliability.json`, the last recorded results.
`--take` puts the records of the last `make test-all` there first.
"""

import argparse
import json
import re
import sys
from collections import Counter
from typing import Any, Final

from tests.faults import FAULTS, ROOT, Shown, shown
from tests.record import FOLDER

_PAGE: Final = ROOT / "docs/reliability.md"
_RESULTS: Final = ROOT / "docs/reliability.json"

#: The runs of `make test-all`, in the order of the columns.
_RUNS: Final = ("valkey-redis", "redis-redis", "valkey-rabbitmq")


def take(kept: dict[str, Any]) -> dict[str, Any]:
    """The results with those of the runs that were recorded since; a run that was not keeps what it had.

    Raises:
        FileNotFoundError: no run was recorded.
    """
    records = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in FOLDER.glob("*.json")}
    if not records:
        raise FileNotFoundError(f"no results in {FOLDER.name}/: run `make test-all` first")
    return {
        part: {
            name: records[name][fresh] if name in records else kept[part][name]
            for name in _RUNS
            if name in records or name in kept[part]
        }
        for part, fresh in (("runs", "run"), ("tests", "tests"))
    }


def matrix(results: dict[str, Any]) -> str:
    """The whole block: on what was tested, and one row per fault."""
    runs, tests = results["runs"], results["tests"]
    lines = [
        f"*{_label(run)}*: {run['date']}, Python {run['python']}, Celery {run['celery']}, kombu {run['kombu']}"
        + (f", permits in {run['server']}" if run["broker"] != run["server"] else "")
        for run in runs.values()
    ]
    head = ["", "what happens", "what is promised then", "shown by", *map(_label, runs.values())]
    rows = [head, ["---"] * len(head)]
    shown_by = shown()
    for name, fault in FAULTS.items():
        by = shown_by[name]
        cell = "<br>".join(map(_link, by)) or f"*No test.* {fault.untested}"
        rows.append([name, fault.what, fault.promise, cell, *(_ended(by, tests[run]) for run in runs)])
    return "<br>\n".join(lines) + "\n\n" + "\n".join(f"| {' | '.join(row)} |" for row in rows)


def page(text: str, results: dict[str, Any]) -> str:
    """The document with its matrix made anew, between `<!-- matrix -->` and `<!-- end -->`."""
    start, end = "<!-- matrix -->\n", "<!-- end -->"
    return re.sub(f"{start}.*?{end}", lambda _: f"{start}{matrix(results)}\n{end}", text, flags=re.DOTALL)


def _label(run: dict[str, str]) -> str:
    return run["broker"]


def _link(by: Shown) -> str:
    path, _, name = by.test.partition("::")
    return f"[{path.removeprefix('tests/')}::{name}](../{path})" + (f" ({by.promise})" if by.promise else "")


def _ended(by: list[Shown], tests: dict[str, dict[str, int]]) -> str:
    ends = sum((Counter(tests.get(one.test, {})) for one in by), Counter[str]())
    return ", ".join(f"{number} {end}" for end, number in sorted(ends.items())) or "-"


def main() -> int:
    """Write or check; 1 when `--check` finds the document stale, 2 where there is nothing to take."""
    parser = argparse.ArgumentParser(description=__doc__)
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--check", action="store_true")
    how.add_argument("--take", action="store_true")
    asked = parser.parse_args()
    results = json.loads(_RESULTS.read_text(encoding="utf-8"))
    if asked.take:
        try:
            results = take(results)
        except FileNotFoundError as nothing:
            sys.stderr.write(f"{nothing}\n")
            return 2
        _RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    text = _PAGE.read_text(encoding="utf-8")
    wanted = page(text, results)
    if asked.check and text != wanted:
        sys.stderr.write(f"{_PAGE.relative_to(ROOT)} is not current: run `make tables`\n")
        return 1
    if text != wanted:
        _PAGE.write_text(wanted, encoding="utf-8")
        sys.stdout.write(f"wrote {_PAGE.relative_to(ROOT)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

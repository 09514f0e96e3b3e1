"""The generated parts of the documents: `python -m ops.tables` writes them, `--check` compares."""

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ops.advice import ADVICE
from ops.config import rows
from ops.doctor.checks import ALL
from ops.inventory import keys_table, scripts_table
from tasks.intent import ExecuteIntent
from tasks.reasons import Reason
from tasks.settings import GovernorSettings, PositionSettings, Settings
from tasks.stats import FIELDS
from workers.metrics import METRICS

_ROOT: Final = Path(__file__).resolve().parent.parent
_SCHEMA: Final = "docs/intent.schema.json"


def intent_schema() -> str:
    """The JSON Schema of the intent, as committed."""
    schema = ExecuteIntent.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return json.dumps(schema, indent=2) + "\n"


def settings_table() -> str:
    """Every setting as a Markdown table."""
    lines = ["| setting | default | meaning |", "|---|---|---|"]
    defaults = (Settings.model_construct(), GovernorSettings.model_construct(), PositionSettings.model_construct())
    lines += [
        f"| `{row.name}` | {f'`{row.default}`' if row.default else ''} | {row.meaning} |" for row in rows(*defaults)
    ]
    return "\n".join(lines)


def reasons_table() -> str:
    """Every block reason as a Markdown table."""
    lines = ["| reason | `error` field | what happened |", "|---|---|---|"]
    lines += [f"| `{reason.value}` | `{reason.error}` | {reason.meaning} |" for reason in Reason]
    return "\n".join(lines)


def counters_table() -> str:
    """Every counter of `Keys.stats` as a Markdown table."""
    lines = ["| field | counts |", "|---|---|"]
    lines += [f"| `{name}` | {meaning} |" for name, meaning in FIELDS.items()]
    return "\n".join(lines)


def metrics_table() -> str:
    """Every figure of a worker as a Markdown table."""
    lines = ["| figure | kind | labels | meaning |", "|---|---|---|---|"]
    for metric in METRICS:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        shared = " The same on every worker: max(), not sum()." if metric.shared else ""
        lines.append(f"| `{metric.exported}` | {metric.kind} | {labels} | {metric.meaning}{shared} |")
    return "\n".join(lines)


def checks_table() -> str:
    """Every question that doctor asks as a Markdown table."""
    lines = ["| check | question | at worst |", "|---|---|---|"]
    lines += [f"| `{check.name}` | {check.question} | {check.worst} |" for check in ALL]
    return "\n".join(lines)


def advice_table() -> str:
    """What to do about every block reason as a Markdown table."""
    lines = ["| reason | what happened | what to do |", "|---|---|---|"]
    lines += [f"| `{reason.value}` | {reason.meaning} | {ADVICE[reason.value].todo} |" for reason in Reason]
    return "\n".join(lines)


TABLES: Final[dict[str, Callable[[], str]]] = {
    "settings": settings_table,
    "reasons": reasons_table,
    "advice": advice_table,
    "keys": keys_table,
    "scripts": scripts_table,
    "counters": counters_table,
    "metrics": metrics_table,
    "checks": checks_table,
}


def generated(text: str) -> str:
    """`text` with every generated block made anew; blocks stand between `<!-- table: NAME -->` and `<!-- end -->`."""
    return re.sub(
        r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)",
        lambda match: f"{match[1]}{TABLES[match[2]]()}\n{match[3]}",
        text,
        flags=re.DOTALL,
    )


def wanted(root: Path = _ROOT) -> dict[Path, str]:
    """Every generated file, and every document with generated blocks, as it should be."""
    files = {root / _SCHEMA: intent_schema()}
    for document in (root / "README.md", *sorted((root / "docs").glob("*.md"))):
        files[document] = generated(document.read_text(encoding="utf-8"))
    return files


def main() -> int:
    """Write or check; 1 when `--check` finds a stale file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    only_check: bool = parser.parse_args().check
    stale = [path for path, text in wanted().items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        if only_check:
            sys.stderr.write(f"{path.relative_to(_ROOT)} is not current: run `make tables`\n")
        else:
            path.write_text(wanted()[path], encoding="utf-8")
            sys.stdout.write(f"wrote {path.relative_to(_ROOT)}\n")
    return 1 if stale and only_check else 0


if __name__ == "__main__":
    sys.exit(main())

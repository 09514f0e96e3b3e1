"""Where output goes: data on stdout, progress and messages on stderr; colour only for a person."""

import json
import sys
from typing import Any

from rich.console import Console

#: rich honours NO_COLOR, and leaves colour out where the output is not a terminal.
out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def data_line(document: object) -> None:
    """One JSON document on one line of stdout, as other programs read it."""
    sys.stdout.write(json.dumps(document, default=str) + "\n")
    sys.stdout.flush()


def data(document: object) -> None:
    """One JSON document on stdout, indented."""
    sys.stdout.write(json.dumps(document, indent=2, default=str) + "\n")
    sys.stdout.flush()


def say(message: str) -> None:
    """A message for a person, on stderr."""
    err.print(message, markup=False)


def coloured(line: str) -> None:
    """A log line on stderr: green for OK, yellow for BLOCK; the words alone say the same."""
    style: Any = "green" if "] OK " in line else "yellow" if "] BLOCK " in line else None
    err.print(line, markup=False, style=style)


def printable(text: str, keep: str = "") -> str:
    """`text` with every character that could move the cursor, or hide something, shown as its escape."""
    return "".join(each if each.isprintable() or each in keep else ascii(each)[1:-1] for each in text)


def confirmed(question: str) -> bool:
    """Whether the person at the terminal says yes; without a terminal nobody does."""
    if not sys.stdin.isatty():
        say("not a terminal: confirm with --yes")
        return False
    err.print(f"{question} [y/N] ", end="", markup=False)
    return input().strip().lower() in {"y", "yes"}

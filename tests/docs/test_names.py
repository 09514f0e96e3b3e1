"""Log lines, settings, reasons and keys in the documents are the program's."""

import ast
import re
from functools import cache
from typing import Final

import pytest

from tasks.keys import Keys
from tasks.reasons import Reason
from tasks.settings import GovernorSettings, PositionSettings, Settings
from tests.docs.documents import ROOT, Piece, blocks_of, code_of, documents, lines_of, spans_of

#: Where the reasons of our own judges are spelled.
JUDGES: Final = ("tasks/governor.py", "tasks/position.py", "tasks/snapshot.py", "lua/govern_plan.lua")


@cache
def log_texts() -> tuple[str, ...]:
    """Every log line that the program can write, as the format that its source spells: it begins with a `[WORD]`."""
    formats = set()
    for path in [*ROOT.glob("tasks/**/*.py"), *ROOT.glob("workers/*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.match(r"\[[A-Z_]+\]", node.value):
                formats.add(node.value)
    return tuple(sorted(formats))


@cache
def log_formats() -> tuple[re.Pattern[str], ...]:
    """The same as patterns of whole lines."""
    return tuple(re.compile(as_pattern(text)) for text in log_texts())


def as_pattern(text: str) -> str:
    """A logging format as a pattern of the lines it makes; `…` may stand for any value."""
    parts = re.split(r"(%[sd])", text)
    return "".join(
        r"(?:-?\d+|…)" if part == "%d" else r"(?:.*?)" if part == "%s" else re.escape(part) for part in parts
    )


def matches(line: str, *, whole: bool) -> bool:
    """Whether the program can write this line; `whole` or not, one cut by `…` need only be the beginning of one."""
    if any(form.fullmatch(line) for form in log_formats()):
        return True
    if whole and not line.endswith("…"):
        return False
    words = [word.rstrip(":;,") for word in line.removesuffix("…").split()]
    starts = [[part.rstrip(":;,") for part in form.split()][: len(words)] for form in log_texts()]
    return any(
        len(words) == len(start)
        and all(re.fullmatch(as_pattern(part), word) for part, word in zip(start, words, strict=True))
        for start in starts
    )


def pieces(pattern: str) -> list[tuple[Piece, str]]:
    """Every match of a pattern in the code of all documents."""
    return [
        (piece, found)
        for document in documents()
        for piece in code_of(document)
        for found in re.findall(pattern, piece.text)
    ]


def judges_reasons() -> set[str]:
    """Reasons of our own judges, as their sources spell them."""
    texts = [(ROOT / path).read_text(encoding="utf-8") for path in JUDGES]
    return {word for text in texts for word in re.findall(r"[\"']([a-z]+(?:_[a-z]+)+)[\"']", text)}


def test_log_lines_are_the_programs() -> None:
    """A line that an operator is told to look for is one that the program writes, or the beginning of one."""
    words = "|".join(sorted({re.escape(text.partition(" ")[0]) for text in log_texts()}))
    lines = [(piece, False) for document in documents() for piece in spans_of(document)]
    lines += [
        (Piece(document, block.line + offset, line), True)
        for document in documents()
        for block in blocks_of(document)
        for offset, line in enumerate(block.lines, start=1)
    ]
    shown = [(piece, whole) for piece, whole in lines if re.match(rf"({words}) ", piece.text)]

    assert shown
    assert [] == [(piece.place, piece.text) for piece, whole in shown if not matches(piece.text, whole=whole)]


def test_settings_are_the_programs() -> None:
    """Every setting named anywhere exists."""
    known = {
        f"{model.model_config['env_prefix']}{name}".upper()
        for model in (Settings, GovernorSettings, PositionSettings)
        for name in model.model_fields
    }
    named = {
        (f"{document}:{number}", name)
        for document in documents()
        for number, line in enumerate(lines_of(document), start=1)
        for name in re.findall(r"\b(?:APPLY|GOV|P33)_[A-Z0-9_]+\b", line)
    }

    assert [] == sorted((place, name) for place, name in named if name not in known)


def test_reasons_are_the_programs() -> None:
    """Every reason in a log line, a result or a search exists."""
    known = {reason.value for reason in Reason} | {reason.error for reason in Reason} | judges_reasons()
    named = pieces(r"reason[=:] ?([a-z]\w+)") + pieces(r"BLOCKED ([a-z]\w+)") + pieces(r"result:([a-z]\w+)")

    assert named
    assert [] == [(piece.place, name) for piece, name in named if name not in known]


@pytest.mark.parametrize("document", documents())
def test_tables_of_reasons_name_reasons(document: str) -> None:
    """A table whose first column is `reason` lists nothing that no plan can end with."""
    known = {reason.value for reason in Reason} | judges_reasons()
    named, inside = [], False
    for number, line in enumerate(lines_of(document), start=1):
        if line.startswith("| reason |"):
            inside = True
        elif not line.startswith("|"):
            inside = False
        elif inside and not line.startswith("|-"):
            first = line.split("|")[1]
            named += [(f"{document}:{number}", word) for word in re.findall(r"`([^`]+)`", first)]

    assert [] == [(place, word) for place, word in named if word not in known and "…" not in word]


def test_keys_are_the_programs() -> None:
    """Every Redis key named anywhere is one that `tasks/keys.py` spells."""
    keys, known = Keys("quantum"), set()
    for name in dir(Keys):
        if name.startswith("_") or name == "namespace":
            continue
        spelled = getattr(keys, name)
        if callable(spelled):
            arguments = ["p33", "*"] if name == "permit" else ["*"]
            known.add(spelled(*arguments))
            if name == "permit":
                known |= {spelled(permit, "*") for permit in ("governor", "p26")}
        else:
            known.add(spelled)
    named = pieces(r"\bquantum:[\w.:<>*-]+")
    patterns = [
        re.compile(re.escape(key).replace(r"\*", r"[^:]+") + ("[^:]*" if key.endswith(":") else "")) for key in known
    ]
    prefixes = {key.partition("*")[0] for key in known}

    assert named
    assert [] == [
        (piece.place, key)
        for piece, key in named
        if not any(form.fullmatch(key) for form in patterns) and key.rstrip("*") not in prefixes
    ]

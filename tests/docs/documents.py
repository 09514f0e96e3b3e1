"""The documents as their readers see them: blocks, links, headings, words in code."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]


@dataclass(frozen=True)
class Block:
    """A fenced block: where it starts, its language, whether it is marked to be run, its lines."""

    document: str
    line: int
    language: str
    run: bool
    lines: tuple[str, ...]

    @property
    def place(self) -> str:
        """As an editor names it."""
        return f"{self.document}:{self.line}"


@dataclass(frozen=True)
class Piece:
    """Some text of a document, and where it stands."""

    document: str
    line: int
    text: str

    @property
    def place(self) -> str:
        """As an editor names it."""
        return f"{self.document}:{self.line}"


@cache
def documents() -> tuple[str, ...]:
    """Every document that a reader can find, as a path from the project's folder."""
    found = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("deploy/**/*.md")]
    return tuple(sorted(path.relative_to(ROOT).as_posix() for path in found))


@cache
def lines_of(document: str) -> tuple[str, ...]:
    """The document, line by line."""
    return tuple((ROOT / document).read_text(encoding="utf-8").splitlines())


@cache
def blocks_of(document: str) -> tuple[Block, ...]:
    """Every fenced block; `<!-- run -->` on the line before one asks for it to be run."""
    blocks, opened, language, inside = [], 0, "", False
    lines = lines_of(document)
    for number, line in enumerate(lines, start=1):
        fence = re.match(r"```(\S*)\s*$", line)
        if fence and not inside:
            opened, language, inside = number, fence[1], True
        elif fence:
            marked = lines[opened - 2].strip() == "<!-- run -->" if opened > 1 else False
            blocks.append(Block(document, opened, language, marked, lines[opened : number - 1]))
            inside = False
    if inside:
        raise ValueError(f"{document}:{opened}: the block is not closed")
    return tuple(blocks)


@cache
def prose_of(document: str) -> tuple[Piece, ...]:
    """Every line that stands in no block."""
    hidden = {
        number for block in blocks_of(document) for number in range(block.line, block.line + len(block.lines) + 2)
    }
    return tuple(
        Piece(document, number, line) for number, line in enumerate(lines_of(document), start=1) if number not in hidden
    )


def spans_of(document: str) -> Iterator[Piece]:
    """Every `span of code` in the prose."""
    for piece in prose_of(document):
        for span in re.findall(r"`([^`]+)`", piece.text):
            yield Piece(document, piece.line, span)


def code_of(document: str) -> Iterator[Piece]:
    """Every span, and every line of every block."""
    yield from spans_of(document)
    for block in blocks_of(document):
        for offset, line in enumerate(block.lines, start=1):
            yield Piece(document, block.line + offset, line)


def links_of(document: str) -> Iterator[Piece]:
    """The target of every link and picture."""
    for piece in prose_of(document):
        for target in re.findall(r"\]\(([^)\s]+)\)", piece.text):
            yield Piece(document, piece.line, target)


@cache
def anchors_of(document: str) -> frozenset[str]:
    """What can stand after `#` in a link to the document: its headings, as GitHub makes anchors of them."""
    anchors: set[str] = set()
    for piece in prose_of(document):
        heading = re.match(r"#+ (.+)", piece.text)
        if heading:
            anchor = re.sub(r"[^\w\- ]", "", heading[1].lower()).strip().replace(" ", "-")
            again = sum(1 for known in anchors if re.fullmatch(rf"{re.escape(anchor)}(-\d+)?", known))
            anchors.add(f"{anchor}-{again}" if again else anchor)
    return frozenset(anchors)

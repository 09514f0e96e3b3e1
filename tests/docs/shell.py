"""Shell lines taken apart: the commands in them, without what is the shell's."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from tests.docs.documents import blocks_of, documents, spans_of

#: Languages of blocks that show a terminal, or a script.
SHELLS: Final = ("console", "sh", "bash")

_SEPARATORS: Final = {"&&", "||", "|", "&", ";"}


@dataclass(frozen=True)
class Command:
    """One program call in a document: its words, quoted ones without their quotes."""

    place: str
    words: tuple[str, ...]

    @property
    def program(self) -> str:
        """The first word, without its folder."""
        return self.words[0].rpartition("/")[2]


def commands_in(line: str, place: str) -> Iterator[Command]:
    """Every program call of one line; redirections, variables set before a call, and comments are left out."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;<>")
    lexer.whitespace_split = True
    words: list[str] = []
    skip_next = False
    for word in [*lexer, ";"]:
        if word in _SEPARATORS:
            while words and re.fullmatch(r"[A-Za-z_]+=.*", words[0], re.DOTALL):
                words.pop(0)
            if words:
                yield Command(place, tuple(words))
            words = []
        elif set(word) <= set("<>&"):
            skip_next = True
        elif skip_next:
            skip_next = False
        else:
            words.append(word)


def shown_lines(document: str) -> Iterator[tuple[str, str]]:
    """Every line that the document tells its reader to type, with its place; continued lines are joined."""
    for block in blocks_of(document):
        if block.language not in SHELLS:
            continue
        console = block.language == "console"
        held = ""
        for offset, line in enumerate(block.lines, start=1):
            text = line
            if console and not held:
                if not line.startswith("$ "):
                    continue
                text = line[2:]
            elif console and line.startswith("> "):
                text = line[2:]
            held += text.removesuffix("\\")
            if not text.endswith("\\"):
                if held.strip() and not held.lstrip().startswith("#"):
                    yield held, f"{document}:{block.line + offset}"
                held = ""


def all_commands() -> list[Command]:
    """Every command that any document shows, in a block or in its text."""
    found = []
    for document in documents():
        for line, place in shown_lines(document):
            found += list(commands_in(line, place))
        for span in spans_of(document):
            if re.match(r"(permitwait|make|celery) \S", span.text):
                found += list(commands_in(span.text.replace("…", ""), span.place))
    return found

"""Every command in the documents exists, with the options shown."""

import re
from typing import Any, Final

import pytest
from celery.bin.celery import celery
from flower.options import default_options as flower_options
from typer.main import get_command

import ops.cli  # noqa: F401 - it finds the commands
from ops.commands import app
from tests.docs.documents import ROOT, blocks_of, documents
from tests.docs.shell import SHELLS, Command, all_commands

COMMANDS: Final = all_commands()

#: Other programs that the documents call.
OTHERS: Final = {
    *("cd", "export", "kill", ".", "cut", "curl", "echo", "git", "grep", "install", "ls", "sort", "uniq", "wc"),
    *("pip", "python3", "redis-cli", "systemctl", "journalctl"),
    *("chmod", "cp", "docker", "ln", "useradd", "usermod"),
}


def of(program: str) -> list[Command]:
    """Every call of one program."""
    return [command for command in COMMANDS if command.program == program]


def parsed(group: Any, words: list[str]) -> str:
    """Why a command line cannot be parsed; empty where it can. Nothing is run, and no file is looked for.

    `group` is click's, or that of the click which typer brings along.
    """
    command, rest, context = group, words, None
    try:
        while hasattr(command, "resolve_command"):
            context = command.make_context(command.name, rest, parent=context, resilient_parsing=True)
            rest = [*context._protected_args, *context.args]
            if not rest:
                return ""
            context.resilient_parsing = False
            _, command, rest = command.resolve_command(context, rest)
        command.make_parser(command.context_class(command, parent=context)).parse_args(list(rest))
    except Exception as error:  # noqa: BLE001 - both clicks' own
        return str(error.format_message()) if hasattr(error, "format_message") else repr(error)
    return ""


@pytest.mark.parametrize(
    "line",
    ["permitwait nope", "permitwait submit --nope", "celery -A workers nope", "celery -A workers worker --nope"],
)
def test_a_wrong_command_would_be_found(line: str) -> None:
    """The parsers used here refuse what is not there."""
    program, *words = line.split()

    assert "nope" in parsed(get_command(app) if program == "permitwait" else celery, words)


def test_there_is_something_to_look_at() -> None:
    """The documents show commands of every kind."""
    assert {"permitwait", "celery", "make"} <= {command.program for command in COMMANDS}


def test_the_tool_has_every_command_and_option_shown() -> None:
    """`permitwait …` as shown is understood."""
    tool = get_command(app)
    wrong = {c.place: said for c in of("permitwait") if (said := parsed(tool, list(c.words[1:])))}

    assert {} == wrong


def test_celery_has_every_command_and_option_shown() -> None:
    """`celery …` as shown is understood, Flower's own options too."""
    wrong = {}
    for command in of("celery"):
        words = [word for word in command.words[1:] if word]
        if "flower" in words:
            at = words.index("flower")
            options = [word.lstrip("-").partition("=")[0].replace("-", "_") for word in words[at + 1 :]]
            unknown = [option for option in options if not hasattr(flower_options, option)]
            if unknown:
                wrong[command.place] = f"Flower has no option {unknown}"
            words = words[: at + 1]
        said = parsed(celery, words)
        if said:
            wrong[command.place] = said

    assert {} == wrong


def test_make_has_every_target_shown() -> None:
    """`make …` as shown names targets and variables of the Makefile."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    variables = set(re.findall(r"^([A-Z]+)\s*[?:]?=|\$\(([A-Z]+)\)", makefile, re.MULTILINE))
    variables = {name for pair in variables for name in pair}
    wrong = [
        (command.place, word)
        for command in of("make")
        for word in command.words[1:]
        if (word.partition("=")[0] not in variables if "=" in word else word not in targets)
    ]

    assert [] == wrong


def test_other_programs_are_ones_that_readers_have() -> None:
    """Nothing else is asked of a reader than what the documents say is needed."""
    known = OTHERS | {"permitwait", "celery", "make"}

    assert [] == [(c.place, c.program) for c in COMMANDS if c.program not in known]


@pytest.mark.parametrize("document", documents())
def test_blocks_say_what_they_show(document: str) -> None:
    """Each block names its language; one that shows a terminal has a line to type."""
    blocks = blocks_of(document)

    assert [] == [block.place for block in blocks if not block.language]
    assert [] == [
        block.place
        for block in blocks
        if block.language == "console" and not any(line.startswith("$ ") for line in block.lines)
    ]
    assert [] == [
        block.place
        for block in blocks
        if block.language not in SHELLS and any(line.startswith("$ ") for line in block.lines)
    ]

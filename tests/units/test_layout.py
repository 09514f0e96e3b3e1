"""The rules of the house, as tests: what may import, read, call and be named what."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tasks.settings import Settings

ROOT = Path(__file__).resolve().parents[2]

#: Files that may read the whole environment, and why.
MAY_READ_ENVIRONMENT = {
    "ops/child.py": "a child process inherits what the shell has, with our settings on top",
}

#: What else is called `submit` and places no order: the producer's function, called by its module's name.
SUBMITS_NO_ORDER = {"submit"}

MOST_LINES = 400

if not (ROOT / ".git").exists():
    pytest.skip("which files are the project's is asked of git, and this is no checkout", allow_module_level=True)


@cache
def files(*patterns: str) -> list[str]:
    """Paths of all files of the project that match, tracked or about to be."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return sorted(path for path in set(listed.stdout.splitlines()) if (ROOT / path).is_file())


#: Each is one operation; what stands in `lua/include/` is only ever a part of one.
SCRIPTS = [path for path in files("*.lua") if not path.startswith("lua/include/")]


def product_files() -> list[str]:
    """Every Python file that runs in production."""
    return [
        path for path in files("*.py") if path.startswith(("tasks/", "workers/", "ops/", "lua/")) or "/" not in path
    ]


@cache
def tree(path: str) -> ast.Module:
    """A Python file, parsed."""
    return ast.parse((ROOT / path).read_text(encoding="utf-8"), path)


def imports(path: str) -> Iterator[str]:
    """Every module that a file imports, anywhere in it."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def attributes(path: str, *names: str) -> Iterator[tuple[str, str]]:
    """Receiver and name of every use of an attribute with one of these names."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Attribute) and node.attr in names:
            yield ast.unparse(node.value), node.attr


def test_the_lists_below_are_not_empty() -> None:
    """These tests look at the files that are there."""
    assert {"tasks/dispatch.py", "workers/celery.py", "celeryconfig.py"} <= set(product_files())
    assert "lua/consume_permits.lua" in files("*.lua")


def test_files_are_short() -> None:
    """No source file is longer than 400 lines."""
    lengths = {path: len((ROOT / path).read_text(encoding="utf-8").splitlines()) for path in files("*.py", "*.lua")}

    assert {} == {path: length for path, length in lengths.items() if length > MOST_LINES}


def test_tasks_know_neither_workers_nor_ops() -> None:
    """The core imports nothing of what is built around it."""
    around = {"workers", "ops", "tests", "bench", "celeryconfig"}

    assert [] == [
        (path, name) for path in files("tasks/*.py") for name in imports(path) if name.split(".")[0] in around
    ]


def test_building_and_judging_plans_loads_no_client() -> None:
    """A producer that only builds intents needs neither a Redis client nor Celery; the first submission loads them."""
    light = "submit intent keys outcome wait judge permit strictjson reasons settings address errors"
    heavy = ["redis", "celery", "kombu", "tasks.store", "tasks.consume"]
    code = (
        f"import sys, {', '.join(f'tasks.{name}' for name in light.split())}\nprint(*set({heavy}) & set(sys.modules))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)

    assert "" == loaded.stdout.strip()


def test_the_environment_is_read_in_one_file() -> None:
    """Settings come through `tasks/settings.py` alone; who passes an environment on is listed, with a reason."""
    readers = {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"}
    uses = {path for path in product_files() if any(attributes(path, *readers))}
    imported = {path for path in product_files() if {f"os.{reader}" for reader in readers} & set(imports(path))}

    assert set(MAY_READ_ENVIRONMENT) == uses
    assert set() == imported


@pytest.mark.parametrize("path", sorted(MAY_READ_ENVIRONMENT))
def test_a_passed_on_environment_is_not_looked_into(path: str) -> None:
    """Who may see the environment takes it as a whole; no variable is picked out of it."""
    whole = [
        ast.unparse(value)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Dict)
        for key, value in zip(node.keys, node.values, strict=True)
        if key is None
    ]

    assert ["os.environ"] == [value for value in whole if "environ" in value]
    assert 1 == len(list(attributes(path, "environ", "getenv")))


def test_only_settings_use_the_settings_library() -> None:
    """No second class reads the environment through pydantic-settings."""
    assert ["tasks/settings.py"] == [
        path for path in product_files() if any(name.startswith("pydantic_settings") for name in imports(path))
    ]


def test_one_line_submits_orders() -> None:
    """A venue's `submit` is named in exactly one place, in `tasks/dispatch.py`."""
    found = [
        (path, receiver)
        for path in product_files()
        for receiver, _ in attributes(path, "submit")
        if receiver not in SUBMITS_NO_ORDER
    ]
    by_name = [
        path
        for path in product_files()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "getattr" and "submit" in ast.unparse(node)
    ]

    assert [("tasks/dispatch.py", "venue")] == found
    assert [] == by_name


def test_one_line_dispatches() -> None:
    """`dispatch` is called in exactly one place, in `tasks/act.py`, and imported nowhere else."""
    calls = [
        path
        for path in product_files()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "dispatch"
    ]
    importers = [path for path in product_files() if "tasks.dispatch.dispatch" in imports(path)]

    assert ["tasks/act.py"] == calls == importers


def test_one_script_takes_orders_for_paper() -> None:
    """The paper venue's script is run by the paper venue, and the journal's key is written by that script only."""
    callers = [path for path in product_files() if '"paper_order"' in (ROOT / path).read_text(encoding="utf-8")]
    writers = [
        path
        for path in files("*.lua")
        if re.search(r"redis\.call\('XADD', journal", (ROOT / path).read_text(encoding="utf-8"))
    ]

    assert ["tasks/venues/paper.py"] == callers
    assert ["lua/paper_order.lua"] == writers


def test_no_setting_skips_the_gate() -> None:
    """There is no setting that sounds as if it opened a way around the permits."""
    ways_around = re.compile(r"skip|bypass|disable|force|override|ignore|unsafe|insecure|allow_missing|without")

    assert [] == [name for name in Settings.model_fields if ways_around.search(name)]


def header_and_code(path: str) -> tuple[str, str]:
    """A script's opening comment, and the rest of it without comments."""
    lines = (ROOT / path).read_text(encoding="utf-8").splitlines()
    length = next(number for number, line in enumerate(lines) if not line.startswith("--"))
    code = [re.sub(r"--.*", "", line) for line in lines[length:]]
    return "\n".join(lines[:length]), "\n".join(code)


@pytest.mark.parametrize("path", SCRIPTS)
def test_a_script_tells_its_promise(path: str) -> None:
    """Each script opens with what it does, what it promises and what it returns."""
    header, _ = header_and_code(path)

    assert re.match(r"-- [A-Z].+[.:]", header)
    assert "\n-- Promise: " in header
    assert re.search(r"\n-- Returns[ ,]", header)


@pytest.mark.parametrize("kind", ["KEYS", "ARGV"])
@pytest.mark.parametrize("path", SCRIPTS)
def test_a_script_tells_its_arguments(path: str, kind: str) -> None:
    """Keys and arguments are numbered without a gap up to the last one used; what follows in any number says so."""
    header, code = header_and_code(path)
    told = re.findall(rf"^-- {kind}\[(\d+)(…?)\]", header, re.MULTILINE)
    numbers = [int(number) for number, _ in told]
    used = {int(number) for number in re.findall(rf"{kind}\[(\d+)\]", code)}
    open_ended = [int(number) for number, more in told if more]
    walked = bool(re.search(rf"{kind}\[[a-zA-Z]|#{kind}", code))

    assert list(range(1, len(told) + 1)) == numbers
    assert set(numbers) - set(open_ended) == used
    assert numbers[-1:] * walked == open_ended
    assert all(re.search(rf"local FIRST_\w+ = {first}\b", code) for first in open_ended)


@pytest.mark.parametrize("path", SCRIPTS)
def test_a_script_tells_its_answers(path: str) -> None:
    """Every word that a script can answer with stands in its header, and no other."""
    header, code = header_and_code(path)
    answers = set(re.findall(r"(?:return \{ |claimed\(|insert\(answer, 1, |answer = \{ )'([a-z_]+)'", code))
    answers |= {word for pair in re.findall(r" and '([a-z_]+)' or '([a-z_]+)'[,)]", code) for word in pair}
    returns = header[header.index("\n-- Returns") :]

    assert answers == set(re.findall(r'"([a-z_]+)"', returns)) - {""}


def test_tests_run_on_any_server() -> None:
    """Only tests of the embedded server itself start one; all others ask for the kind that the run is about."""
    own = ("tests/ops/", "tests/servers.py")

    assert [] == [
        path
        for path in files("tests/*.py")
        if not path.startswith(own) and "ops.server.EmbeddedServer" in set(imports(path))
    ]


def test_every_test_states_its_promise() -> None:
    """Each test function has a docstring that is a sentence."""
    tests = [
        (path, node.name, ast.get_docstring(node) or "")
        for path in files("tests/*.py")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    ]

    assert tests
    assert [] == [(path, name) for path, name, docstring in tests if not re.match(r"[^a-z].+\.$", docstring, re.DOTALL)]

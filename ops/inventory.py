"""What the documents list of the program's inside: every key in Redis and every script, as Markdown tables."""

import inspect
import re
from pathlib import Path
from typing import Final

from tasks.keys import Keys

_LUA: Final = Path(__file__).resolve().parent.parent / "lua"


def keys_table() -> str:
    """Every key, with its type and content, from the docstrings that name them."""
    lines = ["| key | type and content |", "|---|---|"]
    keys = Keys()
    for name, member in vars(Keys).items():
        meaning = " ".join((inspect.getdoc(member) or "").split())
        if name.startswith("_") or not (isinstance(member, property) or inspect.isfunction(member)):
            continue
        if isinstance(member, property):
            # The script adds the UTC date to a prefix.
            spelled = [f"{getattr(keys, name)}{'<date>' if 'per UTC day' in meaning else ''}"]
        else:
            asked = [f"<{parameter}>" for parameter in list(inspect.signature(member).parameters)[1:]]
            names = (
                [["governor", "<plan_id>"], ["p33", "<plan_id>"], ["p26", "<plan_id>"]] if name == "permit" else [asked]
            )
            spelled = [getattr(keys, name)(*words) for words in names]
            spelled = [f"{key}<date>" if "per UTC day" in meaning else key for key in spelled]
        lines.append(f"| {', '.join(f'`{key}`' for key in spelled)} | {meaning} |")
    return "\n".join(lines)


def scripts_table() -> str:
    """Every script, with the first sentence of its header."""
    lines = ["| script | does, in one step |", "|---|---|"]
    for path in sorted(_LUA.glob("*.lua")):
        first = re.split(r"\n--\n", path.read_text(encoding="utf-8"), maxsplit=1)[0]
        sentence = " ".join(line.removeprefix("--").strip() for line in first.splitlines())
        lines.append(f"| [`{path.name}`](../lua/{path.name}) | {sentence} |")
    return "\n".join(lines)

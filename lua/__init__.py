"""The shipped Lua scripts, read by name. Each file is one atomic operation and documents itself."""

import re
from functools import cache, lru_cache
from hashlib import sha1
from importlib.resources import files

_INCLUDE = re.compile(r"^--@include ([\w/]+)$", re.MULTILINE)


def names() -> tuple[str, ...]:
    """Every script there is; what other scripts only include is none."""
    return tuple(
        sorted(file.name.removesuffix(".lua") for file in files(__name__).iterdir() if file.name.endswith(".lua"))
    )


@cache
def source(name: str) -> str:
    """The text of `lua/<name>.lua`, with each line `--@include NAME` replaced by `lua/<NAME>.lua`."""
    return _whole(name)


@lru_cache(maxsize=64)
def digest(text: str) -> str:
    """What a server knows a script by, once it was sent its text."""
    return sha1(text.encode(), usedforsecurity=False).hexdigest()


def _whole(name: str) -> str:
    text = files(__name__).joinpath(f"{name}.lua").read_text(encoding="utf-8")
    return _INCLUDE.sub(lambda match: _whole(match[1]), text)

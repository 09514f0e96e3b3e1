"""The shipped Lua scripts, read by name. Each file is one atomic operation and documents itself."""

from functools import cache
from importlib.resources import files


@cache
def source(name: str) -> str:
    """The text of `lua/<name>.lua`."""
    return files(__name__).joinpath(f"{name}.lua").read_text(encoding="utf-8")

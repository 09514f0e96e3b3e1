"""Times, numbers and names as a person reads them, in plain ASCII."""

from collections.abc import Sized
from datetime import UTC, datetime
from typing import Final

_STEPS: Final = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "min"))


def clock(epoch_ms: int) -> str:
    """A moment, UTC, to the second."""
    return datetime.fromtimestamp(epoch_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def ago(ms: int) -> str:
    """A duration in its largest sensible unit: `0.8 s`, `42 s`, `7 min`, `3 h`, `12 d`."""
    for size, unit in _STEPS:
        if ms >= size:
            return f"{ms // size} {unit}"
    return f"{max(ms, 0) / 1000:.1f} s" if ms < 10_000 else f"{ms // 1000} s"  # noqa: PLR2004 - a decimal says something below 10 s


def number_of(things: Sized | int, name: str) -> str:
    """`1 worker`, `2 workers`."""
    number = things if isinstance(things, int) else len(things)
    return f"{number} {name}{'' if number == 1 else 's'}"


def cut(text: str, width: int) -> str:
    """`text` in at most `width` columns, without a character that could move the cursor."""
    shown = ascii(text)[1:-1]
    return shown if len(shown) <= width else shown[: max(width - 2, 0)] + ".."


def bar(count: int, most: int, width: int) -> str:
    """A bar of `#` for `count` of `most`; at least one where anything was counted."""
    return "#" * max(round(count / most * width), 1) if count and most else ""

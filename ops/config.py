"""`permitwait config`: every setting with its value, its default and its meaning."""

from dataclasses import dataclass
from textwrap import fill

from ops import screen
from tasks.settings import Settings, masked, read_settings


@dataclass(frozen=True)
class Row:
    """One setting as it is in force; secrets are masked."""

    name: str
    value: str
    default: str
    meaning: str


def rows(settings: Settings) -> list[Row]:
    """Every setting, in the order of the documents."""
    return [
        Row(
            name := f"APPLY_{field}".upper(),
            masked(name, getattr(settings, field)),
            masked(name, info.default),
            info.description or "",
        )
        for field, info in Settings.model_fields.items()
    ]


def show(*, as_json: bool) -> None:
    """Print the effective settings."""
    settings = read_settings()
    if as_json:
        screen.data(
            {row.name: {"value": row.value, "default": row.default, "meaning": row.meaning} for row in rows(settings)}
        )
        return
    for row in rows(settings):
        changed = "" if row.value == row.default else f"   (default: {row.default or 'unset'})"
        screen.out.print(f"{row.name}={row.value}{changed}", markup=False, style="bold")
        screen.out.print(fill(row.meaning, 76, initial_indent="    ", subsequent_indent="    "), markup=False)

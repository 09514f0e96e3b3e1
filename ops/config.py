"""`permitwait config`: every setting with its value, its default and its meaning."""

from dataclasses import dataclass
from textwrap import fill

from ops import screen
from tasks.settings import (
    GovernorSettings,
    PositionSettings,
    Settings,
    governor_settings,
    masked,
    position_settings,
    read_settings,
)


@dataclass(frozen=True)
class Row:
    """One setting as it is in force; secrets are masked."""

    name: str
    value: str
    default: str
    meaning: str


def rows(*models: Settings | GovernorSettings | PositionSettings) -> list[Row]:
    """Every setting of these models, in the order of the documents."""
    return [
        Row(
            name := f"{settings.model_config['env_prefix']}{field}".upper(),
            masked(name, getattr(settings, field)),
            masked(name, info.default),
            info.description or "",
        )
        for settings in models
        for field, info in type(settings).model_fields.items()
    ]


def show(*, as_json: bool) -> None:
    """Print the effective settings."""
    in_force = rows(read_settings(), governor_settings(), position_settings())
    if as_json:
        screen.data(
            {row.name: {"value": row.value, "default": row.default, "meaning": row.meaning} for row in in_force}
        )
        return
    for row in in_force:
        changed = "" if row.value == row.default else f"   (default: {row.default or 'unset'})"
        screen.out.print(f"{row.name}={row.value}{changed}", markup=False, style="bold")
        screen.out.print(fill(row.meaning, 76, initial_indent="    ", subsequent_indent="    "), markup=False)

"""A bar chart as SVG text: two bars a row on a logarithmic scale. Pure."""

from collections.abc import Sequence
from html import escape
from math import log10

_LEFT, _WIDTH, _ROW, _TOP = 170, 760, 44, 50
_COLOURS = ("#2b6cb0", "#dd6b20")


def bars(title: str, rows: Sequence[tuple[str, float, float]]) -> str:
    """One row per name with its median and its 99th percentile, each bar with its figure, from 0.1 on."""
    largest = max(value for _, *values in rows for value in values)
    decades = max(1.0, log10(max(largest, 1.0)) + 1)

    def x(value: float) -> float:
        return (log10(max(value, 0.1)) + 1) / decades * (_WIDTH - _LEFT - 90)

    height = _TOP + _ROW * len(rows) + 20
    frame = f'width="{_WIDTH}" height="{height}" font-family="sans-serif" font-size="13"'
    said = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {frame}><rect width="100%" height="100%" fill="white"/>',
        f'<text x="10" y="20" font-size="15">{escape(title)}</text>',
        f'<text x="{_LEFT}" y="40" fill="{_COLOURS[0]}">p50</text>',
        f'<text x="{_LEFT + 40}" y="40" fill="{_COLOURS[1]}">p99</text>',
    ]
    for number, (name, *values) in enumerate(rows):
        y = _TOP + number * _ROW
        said.append(f'<text x="{_LEFT - 10}" y="{y + 24}" text-anchor="end">{escape(name)}</text>')
        for place, value in enumerate(values):
            top, width = y + 4 + place * 17, x(value)
            said.append(f'<rect x="{_LEFT}" y="{top}" width="{width:.0f}" height="14" fill="{_COLOURS[place]}"/>')
            said.append(f'<text x="{_LEFT + width + 6:.0f}" y="{top + 12}">{value:g} ms</text>')
    return "\n".join([*said, "</svg>", ""])

"""JSON as permits must be written: small, shallow, no duplicate keys, numbers as exact decimals.

Redis' own `cjson` and Python's defaults accept NaN, Infinity, 1e999 and duplicate keys, and lose digits
above 2^53; two parsers that disagree are a hole, so this is the only one that reads a permit.
"""

import json
import re
from decimal import Decimal, InvalidOperation
from typing import Final

#: Bytes; the size limit of CONTRACT "Judging permits".
MAX_BYTES: Final = 16 * 1024

#: Levels of nesting; a permit needs three.
MAX_DEPTH: Final = 16

# A text without an end counts to the end of the bytes: searching on behind each of its quotes took seconds.
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)


class NotStrict(ValueError):
    """Raised when bytes are not JSON as defined here; the text says what was found."""


def parse_strict(raw: bytes) -> dict[str, object]:
    """Read one JSON object; every number is a `Decimal` (non-finite ones stay visible as such).

    Raises:
        NotStrict: with what was found, safe to log.
    """
    if len(raw) > MAX_BYTES:
        raise NotStrict(f"{len(raw)} bytes, at most {MAX_BYTES} are read")
    # Where so few open there is no need to look at where they close.
    if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH and _depth(raw) > MAX_DEPTH:
        raise NotStrict(f"nested deeper than {MAX_DEPTH} levels")
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise NotStrict(f"not UTF-8 at byte {error.start}") from None
    if text.startswith("\ufeff"):
        raise NotStrict("not JSON: Unexpected UTF-8 BOM at character 0")
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise NotStrict(f"not JSON: {error.msg} at character {error.pos}") from None
    if not isinstance(value, dict):
        raise NotStrict(f"a JSON object was expected, found {describe(value)}")
    return value


def non_finite_fields(document: dict[str, object]) -> list[str]:
    """Top-level fields that hold NaN or an infinity, at any depth."""
    return [name for name, value in document.items() if _non_finite(value)]


def describe(value: object) -> str:
    """A JSON value as a few printable characters, with its type, for a message to a person."""
    kind = {dict: "an object", list: "a list", str: "text", bool: "a boolean", Decimal: "a number"}.get(
        type(value), "null" if value is None else type(value).__name__
    )
    shown = str(value) if isinstance(value, Decimal) else ascii(value)
    return f"{shown if len(shown) <= 60 else shown[:57] + '...'} ({kind})"  # noqa: PLR2004 - one line of a terminal


def _number(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise NotStrict(f"{text[:60]} is not a usable number") from None


def _no_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    document = dict(pairs)
    if len(document) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise NotStrict(f"duplicate key {ascii(twice)[:60]}")
    return document


#: Made once: `json.loads` makes one for each text.
_DECODER: Final = json.JSONDecoder(
    parse_float=_number, parse_int=_number, parse_constant=_number, object_pairs_hook=_no_duplicates
)


def _non_finite(value: object) -> bool:
    if isinstance(value, Decimal):
        return not value.is_finite()
    if isinstance(value, dict):
        return any(_non_finite(part) for part in value.values())
    return isinstance(value, list) and any(_non_finite(part) for part in value)


def _depth(raw: bytes) -> int:
    depth = deepest = 0
    for token in _TOKEN.findall(raw):
        if token in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif token in b"]}":
            depth -= 1
    return deepest

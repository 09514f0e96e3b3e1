"""The one parser that reads permits: what it lets through, what it refuses, and how it says so."""

import json
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.strictjson import MAX_BYTES, MAX_DEPTH, NotStrict, describe, non_finite_fields, parse_strict


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.1", "0.1"),
        ("0.29", "0.29"),
        ("1", "1"),
        ("9007199254740993", "9007199254740993"),
        ("0.10000000000000000000000000001", "0.10000000000000000000000000001"),
        ("1e-7", "1E-7"),
        ("1e999", "1E+999"),
        ("-0", "-0"),
    ],
)
def test_numbers_are_exact(text: str, value: str) -> None:
    """Every number is the decimal its author wrote, digit by digit."""
    number = parse_strict(f'{{"n": {text}}}'.encode())["n"]

    assert isinstance(number, Decimal)
    assert value == str(number)


def test_other_values_keep_their_types() -> None:
    """Booleans, null, text, lists and objects come out as themselves."""
    document = {"a": True, "b": None, "c": "x\u20ac", "d": [False], "e": {"f": ""}}

    assert document == parse_strict(json.dumps(document).encode())


@pytest.mark.parametrize("token", ["NaN", "Infinity", "-Infinity"])
def test_non_finite_numbers_stay_visible(token: str) -> None:
    """NaN and the infinities are read, and the fields that hold them are named, however deep."""
    document = parse_strict(f'{{"a": 1, "b": {token}, "c": [{{"d": {token}}}], "e": ["{token}"]}}'.encode())

    assert ["b", "c"] == non_finite_fields(document)


def nested(levels: int) -> bytes:
    """A document of that many levels."""
    return b'{"a": ' * (levels - 1) + b"{}" + b"}" * (levels - 1)


def test_size_and_depth_up_to_the_limit() -> None:
    """16 KiB and 16 levels are read, and what looks like nesting inside a text does not count."""
    largest = b'{"a": "' + b"x" * (MAX_BYTES - 9) + b'"}'

    assert MAX_BYTES == len(largest) == 16_384
    assert ["a"] == list(parse_strict(largest))
    assert ["a"] == list(parse_strict(nested(MAX_DEPTH)))
    assert {"a": '[{"' * 50} == parse_strict(json.dumps({"a": '[{"' * 50}).encode())


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (b'{"a": "' + b"x" * (MAX_BYTES - 8) + b'"}', "16385 bytes, at most 16384 are read"),
        (nested(MAX_DEPTH + 1), "nested deeper than 16 levels"),
        (b"[" * MAX_BYTES, "nested deeper than 16 levels"),
        (b'{"a": "\\"", "b": ' + b"[" * 20, "nested deeper than 16 levels"),
        (b'{"a": 1, "b": 2, "a": 1}', "duplicate key 'a'"),
        (b'{"a": {"b": 1, "b": 1}}', "duplicate key 'b'"),
        (b'{"\\u0061": 1, "a": 2}', "duplicate key 'a'"),
        (b'{"a": 1', "not JSON: Expecting ',' delimiter at character 7"),
        (b"", "not JSON: Expecting value at character 0"),
        (b"{} {}", "not JSON: Extra data at character 3"),
        (b'{"a": 0x10}', "not JSON"),
        (b'{"a": 01}', "not JSON"),
        (b'{"a": .5}', "not JSON"),
        (b'{"a": "\n"}', "not JSON: Invalid control character"),
        (b"\xef\xbb\xbf{}", "not JSON: Unexpected UTF-8 BOM"),
        (b'{"a": "\xff"}', "not UTF-8 at byte 7"),
        (b'{"\xed\xa0\x80": 1}', "not UTF-8 at byte 2"),
        (b"[1]", "a JSON object was expected, found ["),
        (b"1", "a JSON object was expected, found 1 (a number)"),
        (b'"x"', "a JSON object was expected, found 'x' (text)"),
        (b"null", "a JSON object was expected, found None (null)"),
        (b'{"a": 1e99999999999999999999}', "not a usable number"),
        (b'{"a": -1e-99999999999999999999}', "not a usable number"),
    ],
)
@pytest.mark.fault("F22")
def test_what_is_refused(raw: bytes, told: str) -> None:
    """Each refusal says what was found, in one printable line."""
    with pytest.raises(NotStrict) as refused:
        parse_strict(raw)

    assert told in str(refused.value)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "None (null)"),
        (True, "True (a boolean)"),
        (Decimal("0.10"), "0.10 (a number)"),
        ("a\n\u20ac", "'a\\n\\u20ac' (text)"),
        ("x" * 100, "'" + "x" * 56 + "... (text)"),
        ({"a": "b"}, "{'a': 'b'} (an object)"),
        ([], "[] (a list)"),
    ],
)
def test_values_are_described_in_one_short_line(value: object, text: str) -> None:
    """A value is shown with its type, printable and cut."""
    assert text == describe(value)


@settings(max_examples=300, deadline=None, database=None, derandomize=True)
@given(st.binary(max_size=200) | st.text(alphabet='{}[]":,0123456789.eE+-\\ naNtrufls', max_size=60).map(str.encode))
@pytest.mark.fault("F22")
def test_anything_else_is_refused_with_the_one_error(raw: bytes) -> None:
    """Arbitrary bytes either are an object or are refused as not strict; no other error leaves the parser."""
    try:
        document = parse_strict(raw)
    except NotStrict:
        return

    assert isinstance(document, dict)


@settings(max_examples=200, deadline=None, database=None, derandomize=True)
@given(
    st.dictionaries(
        st.text(max_size=8),
        st.recursive(
            st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=8),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
            max_leaves=8,
        ),
        max_size=5,
    )
)
def test_plain_documents_are_read_as_everyone_reads_them(document: dict[str, object]) -> None:
    """A document that any JSON library writes comes out equal."""
    assert document == parse_strict(json.dumps(document).encode())

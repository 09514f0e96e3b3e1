"""Quantities are rounded down to the step, exactly, and never anywhere else."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.judge import round_down
from tasks.outcome import plain


@pytest.mark.parametrize(
    ("quantity", "step", "rounded"),
    [
        ("0.29", "0.01", "0.29"),
        ("0.0075", "0.001", "0.007"),
        ("0.008", "0.001", "0.008"),
        ("0.00799999999999999999999", "0.001", "0.007"),
        ("0.3", "0.1", "0.3"),
        ("1.15", "0.05", "1.15"),
        ("0.0009", "0.001", "0"),
        ("0", "0.001", "0"),
        ("12", "10", "10"),
        ("100", "1", "100"),
        ("1e3", "0.5", "1000"),
        ("7", "3", "6"),
        ("9999999999999999999999999999", "0.001", "9999999999999999999999999999"),
        ("1", "0.0000000000000000000000000003", "0.9999999999999999999999999999"),
    ],
)
def test_known_quantities(quantity: str, step: str, rounded: str) -> None:
    """Multiples of the step stay, everything else goes down to the next one, as plain decimal text."""
    assert rounded == plain(round_down(Decimal(quantity), Decimal(step)))


@settings(max_examples=300, deadline=None, database=None, derandomize=True)
@given(
    quantity=st.decimals(min_value=0, max_value=10**12, places=12),
    step=st.decimals(min_value=Decimal("1e-12"), max_value=1000, places=12),
)
def test_never_above_and_always_a_multiple(quantity: Decimal, step: Decimal) -> None:
    """What comes out is a multiple of the step, not above the quantity, and less than a step below it."""
    rounded = Fraction(round_down(quantity, step))

    assert rounded <= Fraction(quantity) < rounded + Fraction(step)
    assert 1 == (rounded / Fraction(step)).denominator

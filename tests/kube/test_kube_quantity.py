"""Quantities: the table of apimachinery's own tests, and properties."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binderops.kube.quantity import canonical, parse_quantity, to_bytes, to_millicores


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("100m", Decimal("0.1")),
        ("1.5", Decimal("1.5")),
        (".5", Decimal("0.5")),
        ("1.", 1),
        ("512Mi", 512 * 1024**2),
        ("1Gi", 1024**3),
        ("1G", 10**9),
        ("2e3", 2000),
        ("2E3", 2000),
        ("1E", 10**18),
        ("5n", Decimal("5e-9")),
        ("0.1n", Decimal("1e-9")),  # rounded up, never to nothing
        ("-1", -1),
        ("+3k", 3000),
        ("100E", 2**63 - 1),  # capped
    ],
)
def test_parse(text: str, value: Decimal | int) -> None:
    assert parse_quantity(text) == value


@pytest.mark.parametrize(
    "text", ["", "Mi", "1 Gi", "1gi", "1KB", "0x10", "1e", "1e1.5", "--1", "1\n", "٣", "nan", "inf"]
)
def test_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a quantity"):
        parse_quantity(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1024Mi", "1Gi"),
        ("0.5", "500m"),
        ("1000m", "1"),
        ("1500Mi", "1500Mi"),
        ("0.5Gi", "512Mi"),
        ("0.5Ki", "512"),
        ("1000", "1k"),
        ("1e3", "1e3"),
        ("1e4", "10e3"),
        ("0", "0"),
        ("0Gi", "0"),
        ("100k", "100k"),
        ("-1500m", "-1500m"),
        ("1.2Gi", "1288490189"),
    ],
)
def test_canonical(text: str, expected: str) -> None:
    assert canonical(text) == expected


def test_units() -> None:
    assert to_bytes("1.5Ki") == 1536
    assert to_bytes("100m") == 1
    assert to_millicores("0.0001") == 1
    assert to_millicores(2) == 2000


@given(st.integers(0, 2**62), st.sampled_from(["", "m", "k", "Ki", "Mi", "Gi", "u", "n", "e2"]))
def test_canonical_text_keeps_the_value(number: int, suffix: str) -> None:
    text = f"{number}{suffix}"
    value, family_rounds = parse_quantity(text), suffix in ("Ki", "Mi", "Gi")
    again = parse_quantity(canonical(text))
    assert again == value or (family_rounds and again >= value)
    assert canonical(canonical(text)) == canonical(text)

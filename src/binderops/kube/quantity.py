"""Resource quantities (`500m`, `1Gi`, `2e3`): parsed, converted, and written as Kubernetes writes them.

The rules are those of apimachinery's `resource.Quantity`.
"""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal

_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|[eE][+-]?\d{1,3})?", re.ASCII)
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_NANO = Decimal("1e-9")
_LARGEST = Decimal(2**63 - 1)
_PRECISE = Context(prec=60)


def parse_quantity(text: str | int | float) -> Decimal:
    """The number that a quantity stands for, rounded up to 1e-9. ValueError for anything else."""
    return _parse(str(text))[0]


def to_bytes(text: str | int | float) -> int:
    """A quantity of memory or storage in bytes, rounded up."""
    return int(parse_quantity(text).to_integral_value(ROUND_CEILING))


def to_millicores(text: str | int | float) -> int:
    """A quantity of CPU in thousandths of a core, rounded up."""
    return int((parse_quantity(text) * 1000).to_integral_value(ROUND_CEILING))


def canonical(text: str | int | float) -> str:
    """The text as the API stores it: no fraction, the largest suffix that keeps it whole, the same family of suffix."""
    value, family = _parse(str(text))
    if family == "binary" and abs(value) >= 1024:
        whole = value.to_integral_value(ROUND_CEILING)
        power = next(p for p in range(6, -1, -1) if whole % (1024**p) == 0)
        suffix = next((name for name, p in _BINARY.items() if p == power), "")
        return f"{int(whole / 1024**power)}{suffix}"
    if value == 0:
        return "0"
    power = next(p for p in range(18, -10, -3) if value % (Decimal(10) ** p) == 0)
    number = int(value / Decimal(10) ** power)
    if family == "exponent":
        return f"{number}e{power}" if power else str(number)
    return f"{number}{next(name for name, p in _DECIMAL.items() if p == power)}"


def _parse(text: str) -> tuple[Decimal, str]:
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a quantity (like 500m, 1.5, 512Mi, 2e3)")
    number, suffix = Decimal(match.group(1)), match.group(2) or ""
    if suffix in _BINARY:
        value, family = _PRECISE.multiply(number, Decimal(1024 ** _BINARY[suffix])), "binary"
    elif suffix in _DECIMAL:
        value, family = number.scaleb(_DECIMAL[suffix], _PRECISE), "decimal"
    else:
        value, family = number.scaleb(int(suffix[1:]), _PRECISE), "exponent"
    value = max(-_LARGEST, min(_LARGEST, value))  # capped, not refused, as in Kubernetes
    return value.quantize(_NANO, ROUND_CEILING if value >= 0 else ROUND_FLOOR, _PRECISE), family

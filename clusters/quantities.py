"""Kubernetes quantities ("250m", "2Gi", "1e3") as whole numbers, and back into words.

CPU is counted in millicores, everything else in its own unit (bytes, devices), always as int: sums stay exact.
"""

import re
from decimal import ROUND_CEILING, Decimal

_QUANTITY = re.compile(r"^([+-]?(?:\d+\.?\d*|\.\d+))(?:([eE][+-]?\d{1,3})|(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei))?$")
_SCALE = {
    "": Decimal(1),
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "k": Decimal(10) ** 3,
    "M": Decimal(10) ** 6,
    "G": Decimal(10) ** 9,
    "T": Decimal(10) ** 12,
    "P": Decimal(10) ** 15,
    "E": Decimal(10) ** 18,
} | {unit: Decimal(1024) ** power for power, unit in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), start=1)}


class QuantityError(ValueError):
    """A text that is no Kubernetes quantity."""


def parse_quantity(text: object) -> Decimal:
    """The value in its own unit: "250m" is 0.25, "2Gi" is 2147483648. Raises QuantityError."""
    found = _QUANTITY.match(str(text).strip())
    if not found:
        raise QuantityError(f"{text!r} is not a quantity")
    number, exponent, unit = found.groups()
    return Decimal(number + (exponent or "")) * _SCALE[unit or ""]


def amount(resource: str, text: object) -> int:
    """A quantity as this module counts it: millicores for cpu, whole units otherwise, rounded up as Kubernetes does."""
    value = parse_quantity(text) * (1000 if resource == "cpu" else 1)
    return int(value.to_integral_value(rounding=ROUND_CEILING))


def in_words(resource: str, value: int) -> str:
    """4500 millicores are "4.5 cores", 2147483648 bytes "2 GiB", and devices carry their name."""
    if resource == "cpu":
        return f"{_short(value / 1000)} {'core' if value == 1000 else 'cores'}"
    if resource in ("memory", "ephemeral-storage"):
        return f"{_short(value / 2**30)} GiB" if value >= 2**30 else f"{_short(value / 2**20)} MiB"
    return f"{value} × {resource}"


def _short(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if value < 10 else f"{value:.1f}".rstrip("0").rstrip(".")

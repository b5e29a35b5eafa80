"""How figures are written: three significant digits, thousands separated, the unit beside them."""

from __future__ import annotations

import math
import re

__all__ = [
    "MISSING",
    "amount",
    "count",
    "interval",
    "joules",
    "percent",
    "points",
    "quantity",
    "ratio",
    "seconds",
    "signed",
    "significant",
    "size",
    "watt_hours",
    "watts",
]

MISSING = "—"
_BARE = re.compile(r"×$|%$| points$")
_PREFIXES = (
    *((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, "")),
    *((1e-3, "m"), (1e-6, "µ"), (1e-9, "n"), (1e-12, "p")),
)


def significant(value: float, digits: int = 3) -> str:
    """Write a number to `digits` significant digits, never in exponents between 1e-6 and 1e15."""
    if not math.isfinite(value):
        return "not finite"
    if value == 0:
        return "0"
    places = digits - 1 - math.floor(math.log10(abs(value)))
    rounded = round(value, places)
    if rounded and math.floor(math.log10(abs(rounded))) > math.floor(math.log10(abs(value))):
        places -= 1  # 999.7 is 1,000, not 1,000.
    return f"{rounded:,.{max(places, 0)}f}".replace("-", "\u2212")


def _scaled(value: float, unit: str, digits: int = 3) -> str:
    if math.isinf(value):
        return f"∞ {unit}"
    size = abs(value)
    for scale, prefix in _PREFIXES:
        if size >= scale * 0.9995:
            return f"{significant(value / scale, digits)} {prefix}{unit}"
    scale, prefix = _PREFIXES[-1]
    return f"0 {unit}" if value == 0 else f"{significant(value / scale, digits)} {prefix}{unit}"


def joules(value: float | None, digits: int = 3) -> str:
    """Write joules with an SI prefix; None is a dash."""
    return MISSING if value is None else _scaled(value, "J", digits)


def amount(value: float | None, digits: int = 3) -> str:
    """Write a count with an SI prefix, 12.3 M; None is a dash."""
    return MISSING if value is None else _scaled(value, "", digits).rstrip()


def size(value: float | None) -> str:
    """Write bytes with an SI prefix; None is a dash."""
    return MISSING if value is None else _scaled(value, "B")


def watt_hours(value: float | None) -> str:
    """Write watt-hours with an SI prefix; None is a dash."""
    return MISSING if value is None else _scaled(value, "Wh")


def seconds(value: float | None, digits: int = 3) -> str:
    """Write seconds with an SI prefix below one; None is a dash."""
    if value is None:
        return MISSING
    whole = 1 <= abs(value) < math.inf
    return f"{significant(value, digits)} s" if whole else _scaled(value, "s", digits)


def watts(value: float | None) -> str:
    """Write watts with an SI prefix; None is a dash."""
    return MISSING if value is None else _scaled(value, "W")


def ratio(value: float | None, digits: int = 3) -> str:
    """Write a factor, 312×; None is a dash."""
    return MISSING if value is None else f"{significant(value, digits)}×"


def percent(value: float | None) -> str:
    """Write a share of 1 in percent, one decimal or three digits below 1%; None is a dash."""
    if value is None:
        return MISSING
    if 0 < abs(value) < 0.00995:
        return f"{significant(value * 100, 2)}%"
    return f"{value * 100:.1f}%".replace("-", "\u2212")


def points(value: float | None) -> str:
    """Write a difference of shares in points of a hundred, with its sign; None is a dash."""
    return MISSING if value is None else f"{value * 100:+.1f} points".replace("-", "\u2212")


def count(value: int | None) -> str:
    """Write a whole number; None is a dash."""
    return MISSING if value is None else f"{value:,d}"


def signed(value: float | None) -> str:
    """Write a difference with its sign; None is a dash."""
    if value is None:
        return MISSING
    return significant(value) if value <= 0 else f"+{significant(value)}"


_WRITERS = {
    "signed": signed,
    **dict.fromkeys(("times", "x", "×"), ratio),
    **dict.fromkeys(("share", "share of 1", "%"), percent),
    **dict.fromkeys(("points",), points),
    **dict.fromkeys(("s", "seconds"), seconds),
    **dict.fromkeys(("J", "J/image"), joules),
}


def quantity(value: float | None, unit: str) -> str:
    """Write a value in the unit its record names; an unknown unit is printed after the number."""
    if value is None:
        return MISSING
    if unit in _WRITERS:
        return _WRITERS[unit](value)
    return f"{significant(value)} {unit}".rstrip()


def interval(low: float | None, high: float | None, unit: str) -> str:
    """Write [low, high]; an end that is missing stays open, and no interval is empty text.

    Factors, shares and points stand beside an estimate that has the unit; the ends go without.
    """
    if low is None and high is None:
        return ""
    ends = [
        open_end if value is None else _BARE.sub("", quantity(value, unit))
        for value, open_end in ((low, "\u2212∞"), (high, "∞"))
    ]
    return f"[{ends[0]}, {ends[1]}]"

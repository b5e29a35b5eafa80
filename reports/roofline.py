"""The roofline: what the machine could do at best, and where each system stands under it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from harness.traffic import Traffic
from reports import numbers
from reports.figures import Axis, decades

__all__ = ["Point", "Roof", "Roofline", "rooflines"]

LABEL = 7.0  # percent of the height that a line of text takes


@dataclass(frozen=True, slots=True, kw_only=True)
class Roof:
    """A straight line of the log-log picture, in percent of width and height, and its label.

    `below`: another line is so near above that the label stands under this one.
    """

    start: tuple[float, float]
    end: tuple[float, float]
    label: str
    below: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A system: at bytes each once; `low` is where the bytes of its operations would place it."""

    series: int
    x: float
    y: float
    low: float | None
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Roofline:
    """One device's ceilings, and the systems that work on it."""

    title: str
    description: str
    across: Axis
    upward: Axis
    roofs: tuple[Roof, ...]
    points: tuple[Point, ...]
    legend: tuple[tuple[int, str], ...]


def rooflines(found: Sequence[Traffic]) -> tuple[Roofline, ...]:
    """One for each device that was measured and has systems on it."""
    known = [
        (series, one)
        for series, one in enumerate(found)
        if one.rate and one.unique_bytes and one.ceiling
    ]
    devices = dict.fromkeys(one.ceiling.device for _, one in known if one.ceiling)
    return tuple(
        _roofline([(s, one) for s, one in known if one.ceiling and one.ceiling.device == device])
        for device in devices
    )


def _roofline(ones: Sequence[tuple[int, Traffic]]) -> Roofline:
    best = ones[0][1].ceiling
    assert best is not None  # the caller asked
    peaks = best.multiply_adds_per_s
    placed = [(series, one, _intensity(one, one.unique_bytes)) for series, one in ones]
    lows = [_intensity(one, one.moved_bytes) for _, one in ones if one.moved_bytes]
    ridges = [peak / best.bytes_per_s for peak in peaks.values()]
    across = decades(
        [*(x for _, _, x in placed), *lows, *ridges, 2 * max(ridges)], numbers.significant
    )
    upward = decades([*(one.rate or 1.0 for _, one in ones), *peaks.values()], numbers.amount)

    def at(x: float, y: float) -> tuple[float, float]:
        return across.place(x), round(100 - upward.place(y), 3)

    from_x = max(across.low, upward.low / best.bytes_per_s)
    roofs = [
        Roof(
            start=at(from_x, from_x * best.bytes_per_s),
            end=at(max(ridges), max(peaks.values())),
            label=f"memory, {numbers.size(best.bytes_per_s)}/s",
        )
    ]
    above = upward.high * 10
    for name, peak in sorted(peaks.items(), key=lambda kind: -kind[1]):
        roofs.append(
            Roof(
                start=at(peak / best.bytes_per_s, peak),
                end=at(across.high, peak),
                label=f"{name}, {numbers.amount(peak)}/s",
                below=upward.place(above) - upward.place(peak) < LABEL,
            )
        )
        above = peak
    points = []
    for series, one, x in placed:
        place = at(x, one.rate or 1.0)
        low = across.place(_intensity(one, one.moved_bytes)) if one.moved_bytes else None
        told = f"{one.system}: {numbers.amount(one.rate)}/s at {numbers.significant(x)} a byte"
        points.append(Point(series=series, x=place[0], y=place[1], low=low, title=told))
    spoken = "; ".join([*(roof.label for roof in roofs), *(point.title for point in points)])
    return Roofline(
        title=f"Multiply-adds a second, against multiply-adds a byte ({best.device})",
        description=f"Roofline, both axes logarithmic. {spoken}.",
        across=across,
        upward=upward,
        roofs=tuple(roofs),
        points=tuple(points),
        legend=tuple((series, one.system) for series, one in ones),
    )


def _intensity(one: Traffic, amount: float | None) -> float:
    """Multiply-adds a byte."""
    return (one.multiply_adds or 0.0) / (amount or math.inf)

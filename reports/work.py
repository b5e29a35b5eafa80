"""Multiply-adds, bytes and the physical floor of an image, written out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.traffic import Traffic
from reports import numbers

__all__ = ["work_rows"]

SOURCES = {"told": "as the system tells"}


def work_rows(found: Sequence[Traffic]) -> tuple[dict[str, Any], ...]:
    """A row a system, as texts."""
    return tuple(
        {
            "system": one.system,
            "source": SOURCES.get(one.source, one.source),
            "multiply_adds": numbers.amount(one.multiply_adds),
            "unique": numbers.size(one.unique_bytes),
            "moved": numbers.size(one.moved_bytes),
            "rate": f"{numbers.amount(one.rate)}/s" if one.rate else numbers.MISSING,
            "of_ceiling": numbers.percent(one.of_ceiling),
            "floor": numbers.joules(one.floor_j),
            "above_floor": numbers.amount(one.above_floor) if one.above_floor else numbers.MISSING,
            "method": one.method or "",
            "reason": "" if one.source in ("told", "counted") else one.reason,
        }
        for one in found
    )

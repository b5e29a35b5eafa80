"""Work, bytes and the least that physics asks for, beside what an image took.

Three columns of bytes, never mixed: weights and inputs each once in a batch; what operations read
and write; and what counters of memory traffic saw, which nothing here reads. So no joules per byte
are told.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.attribute import mean_per_image, windows_of
from harness.records import Evidence, Method

__all__ = ["Ceiling", "Traffic", "traffic"]

BIT_OPERATION_J = 1.380649e-23 * 300 * math.log(2)  # k T ln 2 at 300 K: Landauer's bound for a bit
SIGNIFICANT_BITS = {"float64": 53, "float32": 24, "float16": 11, "bfloat16": 8}
SIGNIFICANT_BITS |= {"int8": 8, "uint8": 8}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceiling:
    """What a device did at best: multiply-adds a second by number format, and bytes a second."""

    device: str
    multiply_adds_per_s: Mapping[str, float]
    bytes_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Of one system an image, mean over a batch; None is what was not counted or not told.

    `source` is what the multiply-adds are by: counted from torch's operations (in part, where some
    had no formula), or told by the system of all that it does; the larger of both, in bit
    operations. `rate` is multiply-adds a second of its windows, `of_ceiling` that
    time which the machine at its best would take for them and their bytes, as a share of the time
    taken. `floor_j` is k T ln 2 for every bit operation, of which a multiply-add of b significant
    bits has b squared; `above_floor` how many times that the joules of the node are.
    """

    system: str
    ceiling: Ceiling | None
    source: str
    batch: int | None
    multiply_adds: float | None
    unique_bytes: float | None
    moved_bytes: float | None
    rate: float | None
    of_ceiling: float | None
    floor_j: float | None
    above_floor: float | None
    method: Method | None
    reason: str


def traffic(evidence: Evidence) -> list[Traffic]:
    """Of candidate and baseline, where their work was counted."""
    names = (evidence.candidate, evidence.baseline)
    return [_of(evidence, name, evidence.work[name]) for name in names if name in evidence.work]


def _ceiling(evidence: Evidence, system: str) -> Ceiling | None:
    """Of the device a system works on; None where it was not measured."""
    stated = str((evidence.settings.get("devices") or {}).get(system) or "cpu")
    device = stated.partition(":")[0]
    found = (evidence.settings.get("ceilings") or {}).get(device)
    return Ceiling(device=device, **found) if found else None


def _of(evidence: Evidence, system: str, work: Mapping[str, Any]) -> Traffic:
    batch, counted, told = work["batch"], work["counted"], work["told"]
    formats, source = _multiply_adds(batch, counted, told)
    without = (counted or {}).get("without") if source == "counted" else None
    bytes_once = [told["batch_bytes"]] if told else []
    bytes_once += [counted["unique_bytes"]] if counted else []
    moved = counted["moved_bytes"] / batch if counted and source != "told" else None
    total = sum(formats.values()) or None
    unique = max(bytes_once) / batch if bytes_once else None
    image_s = _elapsed_s(evidence, system)
    best = _ceiling(evidence, system)
    best_s = _best_s(best, formats, unique)
    floor_j = _floor_j(formats) if total else None
    node = next((b for b in evidence.boundaries if b.name == "node"), None)
    joules, method = mean_per_image(evidence, system, node) if node else (None, None)
    return Traffic(
        system=system,
        ceiling=best,
        source="counted in part" if without else source,
        batch=batch,
        multiply_adds=total,
        unique_bytes=unique,
        moved_bytes=moved,
        rate=total / image_s if total and image_s else None,
        of_ceiling=best_s / image_s if best_s and image_s else None,
        floor_j=floor_j,
        above_floor=joules / floor_j if joules and floor_j else None,
        method=method,
        reason=f"not counted: {', '.join(without)}" if without else work["reason"],
    )


def _multiply_adds(
    batch: int, counted: Mapping[str, Any] | None, told: Mapping[str, Any] | None
) -> tuple[dict[str, float], str]:
    """An image's by number format, and their source: a system cannot tell less than was counted."""
    seen = {name: n / batch for name, n in counted["multiply_adds"].items()} if counted else {}
    said: dict[str, float] = {}
    for part, n in told["multiply_adds"].items() if told else ():
        name = told["formats"].get(part, "") if told else ""
        said[name] = said.get(name, 0.0) + n
    if _bits(said) > _bits(seen):
        return said, "told"
    return seen, "counted" if seen else ""


def _elapsed_s(evidence: Evidence, system: str) -> float | None:
    rows = [rows[0] for rows in windows_of(evidence, system, "block").values()]
    images = sum(row["requests"] for row in rows)
    return sum(row["duration_s"] for row in rows) / images if images else None


def _best_s(
    best: Ceiling | None, formats: Mapping[str, float], unique_bytes: float | None
) -> float | None:
    """Seconds an image at the machine's best; None for a format that was not measured."""
    rates = best.multiply_adds_per_s if best else {}
    if best is None or not formats or not formats.keys() <= rates.keys():
        return None
    multiplying_s = sum(n / rates[name] for name, n in formats.items())
    return max(multiplying_s, (unique_bytes or 0.0) / best.bytes_per_s)


def _floor_j(formats: Mapping[str, float]) -> float | None:
    known = formats.keys() <= SIGNIFICANT_BITS.keys()
    return BIT_OPERATION_J * _bits(formats) if known else None


def _bits(formats: Mapping[str, float]) -> float:
    """Bit operations; a format of unknown width has the least."""
    return sum(n * SIGNIFICANT_BITS.get(name, 1) ** 2 for name, n in formats.items())

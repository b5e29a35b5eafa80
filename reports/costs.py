"""What an image cost each system, window by window, and the factors between candidate and baseline.

Joules per image and intervals come from the harness; this module only asks for them by system,
boundary and pair, and keeps the method and the reason beside every figure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.attribute import idle_j, least_direct, per_image, windows_of
from harness.boundaries import HOST, WALL
from harness.ratio import measured_ratio
from harness.records import Boundary, Evidence
from harness.stats import cluster_interval, cluster_means

__all__ = ["Cost", "Factor", "Idle", "costs", "factors", "idle", "one_of_each"]

Row = dict[str, Any]
_PATTERN_WORDS = {**dict(zip(HOST, ("processor", "memory"), strict=True)), "gpu": "accelerator"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """A per-image quantity of one system; `values` has one entry a window, `idle` a share of 1.

    `mean` is per valid image with `ends`, its 95% interval over pairs; `per_verified` per image
    whose content was verified. `method` is empty for processor time; `reason` says why `mean` is
    None.
    """

    system: str
    what: str
    unit: str
    mean: float | None
    per_verified: float | None = None
    values: tuple[float, ...] = ()
    ends: tuple[float, float] | None = None
    idle: float | None = None
    method: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Factor:
    """Baseline over candidate of one per-image quantity, with its 95% interval."""

    what: str
    detail: str
    estimate: float | None
    low: float | None = None
    high: float | None = None
    pairs: int = 0
    method: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Idle:
    """Power of a machine that waits, by domain."""

    state: str
    domain: str
    power_w: float | None
    method: str
    reason: str


def one_of_each(windows: Iterable[Row]) -> list[Row]:
    """Return the first row of every window: what does not depend on the domain."""
    return list({row["window"]: row for row in reversed(list(windows))}.values())[::-1]


def scored_core(evidence: Evidence) -> list[Row]:
    """Return the core requests that count: those of windows that are not void."""
    void = {row["window"] for row in evidence.windows if row["void"]}
    return [row for row in evidence.requests if row["core"] and row["window"] not in void]


def _cost(
    evidence: Evidence, system: str, boundary: Boundary | None, verified: float | None
) -> Cost:
    windows = list(windows_of(evidence, system, "block", "null").values())
    readings = [per_image(rows, boundary) for rows in windows]
    values = [r.value for r in readings if r.value is not None]
    idles = [idle_j(rows, boundary) for rows in windows] if boundary else []
    known = [i for i in idles if i is not None]
    reasons = [r.reason for r in readings if r.value is None]
    whole = bool(values) and len(known) == len(values) == len(windows)
    mean = sum(values) / len(values) if values and not reasons else None
    return Cost(
        system=system,
        what=boundary.name if boundary else "processor time",
        unit="J" if boundary else "s",
        mean=mean,
        per_verified=_per_verified(mean, windows, verified),
        values=tuple(values),
        ends=_ends(values, [rows[0]["pair"] for rows in windows]) if mean is not None else None,
        idle=sum(known) / sum(values) if whole else None,
        method=least_direct(r.method for r in readings) or "",
        reason=_missing(reasons, len(windows)),
    )


def _ends(values: Sequence[float], pairs: Sequence[int | None]) -> tuple[float, float] | None:
    """95% interval of the mean over pairs; over windows where they are of no pair."""
    clusters = range(len(values)) if None in pairs else pairs
    found = cluster_interval(list(cluster_means(values, clusters).values()))
    return None if found.low is None or found.high is None else (found.low, found.high)


def _per_verified(
    mean: float | None, windows: Sequence[Sequence[Row]], verified: float | None
) -> float | None:
    """The mean spread over verified images only; infinite where there is none."""
    if mean is None or verified is None:
        return None
    asked = sum(rows[0]["requests"] for rows in windows)
    valid = asked - sum(rows[0]["failures"] for rows in windows)
    return mean * valid / asked / verified if verified else math.inf


def _missing(reasons: Sequence[str], windows: int) -> str:
    if not windows:
        return "no window of this system is left"
    if len(reasons) in (0, windows):
        return reasons[0] if reasons else ""
    return f"{len(reasons)} of {windows} windows have no value: {reasons[0]}"


def costs(
    evidence: Evidence, systems: Sequence[str], verified: Mapping[str, float | None]
) -> list[Cost]:
    """Joules per image at every boundary and processor time per image, system by system.

    `verified` holds the share of each system's requests whose content was verified.
    """
    wanted = [*evidence.boundaries, None]
    return [
        _cost(evidence, system, boundary, verified.get(system))
        for boundary in wanted
        for system in systems
    ]


def _detail(boundary: Boundary | None) -> str:
    if boundary is None:
        return "not energy"
    parts = [pattern.removeprefix(f"{WALL}|") for pattern in boundary.patterns]
    domains = " + ".join(_PATTERN_WORDS.get(p, p.replace("|", " or ")) for p in parts)
    return domains if boundary.pue == 1.0 else f"({domains}) × PUE {boundary.pue:g}"


def _factor(evidence: Evidence, boundary: Boundary | None) -> Factor:
    found = measured_ratio(evidence, boundary)
    return Factor(
        what=boundary.name if boundary else "processor time",
        detail=_detail(boundary),
        estimate=found.ratio.estimate if found.ratio else None,
        low=found.ratio.low if found.ratio else None,
        high=found.ratio.high if found.ratio else None,
        pairs=found.pairs,
        method=found.method or "",
        reason="" if found.ratio else found.reason,
    )


def factors(evidence: Evidence) -> list[Factor]:
    """Return the factor at every boundary, then that of processor time."""
    return [_factor(evidence, boundary) for boundary in (*evidence.boundaries, None)]


def idle(evidence: Evidence) -> list[Idle]:
    """Return the power of every idle window, domain by domain."""
    return [
        Idle(
            state=f"{row['system']} on {row['node']}" if row.get("node") else row["system"],
            domain=row["domain"],
            power_w=None if row["energy_j"] is None else row["energy_j"] / row["duration_s"],
            method=row["method"] or "",
            reason=row["reason"],
        )
        for row in evidence.windows
        if row["kind"] == "idle"
    ]

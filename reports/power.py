"""Power over an audit, as meters saw it: one line a domain, and the windows to look into.

Where a meter counts joules, a point is their difference between two readings, over the time between
them; where it tells watts, the reading. A long trace is thinned by means of neighbours.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from harness import bundle
from harness.records import Evidence
from reports.costs import one_of_each

__all__ = ["Power", "Trace", "power"]

NS = 1e9
MOST = 2000  # points of a line
HEADROOM = 1.1  # above the largest reading
KINDS = {"idle": "the machine waits", "null": "the harness alone", "load": "loading"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """One domain: its points as SVG has them, seconds and watts below `Power.top_w`."""

    domain: str
    points: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Power:
    """Lines from second 0 to `end_s`, and (words, start_s, end_s) of every window that counts."""

    traces: tuple[Trace, ...]
    windows: tuple[tuple[str, float, float], ...]
    top_w: float
    end_s: float


def power(root: Path, evidence: Evidence) -> Power | None:
    """What the bundle's traces show; None where no meter left any."""
    rows: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for row in bundle.read_table(root, "traces"):
        key = (row["domain"], row["quantity"])
        rows.setdefault(key, []).append((row["t_ns"], row["value"]))
    lines = {
        domain: _thinned(_watts(points) if quantity == "counter_j" else points)
        for (domain, quantity), points in sorted(rows.items())
        if quantity in ("counter_j", "power_w")
    }
    lines = {domain: points for domain, points in lines.items() if len(points) > 1}
    if not lines:
        return None
    start = min(points[0][0] for points in lines.values())
    top = HEADROOM * max(w for points in lines.values() for _, w in points) or 1.0
    return Power(
        traces=tuple(
            Trace(
                domain=domain,
                points=" ".join(f"{(t - start) / NS:.2f},{top - w:.4g}" for t, w in points),
            )
            for domain, points in lines.items()
        ),
        windows=tuple(
            (_words(row), (row["start_ns"] - start) / NS, (row["end_ns"] - start) / NS)
            for row in one_of_each(evidence.windows)
            if row["kind"] in ("block", "idle", "latency", "null") and not row["void"]
        ),
        top_w=top,
        end_s=max(points[-1][0] - start for points in lines.values()) / NS,
    )


def _watts(points: Sequence[tuple[int, float]]) -> list[tuple[float, float]]:
    """Of a counter, between readings; where it was set back there is no point."""
    ordered = sorted(points)
    return [
        ((t0 + t1) / 2, (j1 - j0) / (t1 - t0) * NS)
        for (t0, j0), (t1, j1) in itertools.pairwise(ordered)
        if t1 > t0 and j1 >= j0
    ]


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    ordered = sorted(points)
    step = -(-len(ordered) // MOST) or 1
    groups = [ordered[i : i + step] for i in range(0, len(ordered), step)]
    return [(fmean(t for t, _ in group), fmean(w for _, w in group)) for group in groups]


def _words(row: dict[str, Any]) -> str:
    if row["kind"] == "block":
        return f"{row['system']}, pair {row['pair'] + 1}, {row['order']}"
    if row["kind"] == "latency":
        return f"{row['system']}, one at a time"
    return KINDS[row["kind"]]

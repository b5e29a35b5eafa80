"""Power over an audit, as meters saw it: a line a domain, and the windows to look into.

Where a meter counts joules, a point is their difference between two readings, over the time between
them; where it tells watts alone, the reading. A line ends where a meter was silent for long, and
where its counter or the clock was set back, as between two parts of an audit that was resumed. A
long one is thinned by the means of neighbours, weighted by time.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from harness import bundle
from harness.records import Evidence
from reports.costs import one_of_each

__all__ = ["Power", "Trace", "power"]

Point = tuple[float, float]  # time in ns, and joules or watts
NS = 1e9
MOST = 2000  # points of a domain
HEADROOM = 1.1  # above the largest reading
SILENT = 20  # usual times between two readings, after which a line ends
KINDS = {
    "block": "{system}, pair {pair}, {order}",
    "latency": "{system}, one at a time",
    "idle": "the machine waits",
    "null": "the harness alone",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """One domain: its lines as SVG has them, seconds and watts below `Power.top_w`."""

    domain: str
    method: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Power:
    """Lines from second 0 to `end_s`, and (words, start_s, end_s) of every window that counts."""

    traces: tuple[Trace, ...]
    windows: tuple[tuple[str, float, float], ...]
    top_w: float
    end_s: float


def power(root: Path, evidence: Evidence) -> Power | None:
    """What the bundle's traces show; None where no meter left any."""
    if not (root / "traces.parquet").is_file():
        return None
    rows: dict[tuple[str, str], list[Point]] = {}
    for row in bundle.read_table(root, "traces"):
        key = (_at(row["domain"], row), row["quantity"])
        rows.setdefault(key, []).append((row["t_ns"], row["value"]))
    lines: dict[str, list[list[Point]]] = {}
    for (domain, quantity), points in sorted(rows.items()):  # counter_j comes before power_w
        if quantity in ("counter_j", "power_w") and domain not in lines:
            counted = quantity == "counter_j"
            pieces = [_watts(p) if counted else p for p in _pieces(points, counted)]
            lines[domain] = [piece for piece in pieces if len(piece) > 1]
    every = [point for pieces in lines.values() for piece in pieces for point in piece]
    if not every:
        return None
    start, end = min(t for t, _ in every), max(t for t, _ in every)
    top = HEADROOM * max(w for _, w in every) or 1.0
    methods = {_at(r["domain"], r): r["method"] or "" for r in evidence.windows if r["method"]}
    most = max(2, MOST // max(len(pieces) for pieces in lines.values()))
    return Power(
        traces=tuple(
            Trace(
                domain=domain,
                method=methods.get(domain, ""),
                lines=tuple(
                    " ".join(f"{(t - start) / NS:.2f},{top - w:.4g}" for t, w in _thinned(p, most))
                    for p in pieces
                ),
            )
            for domain, pieces in lines.items()
            if pieces
        ),
        windows=tuple(
            (_words(row), (row["start_ns"] - start) / NS, (row["end_ns"] - start) / NS)
            for row in one_of_each(evidence.windows)
            if row["kind"] in KINDS and not row["void"]
        ),
        top_w=top,
        end_s=(end - start) / NS,
    )


def _pieces(points: Sequence[Point], counted: bool) -> list[list[Point]]:
    """The parts between which a meter was silent, or began anew."""
    gaps = [b[0] - a[0] for a, b in itertools.pairwise(points) if b[0] > a[0]]
    longest = SILENT * median(gaps) if gaps else 0.0
    pieces: list[list[Point]] = []
    for before, point in zip([None, *points], points, strict=False):
        gap = 0.0 if before is None else point[0] - before[0]
        anew = before is None or gap <= 0 or gap > longest or (counted and point[1] < before[1])
        if anew:
            pieces.append([])
        pieces[-1].append(point)
    return pieces


def _watts(points: Sequence[Point]) -> list[Point]:
    """Of a counter, between readings."""
    return [
        ((t0 + t1) / 2, (j1 - j0) / (t1 - t0) * NS)
        for (t0, j0), (t1, j1) in itertools.pairwise(points)
    ]


def _thinned(points: Sequence[Point], most: int) -> list[Point]:
    """At most so many points; each stands for the mean over the time of those it replaces."""
    if len(points) <= most:
        return list(points)
    times, watts = np.array(points).T
    joules = np.concatenate([[0.0], np.cumsum(np.diff(times) * (watts[1:] + watts[:-1]) / 2)])
    edges = np.linspace(times[0], times[-1], most + 1)
    each = np.diff(np.interp(edges, times, joules)) / np.diff(edges)
    return list(zip((edges[:-1] + edges[1:]) / 2, each, strict=True))


def _words(row: dict[str, Any]) -> str:
    pair = None if row["pair"] is None else row["pair"] + 1
    words = KINDS[row["kind"]].format(system=row["system"], pair=pair, order=row["order"])
    return _at(words, row)


def _at(what: str, row: dict[str, Any]) -> str:
    """With the machine of a cluster that it was measured on."""
    return f"{what} on {row['node']}" if row.get("node") else what

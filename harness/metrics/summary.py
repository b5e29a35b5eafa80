"""Scores of every system, from the rows of a bundle: what is scored is what was charged.

Scored are core requests of block windows that are not void, and every request of a control; what
is drawn beside them only shows whether a system is the same everywhere (conduct.py). A request that
failed counts: not verified, agreeing with its caption like a shuffled one, and the zero vector
among features. Category `all` leaves out `emblem`, everywhere.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from harness.metrics.frechet import (
    GROUPS,
    Gaussian,
    Moments,
    frechet_at_infinity,
    frechet_distance,
    frechet_interval,
    from_moments,
    gaussian,
    moments,
)
from harness.metrics.kernel import Sums, kernel_distance, kernel_sums
from harness.metrics.precision_recall import (
    LIMIT,
    K,
    Neighbours,
    neighbours,
    radii,
    same_size,
)
from harness.metrics.whole import Distance, distance
from harness.records import Evidence, Score
from harness.stats import Interval, clopper_pearson, cluster_interval, cluster_means

__all__ = ["APART", "Part", "Row", "Table", "prompt_groups", "scores", "share_interval"]

Part = Literal["core", "filler", "elsewhere"]
ELSEWHERE = ("latency", "batch", "open")  # kinds of windows
APART = ("emblem",)  # categories that no pooled figure includes


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One scored request of a system; `index` is its row among the system's features.

    `pair` is the pair of blocks, so the start of the system, that drew it. `part` is core, or the
    drawn filler of block windows, or what was drawn elsewhere: alone, at other batches, at random
    times.
    """

    index: int
    prompt: str
    seed: int
    category: str
    pair: int | None
    part: Part
    failed: bool
    values: dict[str, float]


class Table:
    """The scored rows of every system, and what is computed from them once."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self._rows = _rows_by_system(evidence)
        self._moments: dict[str, Moments | None] = {}
        self._neighbours: dict[str, Neighbours | None] = {}
        self._radii: dict[int, np.ndarray] = {}
        self._recalls: dict[str, list[float]] = {}
        self._wholes: dict[str, Gaussian] = {}
        self._distances: dict[tuple[str, str], Distance | None] = {}

    @property
    def systems(self) -> list[str]:
        """Candidate and baseline, then the others by name."""
        first = (self.evidence.candidate, self.evidence.baseline)
        rest = sorted(set(self._rows) - set(first))
        return [name for name in (*first, *rest) if name in self._rows]

    def rows(self, system: str, *, part: Part = "core") -> list[Row]:
        """Core rows of a system, or what was drawn beside them."""
        return [row for row in self._rows.get(system, []) if row.part == part]

    def pooled(self, system: str) -> list[Row]:
        return [row for row in self.rows(system) if row.category not in APART]

    def by_prompt(
        self,
        system: str,
        metric: str,
        category: str = "all",
        *,
        part: Part = "core",
        answered: bool = False,
    ) -> dict[str, float] | None:
        """Mean of a metric by prompt; None where a request that did not fail has no value.

        `answered`: of those alone that did not fail.
        """
        rows = [
            row
            for row in self.rows(system, part=part)
            if (row.category not in APART if category == "all" else row.category == category)
            and not (answered and row.failed)
        ]
        values = [
            self._of_failure(metric) if row.failed else row.values.get(metric) for row in rows
        ]
        if not rows or any(v is None or math.isnan(v) for v in values):
            return None
        return cluster_means([v for v in values if v is not None], [row.prompt for row in rows])

    def _of_failure(self, metric: str) -> float | None:
        return 0.0 if metric == "verified" else self.clip_levels[1]

    @cached_property
    def clip_levels(self) -> tuple[float | None, float | None]:
        """Mean cosine of reference renders with their own and with shuffled captions."""
        published = self.evidence.settings.get("reference") or {}
        if "matched_clip" in published and "shuffled_clip" in published:
            return float(published["matched_clip"]), float(published["shuffled_clip"])
        found: list[float | None] = []
        for system in ("control:reference", "control:shuffled"):
            rows = [row for row in self.pooled(system) if "clip" in row.values]
            values = [row.values["clip"] for row in rows]
            found.append(math.fsum(values) / len(values) if values else None)
        return found[0], found[1]

    @cached_property
    def reference(self) -> np.ndarray | None:
        """Reference features float64 [m, d]."""
        known = self.evidence.reference
        return None if known is None else np.asarray(known, np.float64)

    @cached_property
    def reference_gaussian(self) -> Gaussian | None:
        return None if self.reference is None else gaussian(self.reference)

    @cached_property
    def reference_sums(self) -> Sums | None:
        return None if self.reference is None else kernel_sums(self.reference)

    @cached_property
    def groups(self) -> dict[str, int]:
        """Group of each prompt for the jackknife, the same for every system."""
        every = (row.prompt for system in self._rows for row in self.pooled(system))
        return prompt_groups(every)

    def features(self, system: str) -> np.ndarray | None:
        """Pooled core rows [n, d] in float64, zeros for a failure; None where one is missing."""
        stored = self.evidence.features.get(system)
        rows = self.pooled(system)
        if stored is None or len(rows) < 2:
            return None
        if max(row.index for row in rows) >= len(stored):
            return None
        found = np.array([stored[row.index] for row in rows], np.float64)
        found[[row.failed for row in rows]] = 0.0
        return None if np.isnan(found).any() else found

    def moments(self, system: str) -> Moments | None:
        if system not in self._moments:
            rows = self.features(system)
            groups = np.array([self.groups[row.prompt] for row in self.pooled(system)], int)
            full = bool(len(groups)) and len(set(groups.tolist())) == GROUPS
            self._moments[system] = (
                None if rows is None else moments(rows, groups if full else None)
            )
        return self._moments[system]

    def neighbours(self, system: str) -> Neighbours | None:
        if system not in self._neighbours:
            rows = self.features(system)
            found = None
            if rows is not None and self.reference is not None and len(rows) > K:
                kept = same_size(rows, LIMIT)
                failed = np.array([[row.failed] for row in self.pooled(system)])
                known = same_size(self.reference, len(kept))
                if len(known) not in self._radii:
                    self._radii[len(known)] = radii(known)
                failed = same_size(failed, LIMIT)[:, 0]
                found = neighbours(kept, known, self._radii[len(known)], failed)
            self._neighbours[system] = found
        return self._neighbours[system]

    def recall_without(self, system: str) -> list[float]:
        """Recall without each jackknife group; empty where a group would hold no row."""
        if system not in self._recalls:
            found = self.neighbours(system)
            groups = np.array([[self.groups[row.prompt]] for row in self.pooled(system)], int)
            kept = same_size(groups, LIMIT)[:, 0]
            full = found is not None and len(set(kept.tolist())) == GROUPS
            self._recalls[system] = found.recall_without(kept) if full and found else []
        return self._recalls[system]

    def distance(self, extractor: str, system: str) -> Distance | None:
        """Of the first picture of each prompt to the extractor's reference; zeros for a failure.

        None where the extractor kept no features, or one of those pictures has none.
        """
        key = extractor, system
        if key not in self._distances:
            self._distances[key] = self._distance(extractor, system)
        return self._distances[key]

    def _distance(self, extractor: str, system: str) -> Distance | None:
        known = self.evidence.whole.get(extractor, {})
        if system not in known or "reference" not in known:
            return None
        if extractor not in self._wholes:
            self._wholes[extractor] = from_moments(known["reference"])
        first = {row.prompt: row for row in reversed(self.pooled(system))}
        rows = known[system][[row.index for row in first.values()]].astype(np.float64)
        rows[[row.failed for row in first.values()]] = 0.0
        groups = np.array([self.groups[prompt] for prompt in first], int)
        return None if np.isnan(rows).any() else distance(rows, groups, self._wholes[extractor])


def scores(table: Table) -> list[Score]:
    """Every score of every system, in a fixed order."""
    found: list[Score] = []
    for system in table.systems:
        categories = sorted({row.category for row in table.rows(system)})
        for metric in ("verified", "clip"):
            for category in ("all", *categories):
                score = _content(table, system, metric, category)
                found += [] if score is None else [score]
        found += _against_reference(table, system)
        found += [
            Score(
                system=system,
                metric=name,
                category="all",
                value=one.value,
                low=one.spread.low if one.spread else None,
                high=one.spread.high if one.spread else None,
                n=one.n,
            )
            for name in table.evidence.whole
            if (one := table.distance(name, system)) is not None
        ]
    return found


def share_interval(means: Iterable[float]) -> Interval:
    """Mean of prompt means in [0, 1] with its cluster interval, cut to [0, 1].

    Where every prompt has the same 0 or 1 there is no spread to estimate: exact bounds instead.
    """
    values = list(means)
    if set(values) in ({0.0}, {1.0}):
        return clopper_pearson(round(sum(values)), len(values))
    interval = cluster_interval(values)
    if interval.low is None or interval.high is None:
        return interval
    return Interval(
        estimate=interval.estimate,
        low=max(0.0, interval.low),
        high=min(1.0, interval.high),
        n=interval.n,
    )


def prompt_groups(prompts: Iterable[str]) -> dict[str, int]:
    """Deals prompts, in the order of their SHA-256, to equal groups."""
    ordered = sorted(set(prompts), key=lambda p: hashlib.sha256(p.encode()).digest())
    return {prompt: i % GROUPS for i, prompt in enumerate(ordered)}


def _content(table: Table, system: str, metric: str, category: str) -> Score | None:
    means = table.by_prompt(system, metric, category)
    if means is None:
        return None
    interval = (share_interval if metric == "verified" else cluster_interval)(list(means.values()))
    return Score(
        system=system,
        metric=metric,
        category=category,
        value=interval.estimate,
        low=interval.low,
        high=interval.high,
        n=interval.n,
    )


def _against_reference(table: Table, system: str) -> list[Score]:
    """Distances and neighbour shares to the reference; `n` counts images."""
    rows, known, fit = table.features(system), table.reference_sums, table.reference_gaussian
    if rows is None or known is None or fit is None:
        return []
    sample = table.moments(system)
    if sample is None:
        return []
    limit = frechet_interval(sample, fit)
    values: dict[str, tuple[Any, ...]] = {
        "frechet": (frechet_distance(gaussian(rows), fit), None, None, len(rows)),
        "frechet_inf": (frechet_at_infinity(sample, fit), None, None, len(rows))
        if limit is None
        else (limit.estimate, limit.low, limit.high, len(rows)),
        "kernel": (kernel_distance(kernel_sums(rows), known), None, None, len(rows)),
    }
    near = table.neighbours(system)
    if near is not None:
        for metric in ("precision", "recall", "density", "coverage"):
            values[metric] = (getattr(near, metric)(), None, None, near.n)
    return [
        Score(system=system, metric=m, category="all", value=value, low=low, high=high, n=n)
        for m, (value, low, high, n) in values.items()
    ]


def _rows_by_system(evidence: Evidence) -> dict[str, list[Row]]:
    windows = {row["window"]: row for row in evidence.windows}
    values: dict[tuple[str, int], dict[str, float]] = {}
    for item in evidence.items:
        values.setdefault((item["system"], item["request"]), {})[item["metric"]] = item["value"]
    found: dict[str, list[Row]] = {}
    position: dict[str, int] = {}
    for request in evidence.requests:
        system = request["system"]
        index = position.get(system, 0)
        position[system] = index + 1
        control = request["window"] == "control"
        window = windows.get(request["window"])
        kind = "block" if control else "" if window is None else window["kind"]
        if kind not in ("block", *ELSEWHERE) or (window is not None and window["void"]):
            continue
        scored = values.get((system, request["request"]), {})
        if kind in ELSEWHERE and not scored:
            continue  # only a few of these windows' pictures are kept
        in_core = control or bool(request["core"])
        row = Row(
            index=index,
            prompt=request["prompt_id"],
            seed=int(request["seed"]),
            category=evidence.prompts[request["prompt_id"]].category,
            pair=None if window is None else window["pair"],
            part="elsewhere" if kind in ELSEWHERE else "core" if in_core else "filler",
            failed=bool(request["failure"]),
            values=scored,
        )
        found.setdefault(system, []).append(row)
    return found

"""Two audits of one candidate, before and after a change: what it costs and draws, with intervals.

Costs are compared through the baseline that both audits ran, so that what the machine did to both
systems in an hour cancels; on unlike machines they are not compared at all. Quality is compared on
the requests that both audits scored, prompt by prompt, by the endpoints that claims are judged by.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy import stats

from harness import bundle, environment
from harness.attribute import mean_per_image, windows_of
from harness.errors import InputError
from harness.evidence import read_evidence
from harness.judge import request_seconds
from harness.metrics.endpoints import compare as endpoint_of
from harness.metrics.summary import Table
from harness.ratio import measured_ratio
from harness.records import Boundary, Endpoint, Evidence, Method
from harness.stats import ALPHA, quantile_interval

__all__ = ["Audit", "Figure", "compared", "read_audit", "same_pictures"]

FRECHET = 0.10  # share of the former distance that the new one may lie above it
MOVED = math.log(1.2)  # of the baseline's own cost, beyond what an hour does to a machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """A finished bundle, read.

    `pictures`: (prompt, seed) of each scored request of the candidate, and its image's SHA-256, ""
    where it failed.
    """

    path: Path
    evidence: Evidence
    machine: Mapping[str, Any]
    manifest: Mapping[str, Any]
    pictures: Mapping[tuple[str, int], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One quantity of the candidate in two audits; `change` is None with a reason.

    kind `times`: after / before, above 1 costs more. `points`: after - before of a share or cosine,
    below 0 is worse. `excess`: Frechet distance after, less 1.1 times that before; above 0 is
    worse. `low` and `high` are its 95% interval; `n` what it is over (prompts, images, requests).
    """

    name: str
    kind: Literal["times", "points", "excess"]
    before: float | None = None
    after: float | None = None
    unit: str = ""
    change: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    method: Method | None = None
    reason: str = ""

    @property
    def sees(self) -> float | None:
        """The least change that is told from none: a share of 1 for `times`, else as `change`."""
        if self.low is None or self.high is None or not math.isfinite(self.high):
            return None
        if self.kind == "times":
            return math.sqrt(self.high / self.low) - 1
        return (self.high - self.low) / 2

    @property
    def same(self) -> bool | None:
        """Whether the interval holds "no change"; None where there is none."""
        if self.low is None or self.high is None:
            return None
        if self.kind == "excess":
            return self.low <= 0
        nothing = 1.0 if self.kind == "times" else 0.0
        return self.low <= nothing <= self.high


def read_audit(run: Path) -> Audit:
    """Raises InputError where the folder is no finished bundle, or one that was edited."""
    manifest = bundle.read_manifest(bundle.unchanged(run))
    evidence = read_evidence(run)
    counted = {r["window"] for r in evidence.windows if r["kind"] == "block" and not r["void"]}
    return Audit(
        path=run,
        evidence=evidence,
        machine=bundle.read_json(run / "environment.json"),
        manifest=manifest,
        pictures={
            (row["prompt_id"], row["seed"]): row["image_sha256"]
            for row in evidence.requests
            if row["system"] == evidence.candidate and row["core"] and row["window"] in counted
        },
    )


def compared(before: Audit, after: Audit) -> list[Figure]:
    """Every figure of the candidate, costs first. Raises InputError on audits that are unlike."""
    _refuse(before, after)
    apart = "; ".join(environment.unlike(before.machine, after.machine))
    boundaries: list[Boundary | None] = [None, *after.evidence.boundaries]
    costs = [
        *(_cost(before.evidence, after.evidence, boundary) for boundary in boundaries),
        _latency(before.evidence, after.evidence),
        _memory(before, after),
    ]
    if apart:
        reason = f"the audits ran on unlike machines ({apart})"
        costs = [Figure(name=cost.name, kind="times", reason=reason) for cost in costs]
    return [*costs, *_quality(before, after)]


def same_pictures(before: Audit, after: Audit) -> tuple[int, int]:
    """How many shared requests were answered bit for bit alike, and how many are shared.

    A request that failed on one side only is not answered alike.
    """
    shared = before.pictures.keys() & after.pictures.keys()
    return sum(before.pictures[key] == after.pictures[key] for key in shared), len(shared)


# Costs -----------------------------------------------------------------------------------------


def _cost(before: Evidence, after: Evidence, boundary: Boundary | None) -> Figure:
    name = "processor time" if boundary is None else f"energy of the {boundary.name}"
    found = [measured_ratio(evidence, boundary) for evidence in (before, after)]
    former, new = found
    if former.ratio is None or new.ratio is None:
        reason = next(one.reason for one in found if one.ratio is None)
        return Figure(name=name, kind="times", reason=reason)
    reasons = [one.reason for one in found if not one.admissible]
    reasons += _moved(before, after, boundary)
    reasons += _metered(before, after) if boundary else []
    log = math.log(former.ratio.estimate) - math.log(new.ratio.estimate)
    half = math.hypot(former.ratio.half(ALPHA), new.ratio.half(ALPHA))
    return Figure(
        name=name,
        kind="times",
        before=1 / former.ratio.estimate,
        after=1 / new.ratio.estimate,
        unit="of the baseline's",
        change=math.exp(log),
        low=math.exp(log - half),
        high=math.exp(log + half),
        n=min(former.pairs, new.pairs),
        method=new.method,
        reason=" ".join(dict.fromkeys(reasons)),
    )


def _moved(before: Evidence, after: Evidence, boundary: Boundary | None) -> list[str]:
    """That the baseline, which both sides are measured by, takes more or less than before."""
    former, new = (mean_per_image(e, e.baseline, boundary)[0] for e in (before, after))
    if former is None or new is None or abs(math.log(new / former)) <= MOVED:
        return []
    return [
        f"The baseline itself takes {new / former:.2f} times what it took, so a factor against it "
        "does not tell of the candidate."
    ]


def _metered(before: Evidence, after: Evidence) -> list[str]:
    """That other domains were read, or otherwise."""
    sides = [
        sorted({f"{r['domain']} ({r['method']})" for r in e.windows if r["energy_j"] is not None})
        for e in (before, after)
    ]
    if sides[0] == sides[1]:
        return []
    told = " against ".join(", ".join(side) or "nothing" for side in sides)
    return [f"Other domains were metered: {told}."]


def _latency(before: Evidence, after: Evidence) -> Figure:
    """Each audit times the requests of one start, and starts differ: by how much, blocks tell."""
    name, ends = "latency p95", []
    for evidence in (before, after):
        seconds = request_seconds(evidence, evidence.candidate)
        found = quantile_interval(seconds) if seconds else None
        if found is None or found.low is None or found.high is None:
            return Figure(name=name, kind="times", reason="too few requests were timed")
        ends.append((found.estimate, math.log(found.high / found.low) / 2))
    if math.isinf(ends[1][0]) and not math.isinf(ends[0][0]):
        lost = math.inf  # one request in twenty never finished, where before they did
        return Figure(
            name=name,
            kind="times",
            before=ends[0][0],
            after=lost,
            unit="s",
            change=lost,
            low=lost,
            high=lost,
        )
    if not all(math.isfinite(number) for end in ends for number in end):
        return Figure(name=name, kind="times", reason="some of the timed requests never finished")
    starts = [_of_starts(evidence) for evidence in (before, after)]
    degrees = sum(len(logs) - 1 for logs in starts)
    if min(map(len, starts)) < 2:
        return Figure(name=name, kind="times", reason="how starts differ is not known")
    spread = math.sqrt(2 * sum(float(np.var(x) * len(x)) for x in starts) / degrees)
    half = math.hypot(ends[0][1], ends[1][1], float(stats.t.ppf(1 - ALPHA, degrees)) * spread)
    change = ends[1][0] / ends[0][0]
    return Figure(
        name=name,
        kind="times",
        before=ends[0][0],
        after=ends[1][0],
        unit="s",
        change=change,
        low=change * math.exp(-half),
        high=change * math.exp(half),
    )


def _of_starts(evidence: Evidence) -> list[float]:
    """Logarithms of the candidate's seconds an image, one of each pair of blocks, a start each."""
    found: dict[int, list[float]] = {}
    for rows in windows_of(evidence, evidence.candidate, "block").values():
        window = rows[0]
        found.setdefault(window["pair"], []).append(window["duration_s"] / window["requests"])
    return [math.log(math.fsum(values) / len(values)) for values in found.values()]


def _memory(before: Audit, after: Audit) -> Figure:
    """What the loaded process held, as read once; it has no interval beyond itself."""
    former, new = (
        (audit.manifest.get("resident_bytes") or {}).get(audit.evidence.candidate)
        for audit in (before, after)
    )
    if not former or not new:
        return Figure(
            name="memory", kind="times", reason="what the loaded system holds was not read"
        )
    change = new / former
    return Figure(
        name="memory",
        kind="times",
        before=former,
        after=new,
        unit="B",
        change=change,
        low=change,
        high=change,
    )


# Quality ---------------------------------------------------------------------------------------


def _quality(before: Audit, after: Audit) -> list[Figure]:
    merged, former = _merged(before, after)
    table, ours = Table(merged), merged.candidate
    alike, shared = same_pictures(before, after)
    categories = sorted({row.category for row in table.rows(ours)})
    asked = [("verified", "all"), *(("verified", name) for name in categories)]
    found = []
    for metric, category in [*asked, ("clip", "all"), ("recall", "all"), ("frechet", "all")]:
        kind: Literal["frechet", "difference"] = "frechet" if metric == "frechet" else "difference"
        margin = FRECHET if metric == "frechet" else 0.0
        endpoint = Endpoint(metric=metric, kind=kind, margin=margin, category=category)
        one = endpoint_of(table, endpoint, ours, former, 1)
        name = metric if category == "all" else f"{metric}: {category}"
        low, high = one.low, one.high
        if metric == "verified" and low == high == 0 and alike < shared:
            # No prompt went otherwise, though pictures did: exact bounds, as there is no spread.
            high = 1 - ALPHA ** (1 / one.n)
            low = -high
        figure = Figure(
            name=name,
            kind="excess" if metric == "frechet" else "points",
            before=_mean(table, former, metric, category),
            after=_mean(table, ours, metric, category),
            change=one.estimate,
            low=low,
            high=high,
            n=one.n,
            reason=one.reason or ("" if one.estimate is not None else "too few images"),
        )
        found.append(figure)
    return found


def _mean(table: Table, system: str, metric: str, category: str) -> float | None:
    means = table.by_prompt(system, metric, category) if metric in ("verified", "clip") else None
    return math.fsum(means.values()) / len(means) if means else None


def _merged(before: Audit, after: Audit) -> tuple[Evidence, str]:
    """Evidence in which the former candidate stands beside the new one, on shared requests."""
    new = after.evidence
    former = f"{before.evidence.candidate} before"
    shared = before.pictures.keys() & after.pictures.keys()
    theirs = _of_candidate(before.evidence, shared, former, "before ")
    ours = _of_candidate(new, shared, new.candidate, "")
    parts = (ours, theirs)
    features = {name: one for part in parts for name, one in part["features"].items()}
    return replace(
        new,
        baseline=former,
        windows=[row for part in parts for row in part["windows"]],
        requests=[row for part in parts for row in part["requests"]],
        items=[row for part in parts for row in part["items"]],
        features=features,
    ), former


def _of_candidate(
    evidence: Evidence, shared: Set[tuple[str, int]], name: str, mark: str
) -> dict[str, Any]:
    """The candidate's rows on shared requests, under a name, its windows marked."""
    system = evidence.candidate
    rows = [row for row in evidence.requests if row["system"] == system]
    kept = [row["core"] and (row["prompt_id"], row["seed"]) in shared for row in rows]
    features = evidence.features.get(system)
    whole = features is not None and len(features) == len(rows)
    return {
        "windows": [{**row, "window": mark + row["window"]} for row in evidence.windows],
        "requests": [
            {**row, "system": name, "window": mark + row["window"]}
            for row, keep in zip(rows, kept, strict=True)
            if keep
        ],
        "items": [{**row, "system": name} for row in evidence.items if row["system"] == system],
        "features": {name: features[np.array(kept, bool)]}
        if features is not None and whole
        else {},
    }


# What is refused -------------------------------------------------------------------------------


def _refuse(before: Audit, after: Audit) -> None:
    """Raises InputError, with both values, for audits whose figures do not mean the same."""
    former, new = before.evidence, after.evidence
    found = environment.unlike(_terms(before), _terms(after), _TERMS)
    if former.prompts != new.prompts:
        found.append(
            f"prompts: {len(former.prompts)} of one set against {len(new.prompts)} of another"
        )
    if found:
        raise InputError(
            f"{before.path} and {after.path} cannot be compared ({'; '.join(found)}). "
            "Audit both with the same suite, judge, boundaries and baseline."
        )
    if not before.pictures.keys() & after.pictures.keys():
        salts = [audit.manifest.get("salt") for audit in (before, after)]
        raise InputError(
            f"{before.path} and {after.path} scored no request in common (salt: {salts[0]!r} "
            f"against {salts[1]!r}). Audit again with salt={salts[0]} and the same seed."
        )


_TERMS = ("prompt set", "judge", "reference", "boundaries", "baseline")


def _terms(audit: Audit) -> dict[str, Any]:
    """What two audits must share for their figures to mean the same."""
    evidence = audit.evidence
    name = evidence.baseline
    config = bundle.read_yaml(audit.path / "config.yaml").get("systems", {}).get(name, {})
    judged = evidence.settings.get("reference") or {}
    card = evidence.cards.get(name, {})
    return {
        "prompt set": (audit.manifest.get("prompt_set") or {}).get("sha256"),
        "judge": judged.get("extractor_sha256"),
        "reference": judged.get("features_sha256"),
        "boundaries": {one.name: (one.patterns, one.pue) for one in evidence.boundaries},
        "baseline": {
            "baseline": name,
            "its weights": dict(card.get("weights_sha256") or {}),
            **{f"its {key}": card.get(key) for key in ("precision", "steps", "evaluations")},
            "its compiled": (card.get("notes") or {}).get("compiled"),
            **{f"its {key}": value for key, value in config.items()},
        },
    }

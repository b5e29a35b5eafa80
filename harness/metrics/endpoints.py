"""Quality endpoints: is one system not worse than another, or better, by a margin fixed before?"""

from __future__ import annotations

import math
from dataclasses import dataclass

from harness.metrics.frechet import frechet_at_infinity, frechet_excess, frechet_interval
from harness.metrics.precision_recall import recall_difference
from harness.metrics.summary import Table
from harness.records import Endpoint
from harness.stats import NonInferiority, non_inferiority

__all__ = [
    "ROWS_PER_DIMENSION",
    "Comparison",
    "compare",
    "frechet_share",
    "noise_floor",
    "unlike_requests",
]

ROWS_PER_DIMENSION = 10  # images a Frechet distance needs for each feature, to decide
_FEWEST_PROMPTS = 30  # under which a t interval of shares is not trusted to refute


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """An endpoint of two systems. Where `reason` stands, it was not measured.

    `passes`: the interval lies within the margin. `p_worse` small: worse by more than the margin.
    `enough`: n suffices to support; `needed` is the n that would decide, where one would.
    """

    name: str
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    threshold: float | None = None
    n: int = 0
    unit: str = ""
    passes: bool = False
    enough: bool = False
    p_worse: float | None = None
    needed: int | None = None
    reason: str = ""


def compare(
    table: Table, endpoint: Endpoint, candidate: str, baseline: str, min_prompts: int
) -> Comparison:
    """Compares candidate with baseline on one endpoint, over the prompts of the core."""
    name = _name(endpoint)
    unlike = unlike_requests(table, candidate, baseline)
    if unlike:
        return Comparison(name=name, reason=unlike)
    if endpoint.kind == "frechet":
        return _frechet(table, endpoint, candidate, baseline)
    if endpoint.metric == "recall":
        return _recall(table, endpoint, candidate, baseline)
    margin, reason = _margin(table, endpoint)
    ours = table.by_prompt(candidate, endpoint.metric, endpoint.category)
    theirs = table.by_prompt(baseline, endpoint.metric, endpoint.category)
    if ours is None or theirs is None:
        reason = reason or f"{endpoint.metric} has no value for some of the scored images"
    elif len(ours) < 2:
        reason = reason or "fewer than two prompts were scored"
    if reason or margin is None or ours is None or theirs is None:
        return Comparison(name=name, reason=reason)
    found = non_inferiority([ours[p] - theirs[p] for p in ours], margin)
    return _by_prompts(name, found, margin, min_prompts)


def unlike_requests(table: Table, candidate: str, baseline: str) -> str:
    """Why two systems cannot be paired; empty where both served the same core requests."""
    ours = sorted((row.prompt, row.seed) for row in table.rows(candidate))
    theirs = sorted((row.prompt, row.seed) for row in table.rows(baseline))
    if not ours or not theirs:
        return f"no scored images of {candidate if not ours else baseline}"
    # Controls are drawn with seeds of their own, for the prompts of the core.
    if candidate.startswith("control:"):
        ours, theirs = [(p, 0) for p, _ in ours], [(p, 0) for p, _ in theirs]
    if ours != theirs:
        return f"{candidate} ({len(ours)}) and {baseline} ({len(theirs)}) answered unlike requests"
    return ""


def _by_prompts(name: str, found: NonInferiority, margin: float, min_prompts: int) -> Comparison:
    needed = found.clusters_to_decide
    return Comparison(
        name=name,
        estimate=found.estimate,
        low=found.low,
        high=found.high,
        threshold=-margin,
        n=found.n,
        unit="prompts",
        passes=found.low >= -margin,
        enough=found.n >= min_prompts,
        p_worse=found.p_inferior if found.n >= _FEWEST_PROMPTS else 1.0,
        needed=None if needed is None else max(min_prompts, needed),
    )


def _margin(table: Table, endpoint: Endpoint) -> tuple[float | None, str]:
    if endpoint.kind == "difference":
        return endpoint.margin, ""
    if endpoint.kind == "superiority":
        return -endpoint.margin, ""
    matched, shuffled = table.clip_levels
    if matched is None or shuffled is None or matched <= shuffled:
        return (
            None,
            "the reference's matched and shuffled cosine, which scale the margin, are unknown",
        )
    return endpoint.margin * (matched - shuffled), ""


def _frechet(table: Table, endpoint: Endpoint, candidate: str, baseline: str) -> Comparison:
    name = _name(endpoint)
    ours, theirs = table.moments(candidate), table.moments(baseline)
    fit = table.reference_gaussian
    if ours is None or theirs is None or fit is None:
        return Comparison(name=name, reason="no features of the judge network, or no reference")
    least = ROWS_PER_DIMENSION * ours.dimension
    n = min(ours.n, theirs.n)
    found = frechet_excess(ours, theirs, fit, endpoint.margin)
    if found is None:
        return Comparison(name=name, threshold=0.0, n=n, unit="images", p_worse=1.0, needed=least)
    return Comparison(
        name=name,
        estimate=found.estimate,
        low=found.low,
        high=found.high,
        threshold=0.0,
        n=n,
        unit="images",
        passes=found.high <= 0,
        enough=n >= least,
        p_worse=found.p_above(0.0) if n >= least else 1.0,
        needed=_more(n, found.high - found.estimate, abs(found.estimate), least),
    )


def _recall(table: Table, endpoint: Endpoint, candidate: str, baseline: str) -> Comparison:
    name = _name(endpoint)
    ours, theirs = table.neighbours(candidate), table.neighbours(baseline)
    sample = table.moments(candidate)
    if ours is None or theirs is None or sample is None:
        return Comparison(name=name, reason="no features of the judge network, or no reference")
    least = ROWS_PER_DIMENSION * sample.dimension
    n = min(ours.n, theirs.n)
    unknown = Comparison(
        name=name, threshold=-endpoint.margin, n=n, unit="images", p_worse=1.0, needed=least
    )
    if n < least:
        return unknown
    found = recall_difference(
        ours.recall(),
        theirs.recall(),
        table.recall_without(candidate),
        table.recall_without(baseline),
    )
    if found is None:
        return unknown
    distance = found.estimate + endpoint.margin
    return Comparison(
        name=name,
        estimate=found.estimate,
        low=found.low,
        high=found.high,
        threshold=-endpoint.margin,
        n=n,
        unit="images",
        passes=found.low >= -endpoint.margin,
        enough=True,
        p_worse=found.p_below(-endpoint.margin),
        needed=_more(n, found.high - found.estimate, abs(distance), least),
    )


def noise_floor(table: Table) -> float | None:
    """FDinf of fresh reference renders against the reference: what a perfect system would get."""
    sample, fit = table.moments("control:reference"), table.reference_gaussian
    return None if sample is None or fit is None else frechet_at_infinity(sample, fit)


def frechet_share(table: Table, system: str) -> tuple[float, float, float, int] | None:
    """FDinf over the reference's total variance: estimate, low, high, images; None with too few."""
    sample, fit = table.moments(system), table.reference_gaussian
    if sample is None or fit is None or sample.n < ROWS_PER_DIMENSION * sample.dimension:
        return None
    found = frechet_interval(sample, fit)
    if found is None:
        return None
    whole = fit.variance
    return found.estimate / whole, found.low / whole, found.high / whole, sample.n


def _more(n: int, half: float, distance: float, least: int) -> int | None:
    """Images at which the interval would clear its margin, half-widths falling as 1 / sqrt(n)."""
    if distance == 0:
        return None
    return max(least, math.ceil(n * (half / distance) ** 2))


def _name(endpoint: Endpoint) -> str:
    return (
        endpoint.metric if endpoint.category == "all" else f"{endpoint.metric}/{endpoint.category}"
    )

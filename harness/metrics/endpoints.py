"""Quality endpoints: is one system not worse than another, or better, by a margin fixed before?"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

from harness.metrics.frechet import frechet_at_infinity, frechet_excess, frechet_interval
from harness.metrics.precision_recall import recall_difference
from harness.metrics.summary import APART, Table
from harness.records import Endpoint, Evidence
from harness.stats import NonInferiority, non_inferiority, welch

__all__ = [
    "ROWS_PER_DIMENSION",
    "Comparison",
    "compare",
    "filler_differs",
    "frechet_share",
    "noise_floor",
    "repeats",
    "seeds_ignored",
    "unlike_requests",
]

ROWS_PER_DIMENSION = 10  # images a Frechet distance needs for each feature, to decide
_FEWEST_PROMPTS = 30  # under which a t interval of shares is not trusted to refute
_TOLD_APART = 0.0005  # two-sided level of the check of core against filler


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


def filler_differs(table: Table, system: str) -> str:
    """How a system's drawn filler differs from its core; empty where it does not, or is too little.

    Welch's test over prompts at 0.0005, two-sided: a difference says that core and filler were
    told apart; none says nothing.
    """
    for metric in ("verified", "clip"):
        core = table.by_prompt(system, metric)
        filler = table.by_prompt(system, metric, core=False)
        if core is None or filler is None or min(len(core), len(filler)) < _FEWEST_PROMPTS:
            continue
        difference, p = welch(list(core.values()), list(filler.values()))
        if p < _TOLD_APART:
            return (
                f"{system} answered paired and filler requests unlike: {metric} differs by "
                f"{difference:.3f}, so what was charged is not what was scored"
            )
    return ""


def repeats(evidence: Evidence, system: str) -> tuple[int, int]:
    """Pairs of a system's pictures of one prompt that are the same bit for bit, and all of them.

    No request is asked twice, so the two of a pair were asked with different seeds. Left out are
    categories that leave nothing open to one (emblems).
    """
    pictures: dict[str, list[str]] = {}
    for row in evidence.requests:
        if evidence.prompts[row["prompt_id"]].category in APART or row["system"] != system:
            continue
        if digest := row.get("image_sha256"):
            pictures.setdefault(row["prompt_id"], []).append(digest)
    pairs = sum(math.comb(len(of_prompt), 2) for of_prompt in pictures.values())
    alike = sum(
        math.comb(count, 2)
        for of_prompt in pictures.values()
        for count in Counter(of_prompt).values()
    )
    return alike, pairs


def seeds_ignored(evidence: Evidence, system: str) -> str:
    """That most pairs of a system's pictures of one prompt are the same; empty where they are not.

    Captions that leave little open may be answered alike now and then; a table of answers, a
    constant picture and a generator that drops its seed are alike always.
    """
    alike, pairs = repeats(evidence, system)
    if pairs < _FEWEST_PROMPTS or alike <= pairs / 2:
        return ""
    return (
        f"{system} ignores the seed: of {pairs:,} pairs of its pictures of one prompt, asked with "
        f"different seeds, {alike:,} are the same bit for bit"
    )


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

"""A page for those who brought the prompts: category by category, and prompt by prompt.

Read from the bundle alone; the same bytes for the same bundle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from harness import bundle
from harness.evidence import read_evidence
from harness.metrics.summary import Table, share_interval
from harness.records import Evidence
from harness.stats import ALPHA, NonInferiority, cluster_interval, holm, non_inferiority
from reports import numbers
from reports.costs import factors, scored_core
from reports.gallery import Picture, picture, verified_requests
from reports.html import data_uri, environment
from reports.markdown import escape

__all__ = ["PAGES", "SUITE", "render"]

PAGES = ("stress.html", "stress.md")
SUITE = "own"  # whose audits have this page
FEWEST = 5  # prompts of a category, under which nothing is said to be beyond chance
SHOWN = 8  # prompts of each side that are shown
WORDS = {
    "verified": "pictures that show what was asked",
    "clip": "agreement of picture and prompt (cosine of the judge's CLIP, times 100)",
}
DISTANCES = (
    ("kernel", "Kernel distance, lower is nearer"),
    ("frechet", "Frechet distance, lower is nearer"),
    ("precision", "Precision: pictures that lie among yours"),
    ("recall", "Recall: yours that lie among the pictures"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One category, or all: both systems, and the candidate less the baseline."""

    category: str
    prompts: int
    ours: str
    theirs: str
    difference: str
    interval: str
    outcome: str
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Differing:
    """One prompt that both drew, and by how much the candidate did better."""

    text: str
    category: str
    difference: str
    pictures: tuple[Picture, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stress:
    """All that the page shows."""

    candidate: str
    baseline: str
    answer: tuple[str, ...]
    remarks: tuple[str, ...]
    file: str
    metric: str
    pooled: Line | None
    lines: tuple[Line, ...]
    worse: tuple[Differing, ...]
    better: tuple[Differing, ...]
    distances: tuple[tuple[str, str, str], ...]
    name: str


def render(root: Path, name: str) -> str:
    """One of both pages, as text."""
    html = name.endswith("html")
    drawn = environment(html=html)
    drawn.filters["md"] = escape
    drawn.globals["data_uri"] = data_uri
    return str(drawn.get_template(f"{name}.j2").render(view=_read(root)))


def _read(root: Path) -> Stress:
    evidence = read_evidence(root)
    config = bundle.read_yaml(root / "config.yaml")
    own = config.get("own") or {}
    asked = {row["prompt_id"] for row in scored_core(evidence)}
    checkable = all(evidence.prompts[name].spec is not None for name in asked)
    metric = "verified" if checkable else "clip"
    table = Table(evidence)
    found = {name: _differences(table, metric, name) for name in ("all", *_categories(table))}
    lines = _lines(table, metric, {k: v for k, v in found.items() if k != "all"})
    each = {p: d for name, rows in found.items() if name != "all" for p, d in rows.items()}
    ranked = sorted(each, key=lambda prompt: (each[prompt], prompt))
    pooled = _line(table, metric, "all", found["all"], None) if len(found["all"]) > 1 else None
    return Stress(
        candidate=evidence.candidate,
        baseline=evidence.baseline,
        answer=_answer(evidence, metric, found["all"], len(asked)),
        remarks=tuple(map(str, own.get("remarks") or ())),
        file=str(own.get("file") or ""),
        metric=WORDS[metric],
        pooled=pooled,
        lines=lines,
        worse=_differing(root, evidence, metric, [p for p in ranked if each[p] < 0], each),
        better=_differing(root, evidence, metric, [p for p in ranked[::-1] if each[p] > 0], each),
        distances=_distances(root, evidence),
        name=root.resolve().name,
    )


def _categories(table: Table) -> list[str]:
    return sorted({row.category for row in table.rows(table.evidence.candidate)})


def _differences(table: Table, metric: str, category: str) -> dict[str, float]:
    """Candidate less baseline by prompt; empty where either has no value."""
    ours = table.by_prompt(table.evidence.candidate, metric, category)
    theirs = table.by_prompt(table.evidence.baseline, metric, category)
    if ours is None or theirs is None or set(ours) != set(theirs):
        return {}
    return {prompt: ours[prompt] - theirs[prompt] for prompt in ours}


def _lines(table: Table, metric: str, found: Mapping[str, Mapping[str, float]]) -> tuple[Line, ...]:
    """The categories, the worst first; those that could not be compared last."""
    tested = {
        name: non_inferiority(list(rows.values()), 0.0)
        for name, rows in found.items()
        if len(rows) > 1
    }
    twice = [_two_sided(list(found[name].values())) for name in tested]
    adjusted = dict(zip(tested, holm(twice), strict=True))
    order = sorted(found, key=lambda name: (name not in tested, _mean(tested.get(name)), name))
    return tuple(_line(table, metric, name, found[name], adjusted.get(name)) for name in order)


def _two_sided(differences: Sequence[float]) -> float:
    """Of a t test that the mean is 0; 1 where there is too little to test, or nothing differs."""
    if len(differences) < FEWEST or not np.std(differences):
        return 1.0
    return float(stats.ttest_1samp(differences, 0.0).pvalue)


def _mean(one: NonInferiority | None) -> float:
    return 0.0 if one is None else one.estimate


def _line(
    table: Table, metric: str, category: str, rows: Mapping[str, float], p: float | None
) -> Line:
    ours, theirs = (
        _of(table, metric, system, category)
        for system in (table.evidence.candidate, table.evidence.baseline)
    )
    asked = {r.prompt for r in table.rows(table.evidence.candidate) if r.category == category}
    if len(rows) < 2:
        return Line(
            category=category,
            prompts=len(asked),
            ours=ours,
            theirs=theirs,
            difference=numbers.MISSING,
            interval="",
            outcome="not_measured",
            words="one prompt tells nothing of a category" if rows else "not scored",
        )
    result = non_inferiority(list(rows.values()), 0.0)
    outcome, words = "inconclusive", "no difference that so many prompts could show"
    if result.clusters_to_decide and result.clusters_to_decide > len(rows):
        words += f"; about {result.clusters_to_decide:,} would, if it is as large as it seems"
    if p is not None and p <= 2 * ALPHA:
        outcome = "refuted" if result.estimate < 0 else "supported"
        words = "worse, beyond chance" if result.estimate < 0 else "better, beyond chance"
    return Line(
        category=category,
        prompts=len(rows),
        ours=ours,
        theirs=theirs,
        difference=_written(metric, result.estimate),
        interval=numbers.interval(*_scaled(metric, result.low, result.high), _unit(metric)),
        outcome=outcome,
        words=words,
    )


def _of(table: Table, metric: str, system: str, category: str) -> str:
    means = table.by_prompt(system, metric, category)
    if not means:
        return numbers.MISSING
    if metric == "verified":
        return numbers.percent(share_interval(means.values()).estimate)
    return f"{100 * cluster_interval(list(means.values())).estimate:.1f}"


def _unit(metric: str) -> str:
    return "points" if metric == "verified" else "signed"


def _scaled(
    metric: str, low: float | None, high: float | None
) -> tuple[float | None, float | None]:
    """CLIP's cosines are told times 100, shares as they are."""
    if metric == "verified":
        return low, high
    return tuple(None if end is None else round(100 * end, 1) for end in (low, high))


def _written(metric: str, difference: float) -> str:
    if metric == "verified":
        return numbers.points(difference)
    return f"{100 * difference:+.1f}".replace("-", "\u2212")


def _cheaper(evidence: Evidence) -> list[str]:
    """Joules of the node and processor time, where they were read; else why not."""
    candidate, baseline = evidence.candidate, evidence.baseline
    shown = [factor for factor in factors(evidence) if factor.what in ("node", "processor time")]
    texts = []
    for factor in (factor for factor in shown if factor.estimate is not None):
        times = factor.estimate or 1.0
        low, high = factor.low, factor.high
        dear, cheap = baseline, candidate
        if times < 1:
            dear, cheap = candidate, baseline
            times = 1 / times
            low, high = (None if end is None else 1 / end for end in (factor.high, factor.low))
        what = "processor time" if factor.what != "node" else f"energy ({factor.method})"
        ends = numbers.interval(low, high, "times")
        texts.append(
            f"A picture of {dear} takes {numbers.ratio(times)} the {what} of {cheap} {ends}."
        )
    if not texts:
        why = shown[-1].reason if shown else "nothing was measured"
        texts.append(f"What they cost cannot be compared: {why}")
    return texts


def _answer(
    evidence: Evidence, metric: str, rows: Mapping[str, float], prompts: int
) -> tuple[str, ...]:
    """What it comes to, in plain sentences."""
    texts = [f"{prompts} prompts were drawn by both.", *_cheaper(evidence)]
    if len(rows) < 2:
        texts.append("How well they draw could not be compared: not every picture has a score.")
        return tuple(texts)
    result = non_inferiority(list(rows.values()), 0.0)
    low, high = result.low, result.high
    ends = numbers.interval(*_scaled(metric, low, high), _unit(metric))
    ours = evidence.candidate
    told = "no difference that these prompts could show" if low <= 0 <= high else f"{ours} has more"
    told = f"{ours} has less" if high < 0 else told
    texts.append(f"In {WORDS[metric]}: {told}, {_written(metric, result.estimate)} {ends}.")
    return tuple(texts)


def _differing(
    root: Path,
    evidence: Evidence,
    metric: str,
    prompts: Sequence[str],
    each: Mapping[str, float],
) -> tuple[Differing, ...]:
    """The first prompts, with the first picture that each system made of them."""
    rows: dict[tuple[str, str], Any] = {}
    for row in scored_core(evidence):
        rows.setdefault((row["system"], row["prompt_id"]), row)
    verified = verified_requests(evidence)
    return tuple(
        Differing(
            text=evidence.prompts[prompt].text,
            category=evidence.prompts[prompt].category,
            difference=_written(metric, each[prompt]),
            pictures=tuple(
                picture(root, system, rows[system, prompt], verified)
                for system in (evidence.candidate, evidence.baseline)
            ),
        )
        for prompt in prompts[:SHOWN]
    )


def _distances(root: Path, evidence: Evidence) -> tuple[tuple[str, str, str], ...]:
    """What, of the candidate, of the baseline; empty without a reference."""
    scores = {
        (row["system"], row["metric"]): row["value"]
        for row in bundle.read_table(root, "scores")
        if row["category"] == "all"
    }
    write = {"precision": numbers.percent, "recall": numbers.percent}
    return tuple(
        (words, *(write.get(metric, numbers.signed)(scores[s, metric]) for s in both))
        for metric, words in DISTANCES
        for both in [(evidence.candidate, evidence.baseline)]
        if all((s, metric) in scores for s in both)
    )

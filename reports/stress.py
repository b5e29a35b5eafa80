"""A page for those who brought the prompts: category by category, and prompt by prompt.

Read from the bundle alone; the same bytes for the same bundle.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import bundle
from harness.evidence import read_evidence
from harness.metrics.summary import Table
from harness.paired import FEWEST, Paired, paired
from harness.ratio import MeasuredRatio, measured_ratio
from harness.records import Evidence
from harness.stats import ALPHA, cluster_means, holm, non_inferiority
from reports import numbers
from reports.costs import scored_core
from reports.gallery import Picture, picture, verified_requests
from reports.html import environment
from reports.markdown import escape
from reports.thumbnails import data_uri

__all__ = ["PAGES", "SUITE", "render"]

PAGES = ("stress.html", "stress.md")
SUITE = "own"  # whose audits have this page
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """Means by prompt of one metric, where both systems have one: prompt to (ours, theirs)."""

    metric: str
    means: Mapping[str, tuple[float, float]]

    @property
    def shares(self) -> bool:
        return self.metric == "verified"

    def apart(self, prompt: str) -> float:
        """Ours less theirs."""
        ours, theirs = self.means[prompt]
        return ours - theirs

    def paired(self, prompts: Iterable[str]) -> Paired:
        ours, theirs = zip(*(self.means[prompt] for prompt in prompts), strict=True)
        return paired(ours, theirs, shares=self.shares)


def render(root: Path, name: str) -> str:
    """One of both pages, as text."""
    html = name.endswith("html")
    drawn = environment(html=html)
    drawn.filters["md"] = escape
    drawn.globals["data_uri"] = data_uri
    return str(drawn.get_template(f"{name}.j2").render(view=_read(root)))


def _read(root: Path) -> Stress:
    evidence = read_evidence(root)
    own = bundle.read_yaml(root / "config.yaml").get("own") or {}
    asked = {row["prompt_id"] for row in scored_core(evidence)}
    checkable = all(evidence.prompts[name].spec is not None for name in asked)
    table = Table(evidence)
    scored = _scored(table, "verified" if checkable else "clip")
    ranked = sorted(scored.means, key=lambda prompt: (scored.apart(prompt), prompt))
    pooled = _line("all", scored, list(scored.means), None) if len(scored.means) > 1 else None
    return Stress(
        candidate=evidence.candidate,
        baseline=evidence.baseline,
        answer=_answer(evidence, table, scored, len(asked)),
        remarks=tuple(map(str, own.get("remarks") or ())),
        file=str(own.get("file") or ""),
        metric=WORDS[scored.metric],
        pooled=pooled,
        lines=_lines(evidence, asked, scored),
        worse=_differing(root, evidence, scored, [p for p in ranked if scored.apart(p) < 0]),
        better=_differing(root, evidence, scored, [p for p in ranked[::-1] if scored.apart(p) > 0]),
        distances=_distances(root, evidence) if own.get("reference") else (),
        name=root.resolve().name,
    )


def _scored(table: Table, metric: str) -> Scored:
    """A failed request is a wrong picture; of CLIP it has no value, and is left out."""
    found: list[dict[str, float]] = []
    for system in (table.evidence.candidate, table.evidence.baseline):
        values = [
            (row.prompt, 0.0 if row.failed else row.values[metric])
            for row in table.rows(system)
            if (metric == "verified" if row.failed else metric in row.values)
        ]
        found.append(cluster_means([v for _, v in values], [prompt for prompt, _ in values]))
    ours, theirs = found
    return Scored(metric=metric, means={p: (ours[p], theirs[p]) for p in ours if p in theirs})


def _lines(evidence: Evidence, asked: Iterable[str], scored: Scored) -> tuple[Line, ...]:
    """The categories, the worst first; those that could not be compared last."""
    by_category: dict[str, list[str]] = {}
    for prompt in sorted(asked):
        by_category.setdefault(evidence.prompts[prompt].category, []).append(prompt)
    known = {c: [p for p in some if p in scored.means] for c, some in by_category.items()}
    tested = {c: scored.paired(some).p for c, some in known.items() if len(some) >= FEWEST}
    adjusted = dict(zip(tested, holm(list(tested.values())), strict=True))
    lines = [
        (not some, scored.paired(some).estimate if some else 0.0, category, some)
        for category, some in known.items()
    ]
    return tuple(
        _line(category, scored, some, adjusted.get(category))
        if some
        else _unscored(category, len(by_category[category]))
        for _, _, category, some in sorted(lines)
    )


def _unscored(category: str, prompts: int) -> Line:
    none = numbers.MISSING
    return Line(
        category=category,
        prompts=prompts,
        ours=none,
        theirs=none,
        difference=none,
        interval="",
        outcome="not_measured",
        words="not scored",
    )


def _line(category: str, scored: Scored, prompts: Sequence[str], p: float | None) -> Line:
    found = scored.paired(prompts)
    outcome, words = "inconclusive", "no difference that so many prompts could show"
    if len(prompts) < FEWEST:
        outcome, words = "not_measured", f"fewer than {FEWEST} prompts tell nothing of a category"
    elif p is not None and p <= 2 * ALPHA:
        outcome = "refuted" if found.estimate < 0 else "supported"
        words = "worse, beyond chance" if found.estimate < 0 else "better, beyond chance"
    elif found.p <= 2 * ALPHA:
        words = "beyond chance alone, and not once all categories are looked at"
    elif needed := _needed(scored, prompts):
        words += f"; about {needed:,} would, if it is as large as it seems"
    ours, theirs = (
        _mean(scored, [scored.means[prompt][side] for prompt in prompts]) for side in (0, 1)
    )
    return Line(
        category=category,
        prompts=len(prompts),
        ours=ours,
        theirs=theirs,
        difference=_written(scored, found.estimate),
        interval=_interval(scored, found),
        outcome=outcome,
        words=words,
    )


def _needed(scored: Scored, prompts: Sequence[str]) -> int | None:
    """How many prompts would show the difference as it seems; None for fewer than there are."""
    needed = non_inferiority([scored.apart(p) for p in prompts], 0.0).clusters_to_decide
    return needed if needed and needed > len(prompts) else None


def _mean(scored: Scored, values: Sequence[float]) -> str:
    mean = math.fsum(values) / len(values)
    return numbers.percent(mean) if scored.shares else f"{100 * mean:.1f}"


def _interval(scored: Scored, found: Paired) -> str:
    """CLIP's cosines are told times 100, shares in points."""
    if scored.shares:
        return numbers.interval(found.low, found.high, "points")
    low, high = (None if end is None else round(100 * end, 1) for end in (found.low, found.high))
    return numbers.interval(low, high, "signed")


def _written(scored: Scored, difference: float) -> str:
    if scored.shares:
        return numbers.points(difference)
    return f"{100 * difference:+.1f}".replace("-", "\u2212")


def _told(scored: Scored, prompt: str) -> str:
    """By how much one prompt was drawn better; nothing where the pictures' marks say it all."""
    apart = scored.apart(prompt)
    return "" if scored.shares and abs(apart) == 1 else f", {_written(scored, apart)}"


def _answer(evidence: Evidence, table: Table, scored: Scored, prompts: int) -> tuple[str, ...]:
    """What it comes to, in plain sentences."""
    texts = [f"{prompts} prompts were asked of both."]
    for system in (evidence.candidate, evidence.baseline):
        rows = table.rows(system)
        if failed := sum(row.failed for row in rows):
            texts.append(f"{system} failed on {failed} of {len(rows)} requests.")
    return (*texts, _better(evidence, scored), *_cheaper(evidence))


def _better(evidence: Evidence, scored: Scored) -> str:
    if len(scored.means) < FEWEST:
        why = f"fewer than {FEWEST} prompts have scores" if scored.means else "nothing was scored"
        return f"How well they draw could not be compared: {why}."
    found = scored.paired(list(scored.means))
    told = "no difference that these prompts could show"
    if found.p <= 2 * ALPHA:
        told = f"{evidence.candidate} has {'less' if found.estimate < 0 else 'more'}"
    ends = f" {_interval(scored, found)}" if found.low is not None else ""
    what = WORDS[scored.metric]
    return f"{what[0].upper()}{what[1:]}: {told}, {_written(scored, found.estimate)}{ends}."


def _cheaper(evidence: Evidence) -> list[str]:
    """Joules and processor time, where they were read; and why they decide nothing, if so."""
    told = [
        boundary
        for boundary in evidence.boundaries
        if boundary.name == "node"
        or (boundary.name == "device" and any("gpu" in one for one in boundary.patterns))
    ]
    texts, reasons = [], []
    for boundary in (*told, None):
        found = measured_ratio(evidence, boundary)
        what = f"energy of the {boundary.name}" if boundary else "processor time"
        if found.ratio is None:
            reasons.append(f"{what}: {found.reason}")
        else:
            texts.append(_times(evidence, found, what))
    return texts or [f"What they cost could not be compared ({' '.join(reasons)})."]


def _times(evidence: Evidence, found: MeasuredRatio, what: str) -> str:
    """One sentence of a ratio, the dearer one first."""
    assert found.ratio is not None
    dear, cheap = evidence.baseline, evidence.candidate
    times, low, high = found.ratio.estimate, found.ratio.low, found.ratio.high
    if times < 1:
        dear, cheap, times, low, high = cheap, dear, 1 / times, 1 / high, 1 / low
    what += f" ({found.method})" if found.method else ""
    text = f"A picture of {dear} takes {numbers.ratio(times)} the {what} of {cheap}"
    text = f"{text} {numbers.interval(low, high, 'times')}"
    if low <= 1 <= high:
        text += ", which may be chance"
    return f"{text}." + (f" {found.reason}" if found.reason else "")


def _differing(
    root: Path, evidence: Evidence, scored: Scored, prompts: Sequence[str]
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
            difference=_told(scored, prompt),
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
    found = []
    for metric, words in DISTANCES:
        ours, theirs = (scores.get((s, metric)) for s in (evidence.candidate, evidence.baseline))
        if ours is not None and theirs is not None:
            told = write.get(metric, numbers.signed)
            found.append((words, told(ours), told(theirs)))
    return tuple(found)

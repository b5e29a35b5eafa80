"""How a system conducted itself: every request like every other, and every seed answered.

What is charged is mostly filler, what is paired is core; a system that can tell them apart is paid
for one and judged by the other. Under a challenge the filler is of prompts that nobody has seen, so
the same checks tell who knows the published ones by heart.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections import Counter

import numpy as np

from harness.metrics.summary import APART, Part, Row, Table
from harness.records import Evidence
from harness.stats import ALPHA, Interval, cluster_interval, welch

__all__ = [
    "elsewhere_differs",
    "filler_differs",
    "hurried",
    "near_repeats",
    "pace",
    "repeats",
    "seeds_ignored",
]

_FEWEST_PROMPTS = 30  # under which a t test of shares is not trusted
_FEWEST_PAIRS = 20  # of pictures of one prompt, under which repeats say nothing
_NEAR = 0.05  # of the median distance between pictures of different prompts
_TOLD_APART = 0.0005  # two-sided level of the checks of core against filler
_HURRY = 0.05  # a difference of pace below which none is called one
_FEWEST_WINDOWS = 6


def filler_differs(table: Table, system: str) -> str:
    """How a system's drawn filler differs from its core; empty where it does not, or is too little.

    Welch's test over prompts at 0.0005, two-sided: a difference says that core and filler were
    told apart; none says nothing.
    """
    found = _differs(table, system, "filler")
    return found and (
        f"{system} answered {_kinds(table.evidence)} requests unlike: {found}, so what was charged "
        "is not what was scored"
    )


def elsewhere_differs(table: Table, system: str) -> str:
    """The same of requests that came alone, at other batches or at random times.

    Of those that were answered: a failure there costs its latency. A challenge asks unpublished
    prompts there, as filler does.
    """
    beside: Part = "filler" if table.evidence.settings.get("challenge") else "core"
    found = _differs(table, system, "elsewhere", beside, answered=True)
    return found and (
        f"{system} drew otherwise where only its time counted: {found}, so latency and load are "
        "not of what was scored"
    )


def _differs(
    table: Table, system: str, part: Part, beside: Part = "core", *, answered: bool = False
) -> str:
    for metric in ("verified", "clip"):
        core = table.by_prompt(system, metric, part=beside, answered=answered)
        other = table.by_prompt(system, metric, part=part, answered=answered)
        if core is None or other is None or min(len(core), len(other)) < _FEWEST_PROMPTS:
            continue
        difference, p = welch(list(core.values()), list(other.values()))
        if p < _TOLD_APART:
            return f"{metric} differs by {difference:.3f}"
    return ""


def pace(evidence: Evidence, system: str, alpha: float = ALPHA) -> Interval | None:
    """Time of core batches over time of filler's, by windows; None with fewer than six windows."""
    times: dict[str, dict[bool, set[int]]] = {}
    for row in evidence.requests:
        if row["system"] == system and row["latency_ns"]:
            parts = times.setdefault(row["window"], {True: set(), False: set()})
            parts[bool(row["core"])].add(row["latency_ns"])
    blocks = {r["window"] for r in evidence.windows if r["kind"] == "block" and not r["void"]}
    logs = [
        math.log(statistics.median(parts[True]) / statistics.median(parts[False]))
        for window, parts in times.items()
        if window in blocks and parts[True] and parts[False]
    ]
    if len(logs) < _FEWEST_WINDOWS:
        return None
    found = cluster_interval(logs, alpha)
    ends = [None if end is None else math.exp(end) for end in (found.low, found.high)]
    return Interval(estimate=math.exp(found.estimate), low=ends[0], high=ends[1], n=found.n)


def hurried(table: Table, system: str) -> str:
    """That a system answered core slower or faster than filler; empty where it did not.

    Under a challenge faster alone: what remembers captions meets the few drawn ones more often.
    """
    evidence = table.evidence
    found = pace(evidence, system, _TOLD_APART / 2)
    if found is None or found.low is None or found.high is None:
        return ""
    if found.low <= 1 <= found.high or abs(math.log(found.estimate)) < _HURRY:
        return ""
    if evidence.settings.get("challenge") and found.estimate > 1:
        return ""
    return (
        f"{system} answered {_kinds(evidence)} requests unlike: those took {found.estimate:.2f} "
        "times as long as these, so what was charged is not what was scored"
    )


def _kinds(evidence: Evidence) -> str:
    challenged = evidence.settings.get("challenge")
    return "published and unpublished" if challenged else "paired and filler"


def repeats(evidence: Evidence, system: str, *, one_start: bool = False) -> tuple[int, int]:
    """Pairs of a system's pictures of one prompt that are the same bit for bit, and all of them.

    No request is asked twice, so the two of a pair were asked with different seeds; `one_start`
    counts those alone that one start of the system drew. Left out are categories that leave nothing
    open to one (emblems).
    """
    pair_of = {row["window"]: row["pair"] for row in evidence.windows}
    pictures: dict[tuple[str, int | None], list[str]] = {}
    for row in evidence.requests:
        if evidence.prompts[row["prompt_id"]].category in APART or row["system"] != system:
            continue
        if digest := row.get("image_sha256"):
            start = pair_of.get(row["window"]) if one_start else None
            pictures.setdefault((row["prompt_id"], start), []).append(digest)
    pairs = sum(math.comb(len(of_prompt), 2) for of_prompt in pictures.values())
    alike = sum(
        math.comb(count, 2)
        for of_prompt in pictures.values()
        for count in Counter(of_prompt).values()
    )
    return alike, pairs


def near_repeats(table: Table, system: str, *, one_start: bool = False) -> tuple[int, int]:
    """The same of pictures whose features all but agree, which noise in the last bits leaves so.

    Near is a twentieth of the median distance between pictures of different prompts. Of honest
    systems here at most one pair in ten is that near; noise of 8 levels in 255 leaves nearly all.
    """
    features = table.evidence.features.get(system)
    rows = [
        row
        for part in ("core", "filler")
        for row in table.rows(system, part=part)
        if row.category not in APART and not row.failed
    ]
    if features is None or len(rows) < 2:
        return 0, 0

    def distance(a: Row, b: Row) -> float:
        return float(np.linalg.norm(features[a.index] - features[b.index]))

    apart = [distance(a, b) for a, b in itertools.pairwise(rows) if a.prompt != b.prompt]
    near = _NEAR * statistics.median(apart) if apart else 0.0
    drawn: dict[tuple[str, int | None], list[Row]] = {}
    for row in rows:
        drawn.setdefault((row.prompt, row.pair if one_start else None), []).append(row)
    distances = [
        distance(a, b) for group in drawn.values() for a, b in itertools.combinations(group, 2)
    ]
    return sum(d < near for d in distances), len(distances)


def seeds_ignored(table: Table, system: str) -> str:
    """That most pairs of a system's pictures of one prompt are the same; empty where they are not.

    Captions that leave little open may be answered alike now and then; a table of answers, a
    constant picture and a generator that drops its seed are alike always, and what remembers its
    answers is while it runs.
    """
    for one_start in (False, True):
        for how, (alike, pairs) in (
            ("the same bit for bit", repeats(table.evidence, system, one_start=one_start)),
            ("the same but for noise", near_repeats(table, system, one_start=one_start)),
        ):
            if pairs >= _FEWEST_PAIRS and alike > pairs / 2:
                return (
                    f"{system} ignores the seed: of {pairs:,} pairs of its pictures of one prompt, "
                    f"asked with different seeds, {alike:,} are {how}"
                )
    return ""

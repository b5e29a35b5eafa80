"""A factor taken apart along a path of baselines, from bundles that share their candidate.

Bundles in order: the first holds the whole factor, each later one a baseline nearer to the
candidate. A step's factor is the quotient of two neighbouring ratios, so that the product over all
steps is the whole. What each step does to quality stands beside it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import bundle, environment
from harness.errors import InputError
from harness.ratio import measured_ratio
from harness.records import Evidence
from harness.stats import ALPHA, Ratio

__all__ = ["Step", "factors"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """From one system to the next: how many times less processor time, and verified content.

    `low` and `high` take the two ratios as independent and add the squares of their half-widths,
    which covers at least 95%. `before` and `after` are shares with their 95% interval; None where
    a bundle has none.
    """

    here: str
    there: str
    factor: float
    low: float
    high: float
    before: tuple[float, float, float] | None
    after: tuple[float, float, float] | None


def factors(runs: Sequence[Path]) -> list[Step]:
    """The steps, then the whole. Raises InputError on bundles that do not make one path."""
    if len(runs) < 2:
        raise InputError("Name at least two bundles with one candidate, the whole factor first.")
    found = [_read(run) for run in runs]
    (first, _), candidate = found[0], found[0][0].candidate
    for run, (evidence, _) in zip(runs[1:], found[1:], strict=True):
        _same(runs[0], first, run, evidence)
    names = [evidence.baseline for evidence, _ in found] + [candidate]
    if len(set(names)) < len(names):
        raise InputError(f"The path {' -> '.join(names)} meets a system twice. Leave one out.")
    shares = [_verified(run, e.baseline) for run, (e, _) in zip(runs, found, strict=True)]
    shares.append(_verified(runs[0], candidate))
    steps = []
    for i, (_, ratio) in enumerate(found):
        rest = found[i + 1][1] if i + 1 < len(found) else None
        log = math.log(ratio.estimate) - (math.log(rest.estimate) if rest else 0.0)
        half = math.hypot(ratio.half(ALPHA), rest.half(ALPHA) if rest else 0.0)
        steps.append(_step(names[i : i + 2], log, half, shares[i], shares[i + 1]))
    whole = found[0][1]
    ends = [names[0], candidate]
    log, half = math.log(whole.estimate), whole.half(ALPHA)
    return [*steps, _step(ends, log, half, shares[0], shares[-1])]


def _step(
    names: Sequence[str],
    log: float,
    half: float,
    before: tuple[float, float, float] | None,
    after: tuple[float, float, float] | None,
) -> Step:
    return Step(
        here=names[0],
        there=names[1],
        factor=math.exp(log),
        low=math.exp(log - half),
        high=math.exp(log + half),
        before=before,
        after=after,
    )


def _read(run: Path) -> tuple[Evidence, Ratio]:
    bundle.read_manifest(run)
    evidence = bundle.evidence(run)
    found = measured_ratio(evidence, None)
    if found.ratio is None or not found.admissible:
        raise InputError(f"{run} has no ratio of processor time that decides: {found.reason}")
    return evidence, found.ratio


def _same(first: Path, mine: Evidence, run: Path, theirs: Evidence) -> None:
    """Refuses another candidate, another machine, and other prompts, with both values."""
    weights = [e.cards.get(e.candidate, {}).get("weights_sha256") for e in (mine, theirs)]
    if weights[0] != weights[1] or mine.candidate != theirs.candidate:
        raise InputError(
            f"{first} and {run} have other candidates ({mine.candidate} {weights[0]} against "
            f"{theirs.candidate} {weights[1]}). Audit one candidate against each baseline."
        )
    machines = [bundle.read_json(path / "environment.json") for path in (first, run)]
    if differing := environment.unlike(*machines):
        raise InputError(f"{first} and {run} were measured apart ({'; '.join(differing)}).")
    if mine.settings.get("suite") != theirs.settings.get("suite") or mine.prompts != theirs.prompts:
        raise InputError(f"{first} and {run} asked other prompts. Audit both on one set.")


def _verified(run: Path, system: str) -> tuple[float, float, float] | None:
    for row in bundle.read_table(run, "scores"):
        if (row["system"], row["metric"], row["category"]) == (system, "verified", "all"):
            ends = (row["value"], row["low"], row["high"])
            return None if None in ends else ends
    return None

"""A factor taken apart along a path of baselines, from bundles that share their candidate.

Bundles in order: the first holds the whole factor, each later one a baseline nearer to the
candidate. A step's factor is the quotient of two neighbouring ratios, so that the product over all
steps is the whole. What each step does to quality stands beside it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import bundle, environment
from harness.errors import InputError
from harness.evidence import read_evidence
from harness.ratio import measured_ratio
from harness.records import Evidence
from harness.stats import ALPHA, Ratio

__all__ = ["Step", "factors"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """From one system to the next: how many times less processor time, and verified content.

    `low` and `high` take the two ratios as independent and add the squares of their half-widths:
    what varies within audits, not what changes from one audit's hour to the next's. `before` and
    `after` are shares with their 95% interval; None where a bundle has none.
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
    steps = []
    for i, (_, ratio) in enumerate(found):
        rest = found[i + 1][1] if i + 1 < len(found) else None
        log = math.log(ratio.estimate) - (math.log(rest.estimate) if rest else 0.0)
        half = math.hypot(ratio.half(ALPHA), rest.half(ALPHA) if rest else 0.0)
        after = runs[i + 1] if rest else runs[i]
        steps.append(_step(names[i : i + 2], log, half, (runs[i], after)))
    log, half = math.log(found[0][1].estimate), found[0][1].half(ALPHA)
    return [*steps, _step([names[0], candidate], log, half, (runs[0], runs[0]))]


def _step(
    names: Sequence[str],
    log: float,
    half: float,
    runs: tuple[Path, Path],
) -> Step:
    return Step(
        here=names[0],
        there=names[1],
        factor=math.exp(log),
        low=math.exp(log - half),
        high=math.exp(log + half),
        before=_verified(runs[0], names[0]),
        after=_verified(runs[1], names[1]),
    )


def _read(run: Path) -> tuple[Evidence, Ratio]:
    bundle.unchanged(run)
    evidence = read_evidence(run)
    found = measured_ratio(evidence, None)
    if found.ratio is None or not found.admissible:
        raise InputError(f"{run} has no ratio of processor time that decides: {found.reason}")
    return evidence, found.ratio


def _same(first: Path, mine: Evidence, run: Path, theirs: Evidence) -> None:
    """Refuses another candidate, another machine, and other prompts, with both values."""
    one, other = _candidate(first, mine), _candidate(run, theirs)
    if differing := environment.unlike(one, other, sorted({*one, *other})):
        raise InputError(
            f"{first} and {run} have other candidates ({'; '.join(differing)}). Audit one "
            "candidate against each baseline."
        )
    machines = [bundle.read_json(path / "environment.json") for path in (first, run)]
    if differing := environment.unlike(*machines):
        raise InputError(f"{first} and {run} were measured apart ({'; '.join(differing)}).")
    ours, other = (
        _compiled(cards[card])
        for cards, card in ((mine.cards, mine.baseline), (theirs.cards, theirs.baseline))
    )
    if None not in (ours, other) and ours != other:
        raise InputError(
            f"the baseline of {first} is compiled by {ours}, that of {run} by {other} (False: by "
            "nothing). Audit both in one runtime."
        )
    if mine.settings.get("suite") != theirs.settings.get("suite") or mine.prompts != theirs.prompts:
        raise InputError(f"{first} and {run} asked other prompts. Audit both on one set.")


def _compiled(card: Mapping[str, Any]) -> Any:
    """What compiled a pipeline, which cards of before did not tell; None for other systems."""
    known = False if str(card.get("name", "")).endswith("Pipeline") else None
    return (card.get("notes") or {}).get("compiled", known)


def _candidate(run: Path, evidence: Evidence) -> dict[str, Any]:
    """All that makes the candidate what it is: its name, its configuration, its weights."""
    name = evidence.candidate
    config = bundle.read_yaml(run / "config.yaml")["systems"][name]
    return {"name": name, **config, **evidence.cards.get(name, {}).get("weights_sha256", {})}


def _verified(run: Path, system: str) -> tuple[float, float, float] | None:
    for row in bundle.read_table(run, "scores"):
        if (row["system"], row["metric"], row["category"]) == (system, "verified", "all"):
            ends = (row["value"], row["low"], row["high"])
            return None if None in ends else ends
    return None

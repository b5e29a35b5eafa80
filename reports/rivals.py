"""The table of a series: what each technique costs beside what it draws, and every claim's outcome.

Read from the bundles of its rounds alone; the same bytes for the same bundles.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import bundle
from harness.attribute import mean_per_image
from harness.errors import InputError
from harness.evidence import read_evidence
from harness.ratio import measured_ratio
from harness.records import Evidence
from harness.traffic import traffic
from reports import numbers
from reports.costs import factors
from reports.html import environment
from reports.markdown import escape
from reports.pareto import Known, Pareto, pareto
from reports.verdicts import OUTCOMES, VerdictCard, verdict_cards
from suites.claims import load_claims_file

__all__ = ["PAGES", "SERIES", "read", "render", "series", "write"]

SERIES, PAGES = "rivals.json", ("rivals.html", "rivals.md")
METRICS = ("verified", "clip", "frechet", "recall")


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """One system of one round; of the baseline of several, that of the first one."""

    name: str
    against: str
    folder: str
    texts: Mapping[str, str]
    seconds: float | None
    verified: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a series says of a claim: the first round that asked it, and any others."""

    claim: str
    statement: str
    outcome: str
    badge: str
    round: str
    found: str
    asked: str
    scope: str
    reason: str
    others: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """All that the page shows."""

    size: str
    machine: str
    systems: tuple[System, ...]
    outcomes: tuple[Outcome, ...]
    missing: tuple[str, ...]
    plot: Pareto | None


def series(root: Path) -> dict[str, Any]:
    """What rivals.json says. Raises InputError where it is none."""
    told = bundle.read_json(root / SERIES)
    if not isinstance(told, dict) or not {"size", "rounds", "claims", "digests"} <= told.keys():
        raise InputError(f"{root / SERIES} tells of no series. It was edited or cut.")
    return told


def read(root: Path) -> Series:
    """Reads a series; rounds that are not finished are told as missing.

    Raises InputError for rounds of unlike machines, whose seconds make no table.
    """
    told = series(root)
    systems: list[System] = []
    verdicts: dict[str, list[tuple[str, VerdictCard]]] = {}
    missing, machine = [], ""
    for one in told["rounds"]:
        run = root / one["folder"]
        if one["folder"] not in told["digests"]:
            missing.append(one["folder"])
            continue
        evidence = read_evidence(run)
        here = str(evidence.settings.get("machine", ""))
        if machine and here != machine:
            raise InputError(
                f"{run}: machine is {here!r}, of an earlier round {machine!r}. Their seconds make "
                "no table; run the series on one machine."
            )
        machine = here
        scores = {
            (row["system"], row["metric"]): row
            for row in bundle.read_table(run, "scores")
            if row["category"] == "all"
        }
        known = {(system.name, system.against) for system in systems}
        if (evidence.baseline, "") not in known:
            systems.append(_system(evidence, scores, evidence.baseline, one["folder"]))
        systems.append(_system(evidence, scores, evidence.candidate, one["folder"]))
        claims = {claim.id: claim for claim in load_claims_file(run / "claims.yaml")}
        for card in verdict_cards(
            bundle.read_json(run / "verdicts.json"), claims, factors(evidence)
        ):
            verdicts.setdefault(card.claim, []).append((one["folder"], card))
    outcomes = [
        _outcome(claim, statement, verdicts.get(claim, []))
        for claim, statement in told["claims"].items()
    ]
    outcomes.sort(key=lambda one: (not one.round, list(OUTCOMES).index(one.outcome)))
    return Series(
        size=str(told["size"]),
        machine=machine,
        systems=tuple(systems),
        outcomes=tuple(outcomes),
        missing=tuple(missing),
        plot=_plot(systems),
    )


def write(root: Path) -> None:
    """Writes rivals.html and rivals.md beside the bundles."""
    for name in PAGES:
        bundle.write_bytes(root / name, render(root, name).encode())


def render(root: Path, name: str) -> str:
    """One of both pages, as text."""
    drawn = environment(html=name.endswith("html"))
    drawn.filters["md"] = escape
    return str(drawn.get_template(f"{name}.j2").render(series=read(root)))


# Rows --------------------------------------------------------------------------------------------


def _system(
    evidence: Evidence, scores: Mapping[tuple[str, str], Any], name: str, folder: str
) -> System:
    card = evidence.cards.get(name, {})
    work = next((one for one in traffic(evidence) if one.system == name), None)
    node = next((b for b in evidence.boundaries if b.name == "node"), None)
    joules, method = mean_per_image(evidence, name, node) if node else (None, None)
    seconds, _ = mean_per_image(evidence, name, None)
    candidate = name == evidence.candidate
    texts = {
        "size": numbers.size(card.get("parameter_bytes")),
        "evaluations": numbers.count(card.get("evaluations")),
        "multiply_adds": numbers.amount(work.multiply_adds if work else None),
        "bytes": numbers.size(work.unique_bytes if work else None),
        "joules": numbers.joules(joules),
        "method": method or "",
        "seconds": numbers.seconds(seconds),
        "ratio": "",
        "interval": "",
        "doubt": "",
    }
    if candidate:
        measured = measured_ratio(evidence, None)
        ratio = measured.ratio
        texts["doubt"] = measured.reason
        texts["ratio"] = numbers.ratio(ratio.estimate if ratio else None)
        texts["interval"] = numbers.interval(ratio.low, ratio.high, "times") if ratio else ""
    for metric in METRICS:
        row = scores.get((name, metric)) or {"value": None, "low": None, "high": None}
        write = numbers.percent if metric in ("verified", "recall") else numbers.significant
        texts[metric] = numbers.MISSING if row["value"] is None else write(row["value"])
    row = scores.get((name, "verified")) or {"value": None, "low": None, "high": None}
    texts["verified_interval"] = numbers.interval(row["low"], row["high"], "share")
    return System(
        name=name,
        against=evidence.baseline if candidate else "",
        folder=folder,
        texts=texts,
        seconds=seconds,
        verified=row["value"],
    )


def _outcome(claim: str, statement: str, found: Sequence[tuple[str, VerdictCard]]) -> Outcome:
    if not found:
        badge, _ = OUTCOMES["not_measured"]
        reason = "No round of this series asks it."
        return Outcome(
            claim=claim,
            statement=statement,
            outcome="not_measured",
            badge=badge,
            round="",
            found="",
            asked="",
            scope="",
            reason=reason,
            others=(),
        )
    folder, card = found[0]
    return Outcome(
        claim=claim,
        statement=card.statement,
        outcome=card.outcome,
        badge=card.badge,
        round=folder,
        found=" ".join(part for part in (card.estimate, card.interval, card.method) if part),
        asked=card.asked,
        scope=card.scope,
        reason=card.reasons[0] if card.reasons else "",
        others=tuple(
            f"{other}: {one.badge.lower()} {one.estimate} {one.interval}".rstrip()
            for other, one in found[1:]
        ),
    )


# Plot --------------------------------------------------------------------------------------------


def _is_first(one: System, systems: Sequence[System]) -> bool:
    """Whether this is a system's first row; another run of it is no other system."""
    return next(other for other in systems if other.name == one.name) is one


def _plot(systems: Sequence[System]) -> Pareto | None:
    """Verified content against processor time; labels are places in the table, from 1."""
    known = [
        Known(
            name=one.name,
            label=str(number),
            cost=one.seconds,
            verified=one.verified,
            title=f"{one.name}: {one.texts['seconds']} an image, {one.texts['verified']} verified",
        )
        for number, one in enumerate(systems, 1)
        if one.seconds and one.verified is not None and _is_first(one, systems)
    ]
    return pareto("Verified content, against processor time of an image", known, numbers.seconds)

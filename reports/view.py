"""A bundle as the report says it: words, rows and pictures, before any markup."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import bundle, stats
from harness.evidence import read_evidence
from harness.footprint import footprints
from harness.judge import request_seconds
from harness.records import Evidence
from harness.traffic import Traffic, traffic
from reports import conduct, costs, footprint, numbers, verdicts
from reports.apart import Step, taken_apart
from reports.costs import Cost, Factor, Idle
from reports.gallery import Exhibit, gallery
from reports.power import Power, power
from reports.rates import rates, rates_checked
from reports.verdicts import VerdictCard
from reports.work import work_rows
from suites.claims import load_claims_file

__all__ = ["SCOPE", "CategoryRow", "View", "listed", "read_view", "tables"]

Row = dict[str, Any]

SCOPE = (
    "A verdict holds for this suite, this machine and these weights, and for nothing wider: other "
    "pictures, other hardware or another batch can give another answer.",
    "Scores of the procedural suite are synthetic; they are not comparable to Inception FID, and "
    "say nothing about photographs.",
    "Processor time and latency are not energy. A factor in one is not a factor in the other.",
    "Joules stop at the boundary they are printed for; training and manufacture are in none.",
    "Inconclusive and not measured are not a mild form of refuted, nor of supported.",
)
# title of a table -> (metric, column head, unit)
DISTRIBUTION: tuple[tuple[str, tuple[tuple[str, str, str], ...]], ...] = (
    (
        "Distances from the reference pictures: smaller is better",
        (
            ("frechet", "Fréchet at n", ""),
            ("frechet_inf", "Fréchet, n → ∞", ""),
            ("kernel", "Kernel", ""),
        ),
    ),
    (
        "Agreement: larger is better",
        (
            ("verified", "Verified", "share"),
            ("clip", "CLIP", ""),
            ("precision", "Precision", "share"),
            ("recall", "Recall", "share"),
            ("density", "Density", ""),
            ("coverage", "Coverage", "share"),
        ),
    ),
)
CONTROL_WORDS: Mapping[str, str] = {
    "control:reference": "fresh reference renders: the noise floor",
    "control:blur": "blurred renders: must score worse",
    "control:jpeg30": "JPEG at quality 30: must score worse",
    "control:shuffled": "prompts shuffled: right pictures, wrong prompts",
    "control:dropped-modes": "some kinds of picture left out: recall must fall",
}


def tables(
    others: Mapping[str, str],
) -> tuple[tuple[str, tuple[tuple[str, str, str], ...]], ...]:
    """The tables of distribution scores; one more where other networks measured distances."""
    if not others:
        return DISTRIBUTION
    title = "Fréchet distance at n by other networks, of one picture a prompt: smaller is better"
    return (*DISTRIBUTION, (title, tuple((metric, head, "") for metric, head in others.items())))


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoryRow:
    """Verified content of every system in one category; cells are score rows or None."""

    label: str
    cells: tuple[Row | None, ...]
    pooled: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """All a report shows, in the order it shows it."""

    title: str
    answer: tuple[tuple[str, str], ...]
    facts: tuple[tuple[str, str], ...]
    digest: str
    candidate: str
    baseline: str
    systems: tuple[str, ...]
    verdicts: tuple[VerdictCard, ...]
    factors: tuple[Factor, ...]
    apart: tuple[Step, ...]
    goal: float | None
    scored: tuple[str, ...]
    categories: tuple[CategoryRow, ...]
    repeats: tuple[str, ...]
    challenge: tuple[str, ...]
    distribution: tuple[tuple[str, str, Mapping[str, Row]], ...]
    others: Mapping[str, str]
    costs: tuple[Cost, ...]
    cost_gaps: tuple[str, ...]
    speed: tuple[Row, ...]
    rates: tuple[Row, ...]
    rates_checked: tuple[str, ...]
    footprints: tuple[Row, ...]
    tariff: str
    break_even: str
    traffic: tuple[Traffic, ...]
    work: tuple[Row, ...]
    idle: tuple[Idle, ...]
    power: Power | None
    void: tuple[tuple[str, str], ...]
    remarks: tuple[tuple[str, str], ...]
    cards: tuple[Row, ...]
    gallery: tuple[Exhibit, ...]
    meter: tuple[Row, ...]
    metering: str
    environment: tuple[tuple[str, str], ...]
    config: str
    bundle_files: int


def read_view(root: Path) -> View:
    """Read a closed bundle; InputError where it is none."""
    manifest = bundle.read_manifest(root)
    evidence = read_evidence(root)
    scores = bundle.read_table(root, "scores")
    claims = {c.id: c for c in load_claims_file(root / "claims.yaml")}
    environment = bundle.read_json(root / "environment.json")
    judged = bundle.read_json(root / "verdicts.json")
    systems = listed(evidence)
    found = tuple(costs.factors(evidence))
    cards = verdicts.verdict_cards(judged, claims, found)
    verified = {
        r["system"]: r["value"]
        for r in scores
        if (r["metric"], r["category"]) == ("verified", "all")
    }
    spent = tuple(costs.costs(evidence, systems, verified))
    scored = tuple(s for s in systems if any(r["system"] == s for r in scores))
    moved, spread = tuple(traffic(evidence)), footprints(evidence)
    others = _others(scores, evidence.settings)
    return View(
        title=f"{evidence.candidate} against {evidence.baseline}",
        answer=verdicts.answer(cards, claims, evidence.candidate, evidence.baseline),
        facts=_facts(manifest, evidence),
        digest=bundle.manifest_digest(root),
        candidate=evidence.candidate,
        baseline=evidence.baseline,
        systems=systems,
        verdicts=cards,
        factors=found,
        apart=taken_apart(evidence, found, spent, moved, spread),
        goal=verdicts.goal(claims),
        scored=scored,
        categories=_categories(scores, scored),
        repeats=conduct.repeated(evidence, systems),
        challenge=conduct.challenge(evidence, systems),
        distribution=_distribution(scores, systems, others),
        others=others,
        costs=spent,
        cost_gaps=_gaps(spent),
        speed=tuple(_speed(evidence, system) for system in systems),
        rates=rates(evidence),
        rates_checked=rates_checked(evidence),
        footprints=tuple(footprint.row(one, evidence) for one in spread),
        tariff=footprint.tariff(evidence),
        break_even=footprint.paid_back(evidence),
        traffic=moved,
        work=work_rows(moved),
        idle=tuple(costs.idle(evidence)),
        power=power(root, evidence),
        void=tuple(
            (row["window"], row["reason"])
            for row in costs.one_of_each(evidence.windows)
            if row["void"]
        ),
        remarks=_remarks(evidence),
        cards=tuple(_plain_card(name, evidence.cards.get(name, {})) for name in systems),
        gallery=gallery(root, evidence, systems),
        meter=_meter(environment.get("meter") or {}),
        metering=_metering(evidence),
        environment=tuple(
            _flat({k: v for k, v in environment.items() if k not in ("meter", "boundaries")})
        ),
        config=(root / "config.yaml").read_text("utf-8"),
        bundle_files=len(manifest.get("files", ())),
    )


def _remarks(evidence: Evidence) -> tuple[tuple[str, str], ...]:
    """How each warm-up ended, and what was noted of windows that count: (window, remark)."""
    return tuple(
        dict.fromkeys(
            (f"{row['window']}, {row['kind']} of {row['system']}", row["reason"])
            for row in evidence.windows
            if row["reason"] and not row["void"]
            if row["kind"] == "warmup" or row["energy_j"] is not None
        )
    )


# Systems and their costs -----------------------------------------------------------------------


def listed(evidence: Evidence) -> tuple[str, ...]:
    """Candidate, baseline, then every other system by name; controls are shown apart."""
    seen = {row["system"] for row in evidence.requests}
    seen |= {row["system"] for row in evidence.windows if row["kind"] in ("block", "null")}
    first = [evidence.candidate, evidence.baseline]
    return tuple(first + sorted(s for s in seen if s not in first and ":" not in s))


def _gaps(spent: Sequence[Cost]) -> tuple[str, ...]:
    """Each reason for a missing figure once, with all it is the reason for."""
    found: dict[str, dict[str, list[str]]] = {}
    for cost in spent:
        if cost.mean is None:
            found.setdefault(cost.reason, {}).setdefault(cost.what, []).append(cost.system)
    return tuple(
        "; ".join(f"{what} of {', '.join(systems)}" for what, systems in where.items())
        + (f" ({reason.rstrip('.')})" if reason else "")
        for reason, where in found.items()
    )


def _speed(evidence: Evidence, system: str) -> Row:
    """Batch, windows, images and latency of one system; None where nothing was recorded."""
    rows = [r for r in costs.one_of_each(evidence.windows) if r["system"] == system]
    served = [r for r in rows if r["kind"] in ("block", "null") and not r["void"]]
    loads = [r for r in rows if r["kind"] == "load"]
    latencies = request_seconds(evidence, system)
    return {
        "system": system,
        "batch": served[0]["batch"] if served else None,
        "windows": len(served),
        "images": sum(r["requests"] - r["failures"] for r in served),
        "p50": stats.quantile_interval(latencies, 0.5) if latencies else None,
        "p95": stats.quantile_interval(latencies, 0.95) if latencies else None,
        "load_s": _median(r["duration_s"] for r in loads),
        "load_cpu_s": _median(r["cpu_s"] for r in loads),
    }


def _median(values: Iterable[float | None]) -> float | None:
    """The median over a system's starts; None where one has no value."""
    found = list(values)
    told = [value for value in found if value is not None]
    return statistics.median(told) if told and len(told) == len(found) else None


def _plain_card(name: str, card: Mapping[str, Any]) -> Row:
    return {
        "name": name,
        "parameters": numbers.count(card.get("parameters")),
        "bytes": numbers.count(card.get("parameter_bytes")),
        "precision": card.get("precision") or numbers.MISSING,
        "steps": numbers.count(card.get("steps")),
        "evaluations": numbers.count(card.get("evaluations")),
        "active": tuple(
            (k.replace("_", " "), numbers.percent(v)) for k, v in (card.get("active") or {}).items()
        ),
        "weights": tuple((card.get("weights_sha256") or {}).items()),
        "notes": tuple(_flat(card.get("notes") or {})),
    }


# Quality ---------------------------------------------------------------------------------------


def _categories(scores: Sequence[Row], systems: Sequence[str]) -> tuple[CategoryRow, ...]:
    """Pooled first, then categories from the candidate's worst; those without a score last."""
    verified = {(r["category"], r["system"]): r for r in scores if r["metric"] == "verified"}
    pooled = "all but emblem" if any(c == "emblem" for c, _ in verified) else "all"
    names = {c for c, s in verified if s in systems} - {"all"}

    def rank(name: str) -> tuple[bool, float, str]:
        row = verified.get((name, systems[0]))
        known = row is not None and row["value"] is not None
        return (not known, row["value"] if known and row else 0.0, name)

    order = (["all"] if any(c == "all" for c, _ in verified) else []) + sorted(names, key=rank)
    return tuple(
        CategoryRow(
            label=pooled if name == "all" else name,
            cells=tuple(verified.get((name, s)) for s in systems),
            pooled=name == "all",
        )
        for name in order
    )


def _others(scores: Sequence[Row], settings: Mapping[str, Any]) -> dict[str, str]:
    """Metrics that no built-in table has, with the mode and hash of the network they are by."""
    built_in = {metric for _, heads in DISTRIBUTION for metric, _, _ in heads}
    heads = {}
    for metric in sorted({row["metric"] for row in scores} - built_in):
        facts = (settings.get("whole") or {}).get(metric) or {}
        told = [str(facts.get("mode", "")), str(facts.get("network_sha256", ""))[:8]]
        heads[metric] = f"{metric} ({', '.join(filter(None, told)) or 'unknown network'})"
    return heads


def _distribution(
    scores: Sequence[Row], systems: Sequence[str], others: Mapping[str, str]
) -> tuple[tuple[str, str, Mapping[str, Row]], ...]:
    """(system, words, metric -> score) for the systems, then for the controls."""
    shown = {metric for _, heads in DISTRIBUTION for metric, _, _ in heads} | {*others}
    pooled = {
        (r["system"], r["metric"]): r
        for r in scores
        if r["category"] == "all" and r["metric"] in shown
    }
    controls = sorted({s for s, _ in pooled if s.startswith("control:")})
    listed = [c for c in CONTROL_WORDS if c in controls]
    listed += [c for c in controls if c not in CONTROL_WORDS]
    return tuple(
        (
            system,
            CONTROL_WORDS.get(system, ""),
            {m: row for (s, m), row in pooled.items() if s == system},
        )
        for system in (*systems, *listed)
        if any((system, m) in pooled for m in shown)
    )


# Facts -----------------------------------------------------------------------------------------


def _facts(manifest: Row, evidence: Evidence) -> tuple[tuple[str, str], ...]:
    blocks = [r for r in evidence.windows if r["kind"] == "block" and not r["void"]]
    pairs = {r["pair"] for r in blocks}
    core = [r for r in costs.scored_core(evidence) if r["system"] == evidence.candidate]
    return (
        ("Suite", _words(manifest.get("suite"))),
        ("Pairs of blocks", numbers.count(len(pairs))),
        ("Images scored per system", numbers.count(len(core))),
        ("Audited", _words(manifest.get("created"))),
        ("un0bench", _words(manifest.get("un0bench_version"))),
        *conduct.walls(manifest),
    )


def _meter(card: Mapping[str, Any]) -> tuple[Row, ...]:
    """Every domain the meters know: what reads it, how finely, and why not where nothing does."""
    return tuple(
        {
            "domain": row["domain"],
            "method": row["method"] or "",
            "resolution": numbers.joules(row["resolution_j"]),
            "accuracy": numbers.percent(row["accuracy"]),
            "reason": row["reason"],
        }
        for row in card.get("domains", ())
    )


def _metering(evidence: Evidence) -> str:
    """Processor time that reading the meters took; empty of a bundle that does not say."""
    share = evidence.settings.get("metering_share")
    return "" if share is None else numbers.percent(share)


def _words(value: Any) -> str:
    if value is None or value == "":
        return numbers.MISSING
    if isinstance(value, Mapping):
        return ", ".join(str(v) for v in value.values() if not isinstance(v, Mapping | list))
    return str(value)


def _flat(value: Any, name: str = "") -> Iterable[tuple[str, str]]:
    """Nested plain data as (dotted name, text), in the order it is kept."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, str):
        yield name, value
    elif value is None or value in ({}, []):
        yield name, "none"
    else:
        yield name, json.dumps(value, ensure_ascii=False, sort_keys=True)

"""Whether a score of the candidate lies in a published range, such as a benchmark's own rule.

A distance is of the first picture of each prompt, for which such rules are made: another number of
pictures has another distance. A mean is of all pictures; its interval is over seeds where every
prompt was drawn twice or more, since the prompts are the rule's own, and over prompts otherwise,
which is wider.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import fmean, variance
from typing import Any

from scipy import stats as distributions

from harness.findings import Finding, unmeasured
from harness.metrics.frechet import GROUPS
from harness.metrics.summary import Table
from harness.records import Claim, Part, Range
from harness.stats import ALPHA, Jackknife

__all__ = ["ranges"]

FEWEST = 2 * GROUPS  # prompts, for the interval of a distance


def ranges(table: Table, claim: Claim) -> list[Finding]:
    """A finding for every range of the claim."""
    return [_range(table, asked, claim.min_prompts) for asked in claim.ranges]


def _range(table: Table, asked: Range, min_prompts: int) -> Finding:
    candidate, name = table.evidence.candidate, f"{asked.metric} in its range"
    whole = asked.metric in table.evidence.whole
    found = _distance(table, asked.metric) if whole else _mean(table, asked.metric)
    if isinstance(found, str):
        return Finding(part=unmeasured(name, None, f"{asked.metric} was not scored: {found}."))
    value, spread, prompts, over = found
    inside = asked.low <= value <= asked.high
    told = f"{asked.metric} of {candidate} is {value:.6g}"
    if spread is not None:
        told += f" (95% interval {spread.low:.6g} to {spread.high:.6g}, over {over})"
    told += f", {prompts} prompts; asked {asked.low:.10g} to {asked.high:.10g}."
    if whole:
        told += _beside(table.evidence.settings, asked.metric)
    part = Part(
        name=name,
        outcome="inconclusive",
        estimate=value,
        low=None if spread is None else spread.low,
        high=None if spread is None else spread.high,
        n=prompts,
        reason=told,
    )
    if prompts < min_prompts or spread is None:
        least = max(min_prompts, FEWEST)
        more = f"Nothing is decided of fewer than {least:,} prompts."
        return Finding(part=part, more=more)
    within = asked.low <= spread.low and spread.high <= asked.high
    side = "inside" if inside else "outside"
    more = "" if within else f"The figure alone lies {side}; its interval reaches across an end."
    if not within and over == "prompts" and not whole:
        more += " Drawn twice each, prompts would have a narrower one, over seeds alone."
    beyond = spread.p_below(asked.low), spread.p_above(asked.high)
    return Finding(part=part, supports=within, p_refuted=min(beyond), more=more)


Found = tuple[float, Jackknife | None, int, str]  # value, spread, prompts, what it varies over


def _distance(table: Table, metric: str) -> Found | str:
    found = table.distance(metric, table.evidence.candidate)
    if found is None:
        return "no features of its pictures are there"
    return found.value, found.spread, found.n, "prompts"


def _mean(table: Table, metric: str) -> Found | str:
    """Mean over prompts of what their pictures have. Raises nothing: what lacks is told."""
    candidate = table.evidence.candidate
    means = table.by_prompt(candidate, metric)
    if means is None:
        return "it has no value for some of the pictures, or there is no such extractor"
    if len(means) < 2:
        return "fewer than two prompts were scored"
    count, value = len(means), fmean(means.values())
    drawn: dict[str, list[float]] = {prompt: [] for prompt in means}
    for row in table.pooled(candidate):
        drawn[row.prompt].append(row.values.get(metric, math.nan))
    if min(map(len, drawn.values())) > 1 and not any(
        math.isnan(v) for d in drawn.values() for v in d
    ):
        error = math.sqrt(sum(variance(of) / len(of) for of in drawn.values())) / count
        freedom, over = sum(len(of) - 1 for of in drawn.values()), "seeds"
    else:
        error, freedom, over = math.sqrt(variance(means.values()) / count), count - 1, "prompts"
    half = float(distributions.t.ppf(1 - ALPHA, freedom)) * error
    spread = Jackknife(
        estimate=value, low=value - half, high=value + half, error=error, groups=freedom + 1
    )
    return value, spread, count, over


def _beside(settings: Mapping[str, Any], metric: str) -> str:
    facts = (settings.get("whole") or {}).get(metric) or {}
    told = [f"{key} {str(value)[:12]}" for key, value in sorted(facts.items()) if key != "mode"]
    mode = f"mode {facts['mode']}" if facts.get("mode") else ""
    text = ", ".join([*([mode] if mode else []), *told])
    return f" Measured with {text}." if text else ""

"""A regression gate: is the candidate no worse than before, by limits that a YAML file states?

Each limit is a test of non-inferiority. What cannot be told counts as failed unless the file says
otherwise: a gate that passes what it did not see is none.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from harness import assets, bundle
from harness.compare import Audit, Figure, compared, same_pictures
from harness.errors import ConfigError
from harness.inputs import known

__all__ = ["Check", "GateResult", "gate", "read_limits"]

DEFAULT = "package:conf/gate.yaml"
COSTS = {
    "time": "processor time",
    "energy": "energy of the node",
    "memory": "memory",
    "latency": "latency p95",
}
QUALITY = ("verified", "category", "clip", "recall", "frechet")
UNDECIDED = ("fail", "pass")
MIN_PROMPTS = 30  # under which an interval of shares is not trusted, unless all pictures are alike

Outcome = Literal["passed", "failed", "undecided"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One figure against its limit; `reason` says in words what was found, and how well it sees."""

    name: str
    outcome: Outcome
    limit: float
    figure: Figure
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GateResult:
    """`passed` is the gate's answer; `alike` of `shared` pictures are the same bit for bit."""

    passed: bool
    checks: tuple[Check, ...]
    alike: int
    shared: int


def read_limits(path: str | Path = DEFAULT) -> dict[str, Any]:
    """Limits by name, and `undecided`. Raises ConfigError for one that no gate could hold."""
    file = assets.resolve(path)
    limits = bundle.read_yaml(file)
    if not isinstance(limits, Mapping):
        raise ConfigError(f"{file} holds no limits; write them as in conf/gate.yaml.")
    for name, value in limits.items():
        known(str(name), (*COSTS, *QUALITY, "undecided"), f"limit of {file}")
        if name == "undecided":
            known(str(value), UNDECIDED, f"value of undecided in {file}")
        elif value is not None and not _fits(name, value):
            raise ConfigError(f"{file}: {name}={value!r}; {_asked(name)}, or null.")
    return {"undecided": "fail", **limits}


def gate(before: Audit, after: Audit, limits: Mapping[str, Any]) -> GateResult:
    """Holds the candidate of `after` to that of `before`. Raises InputError on unlike audits."""
    alike, shared = same_pictures(before, after)
    checks = tuple(_checks(compared(before, after), limits, alike == shared))
    if not checks:
        raise ConfigError("The limits ask for nothing. Name at least one that is not null.")
    bad = {"failed"} | ({"undecided"} if limits["undecided"] == "fail" else set())
    passed = not any(check.outcome in bad for check in checks)
    return GateResult(passed=passed, checks=checks, alike=alike, shared=shared)


def _checks(figures: Sequence[Figure], limits: Mapping[str, Any], alike: bool) -> Iterator[Check]:
    for figure in figures:
        if figure.kind == "points" and not alike and (figure.n or 0) < MIN_PROMPTS:
            told = f"{figure.n or 0} prompts were scored; {MIN_PROMPTS} would be trusted"
            figure = replace(figure, reason=figure.reason or told)
        key = next((k for k, name in COSTS.items() if name == figure.name), figure.name)
        limit = limits.get("category" if figure.name.startswith("verified: ") else key)
        if limit is None or limit is False:
            continue
        bound = 0.0 if figure.kind == "excess" else float(limit)
        outcome = _outcome(figure, bound)
        yield Check(
            name=figure.name,
            outcome=outcome,
            limit=bound,
            figure=figure,
            reason=_told(figure, bound, outcome),
        )


def _outcome(figure: Figure, limit: float) -> Outcome:
    if figure.low is None or figure.high is None or figure.reason:
        return "undecided"
    better, worse = figure.low, figure.high
    if figure.kind == "points":  # more is better: turn it round
        better, worse = -figure.high, -figure.low
    if worse <= limit:
        return "passed"
    return "failed" if better > limit else "undecided"


def _told(figure: Figure, limit: float, outcome: Outcome) -> str:
    if figure.change is None:
        return f"{figure.name} was not compared: {figure.reason}."
    if figure.kind == "times":
        found = f"{figure.change:.3f} times as much [{figure.low:.3f}, {figure.high:.3f}]"
        asked = f"at most {limit:g} times"
    elif figure.kind == "points":
        ends = ", ".join("?" if e is None else f"{100 * e:+.1f}" for e in (figure.low, figure.high))
        found = f"{100 * figure.change:+.1f} points [{ends}]"
        asked = f"at least {-100 * limit:+.1f}"
    else:
        found = f"{figure.change:+.4f} [{figure.low:+.4f}, {figure.high:+.4f}] beyond 1.1 times"
        asked = "at most 0"
    text = f"{figure.name}: {found}, asked {asked}."
    if figure.reason:
        text += f" It cannot decide: {figure.reason.rstrip('.')}."
    elif outcome == "undecided":
        text += " The interval reaches past the limit."
    return text


def _fits(name: str, value: Any) -> bool:
    if name == "frechet":
        return isinstance(value, bool)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value) and (value >= 1 if name in COSTS else 0 <= value <= 1)


def _asked(name: str) -> str:
    if name == "frechet":
        return "it is true or false"
    return "it is a factor of at least 1" if name in COSTS else "it is a share from 0 to 1"

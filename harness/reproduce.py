"""Runs a bundle's audit again, here, and says figure by figure whether it comes out the same.

The same configuration, claims, prompts and salt, so the same requests in the same order. A figure
is the same where the interval of its change holds no change, different where it does not, and not
comparable where something decides it that is not the same here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from harness import assets, bundle
from harness.audit import audit
from harness.compare import Figure, compared, read_audit, same_pictures
from harness.errors import InputError

__all__ = ["Line", "reproduce"]

OWN = ("harness.systems.", "harness.meters.", "harness.metrics.")
MEMORY = 0.1

Outcome = Literal["same", "different", "not comparable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One figure or verdict of the bundle, and how it came out here."""

    name: str
    outcome: Outcome
    reason: str
    figure: Figure | None = None


def reproduce(run: Path, again: Path, *, trust: bool = False) -> list[Line]:
    """Audits again into `again`, or takes the finished audit there; going on after a stop.

    A bundle names the classes that are run. Those outside this package are refused unless `trust`.
    Raises InputError where the bundle's audit cannot be run here, AuditStopped where it stopped.
    """
    manifest = bundle.read_manifest(bundle.unchanged(run))
    if not (again / "manifest.json").is_file():
        config = _config(run, manifest, again)
        foreign = [] if trust else sorted(set(_targets(config)))
        if foreign:
            raise InputError(
                f"{run} would run code that is not un0bench's ({', '.join(foreign)}). Read it, and "
                "give --trust to run it."
            )
        audit(config, again, resume=(again / "config.yaml").is_file())
    before, after = read_audit(run), read_audit(again)
    alike, shared = same_pictures(before, after)
    pictures = Line(
        name="pictures",
        outcome="same" if alike == shared else "different",
        reason=f"{alike} of {shared} pictures of the candidate are the same, bit for bit",
    )
    return [*_verdicts(run, again), *(_line(one) for one in compared(before, after)), pictures]


def _config(run: Path, manifest: dict[str, Any], again: Path) -> dict[str, Any]:
    """The bundle's configuration under another name, with its salt and its own copies as input."""
    if not manifest.get("salt"):
        raise InputError(f"{run} tells no salt, so its requests cannot be asked again.")
    defaults = bundle.read_yaml(assets.resolve("package:conf/audit.yaml"))
    told: dict[str, Any] = bundle.read_yaml(run / "config.yaml")
    suite = dict(told["suite"])
    if suite.get("prompts"):
        suite["prompts"] = str((run / "prompts.jsonl").absolute())
    return {
        **{key: value for key, value in defaults.items() if key != "defaults"},  # newer settings
        **told,
        "suite": suite,
        "claims": [str((run / "claims.yaml").absolute())],
        "salt": manifest["salt"],
        "name": again.name,
        "out": str(again.parent),
    }


def _targets(config: Any) -> Iterator[str]:
    """Every class a configuration names that is not a system, meter or measure of this package."""
    if isinstance(config, Mapping):
        target = str(config.get("_target_", ""))
        if target and not target.startswith(OWN):
            yield target
        for value in config.values():
            yield from _targets(value)
    elif isinstance(config, list):
        for value in config:
            yield from _targets(value)


def _verdicts(run: Path, again: Path) -> Iterator[Line]:
    sides: list[dict[tuple[str, int], dict[str, Any]]] = []
    for path in (run, again):
        count: Counter[str] = Counter()
        side = {}
        for verdict in bundle.read_json(path / "verdicts.json"):
            side[verdict["claim"], count[verdict["claim"]]] = verdict
            count[verdict["claim"]] += 1
        sides.append(side)
    for key, verdict in sides[0].items():
        there, here = verdict["outcome"], sides[1].get(key, {}).get("outcome", "missing")
        told = there if there == here else f"{there} there, {here} here"
        name = f"{key[0]} ({verdict['scope']})" if key[1] else key[0]
        yield Line(name=name, outcome="same" if there == here else "different", reason=told)


def _line(figure: Figure) -> Line:
    if figure.same is None:
        reason = figure.reason or "it has no interval"
        return Line(name=figure.name, outcome="not comparable", reason=reason, figure=figure)
    same, told = figure.same, "the interval of its change"
    if figure.name == "memory":  # read once: a process does not land on the same byte twice
        same, told = abs((figure.change or 0.0) - 1) <= MEMORY, f"{MEMORY:.0%} either way"
    reason = f"within {told}" if same else f"beyond {told}"
    return Line(
        name=figure.name,
        outcome="same" if same else "different",
        reason=f"{reason}, modelled" if figure.method == "modelled" else reason,
        figure=figure,
    )

"""Runs a bundle's audit again, here, and says figure by figure whether it comes out the same.

The same configuration, claims, prompts and salt, so the same requests in the same order. A figure
is the same where the interval of its change holds no change, different where it does not, and not
comparable where something decides it that is not the same here.
"""

from __future__ import annotations

import re
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

ADDED = ("work", "load")  # settings that older bundles do not have
MEMORY = 0.25

Outcome = Literal["same", "different", "not comparable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One figure or verdict of the bundle, and how it came out here."""

    name: str
    outcome: Outcome
    reason: str
    figure: Figure | None = None


def reproduce(run: Path, again: Path, *, trust: bool = False) -> list[Line]:
    """Audits again into `again`, or takes the run again that is there; goes on after a stop.

    A bundle names the classes that are run. Those outside the package's own configuration, and what
    would be fetched, are refused unless `trust`. Raises InputError where the bundle's audit cannot
    be run here, AuditStopped where it stopped.
    """
    manifest = bundle.read_manifest(bundle.unchanged(run))
    config = _config(run, manifest, again)
    if not trust and (foreign := sorted(set(_foreign(config)))):
        raise InputError(
            f"{run} would run or fetch what is not un0bench's ({', '.join(foreign)}). Read it, and "
            "give --trust to run it."
        )
    begun = (again / "config.yaml").is_file()
    if begun and bundle.read_yaml(again / "config.yaml") != config:
        raise InputError(
            f"{again} is no run of {run} again. Delete it, or give another folder with --out."
        )
    if not (again / "manifest.json").is_file():
        audit(config, again, resume=begun)
    before, after = read_audit(run), read_audit(again)
    lines = [*_verdicts(run, again), *(_line(one) for one in compared(before, after))]
    return [*lines, _pictures(*same_pictures(before, after))]


def _pictures(alike: int, shared: int) -> Line:
    outcome: Outcome = "same" if alike == shared else "different"
    return Line(
        name="pictures",
        outcome=outcome if shared else "not comparable",
        reason=f"{alike} of {shared} pictures of the candidate are the same, bit for bit",
    )


def _config(run: Path, manifest: dict[str, Any], again: Path) -> dict[str, Any]:
    """The bundle's configuration under another name, with its salt and its own copies as input."""
    if not manifest.get("salt"):
        raise InputError(f"{run} tells no salt, so its requests cannot be asked again.")
    defaults = bundle.read_yaml(assets.resolve("package:conf/audit.yaml"))
    told = bundle.read_yaml(run / "config.yaml")
    suite = told.get("suite") if isinstance(told, Mapping) else None
    if not isinstance(told, Mapping) or not isinstance(suite, Mapping):
        raise InputError(f"{run}/config.yaml is no configuration of an audit. It was edited.")
    brought = str((run / "prompts.jsonl").absolute())
    own = {"prompts": brought, "sha256": None} if suite.get("prompts") else {}
    return {
        **{key: value for key, value in defaults.items() if key != "defaults"},
        **dict.fromkeys(ADDED, False),  # an audit of before had none of it
        **told,
        "suite": {**suite, **own},
        "claims": [str((run / "claims.yaml").absolute())],
        "salt": manifest["salt"],
        "name": again.name,
        "out": str(again.parent),
        "executor": {"name": "local"},
        "reproduces": bundle.manifest_digest(run),
    }


def _own_targets() -> set[str]:
    """Every class that the package's own configuration names."""
    folder = assets.resolve("package:conf")
    texts = [path.read_text("utf-8") for path in folder.rglob("*.yaml")]
    named = {name for text in texts for name in re.findall(r"_target_: *([\w.]+)", text)}
    return named | {"harness.systems.null.NullSystem"}


def _foreign(config: Any) -> Iterator[str]:
    """What a configuration would run or fetch that is not this package's."""
    own = _own_targets()
    todo = [config]
    while todo:
        value = todo.pop()
        if isinstance(value, Mapping):
            if "_target_" in value and value["_target_"] not in own:
                yield str(value["_target_"])
            yield from (str(key) for key in value if str(key).startswith("_") and key != "_target_")
            if value.get("network"):
                yield f"network for {value.get('model') or value.get('_target_')}"
            todo += value.values()
        elif isinstance(value, list):
            todo += value
        elif isinstance(value, str) and (re.match(r"\w+://|hub:", value) or "${" in value):
            yield value


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

"""One call of a recipe: what it was asked, where it goes on, and what all calls together cost."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from harness import assets
from harness.errors import AuditStopped, ConfigError
from harness.inputs import switch

__all__ = ["Leg", "start", "summary"]

SHAPED = (
    "un0",
    "distilled",
    "pruned",
)  # recipes of models that may have another shape than is shipped
LEDGER, BASE = "training.json", "base.json"  # what a run cost, and the one it went on from


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """One call of a recipe: it goes on under `out` until done, or until `limit_s` has passed.

    `shape` holds what the model shall have otherwise than the shipped one; `base` is a folder of
    weights to go on from instead of from nothing, `only` the one stage of it to go on with, and
    `steps` how long; `anew` leaves that stage's weights out of what is taken from the base.
    """

    out: Path
    seed: int = 1
    device: str = "cpu"
    limit_s: float | None = None
    shape: Mapping[str, Any] = field(default_factory=dict)
    base: Path | None = None
    only: str | None = None
    steps: int | None = None
    anew: bool = False
    began_s: float = field(default_factory=time.monotonic)

    @property
    def over(self) -> bool:
        return self.limit_s is not None and time.monotonic() - self.began_s > self.limit_s

    def wants(self, stage: str) -> bool:
        """Whether a run from a base has this stage."""
        return self.only in (None, stage)

    def steps_of(self, stage: str, size: Mapping[str, Any]) -> int:
        """Steps of a stage: as given, or the budget's, for a run from nothing or from a base."""
        own: int = (size["again"] if self.base else size)[stage]
        return self.steps or own


def summary(out: Path) -> dict[str, Any]:
    """What a recipe's run cost, all legs of all stages together; a missing reading stays None.

    What the weights cost that it went on from is counted in.
    """
    base = json.loads((out / BASE).read_text()) if (out / BASE).exists() else None
    before = [base] if base else []
    stages: dict[str, dict[str, Any]] = {}
    for path in sorted(out.glob("*/leg-*.json")):
        stage = stages.setdefault(path.parent.name, {"legs": [], "result": None})
        stage["legs"].append(json.loads(path.read_text()))
        for found in sorted(path.parent.glob("grid-*.json"))[-1:]:
            stage["result"] = json.loads(found.read_text())
    legs = [leg for stage in stages.values() for leg in stage["legs"]]
    joules = [reading["energy_j"] for leg in legs for reading in leg["energy"]]
    return {
        "duration_s": round(sum(part["duration_s"] for part in before + legs), 1),
        "cpu_s": _total([part["cpu_s"] for part in before + legs]),
        "energy_j": _total([part["energy_j"] for part in before] + joules),
        "methods": sorted(
            {str(r["method"]) for leg in legs for r in leg["energy"]}.union(
                *(part["methods"] for part in before)
            )
        ),
        "stages": stages,
        "base": base,
    }


def start(
    recipe: Callable[..., bool], budgets: Mapping[str, Any], name: str, config: Mapping[str, Any]
) -> int:
    """Runs a recipe from its configuration; 0 finished, 3 broken off by `limit_s`.

    Raises ConfigError on an unknown budget or a device that is not here.
    """
    budget, device = config["budget"], config["device"]
    if budget not in budgets:
        raise ConfigError(f"budget={budget} is unknown; choose one of {', '.join(budgets)}.")
    if device != "cpu" and not torch.cuda.is_available():
        raise ConfigError(f"device={device} is not on this machine; use device=cpu.")
    for key, least in (("seed", 0), ("threads", 1), ("limit_s", 0), ("steps", 1)):
        value = config[key]
        if value is not None and (not isinstance(value, int) or value < least):
            raise ConfigError(f"{key}={value!r}; it is a whole number of at least {least}.")
    if config["threads"]:
        torch.set_num_threads(config["threads"])
    out = Path(config["out"] or f"runs/train/{name}")
    given = config["shape"] or {}
    shape = {key: value for key, value in given.items() if value is not None}
    if shape and name not in SHAPED:
        raise ConfigError(
            f"shape.{next(iter(shape))} is of {' and '.join(SHAPED)}; leave it out for {name}."
        )
    only, later = config["only"], budgets[budget].get("again", {})
    if only is not None and (config["base"] is None or only not in later):
        known = ", ".join(later) or "none"
        raise ConfigError(f"only={only}; with base= a stage of {name} to go on with: {known}.")
    if config["steps"] is not None and only is None:
        raise ConfigError(f"steps={config['steps']} goes with only=, the stage it is for.")
    anew = switch("anew", config["anew"])
    if anew and (name, only) != ("un0", "tokens"):
        raise ConfigError("anew=true goes with only=tokens of un0, which then begin from nothing.")
    others = [stage for stage in later if stage != only and (out / stage).exists()]
    if only is not None and others:
        raise ConfigError(
            f"only={only}, but {out} holds the stage {others[0]}; choose another out=..., or go on "
            "from those weights with base=..."
        )
    base = _base(config["base"], out)
    leg = Leg(
        out=out,
        seed=config["seed"],
        device=device,
        limit_s=config["limit_s"],
        shape=shape,
        base=base,
        only=only,
        steps=config["steps"],
        anew=anew,
    )
    done = recipe(budget, leg)
    if done:
        (out / LEDGER).write_text(json.dumps(summary(out), indent=1))
    print(f"{name}: {'finished' if done else 'not finished, run again to go on'}, in {out}")
    return 0 if done else AuditStopped.exit_code


def _base(given: str | None, out: Path) -> Path | None:
    """The folder to go on from; what its training cost is kept beside the new run's."""
    if given is None:
        return None
    base = assets.resolve(given)
    records = (base / LEDGER, base.parent / LEDGER, base.parent / "training" / f"{base.name}.json")
    found = next((path for path in records if path.is_file()), None)
    if not base.is_dir() or found is None:
        raise ConfigError(
            f"base={given}: {'no such folder' if not base.is_dir() else f'no {LEDGER} there'}; "
            "give a folder of weights that `un0bench train` wrote."
        )
    out.mkdir(parents=True, exist_ok=True)
    (out / BASE).write_text(found.read_text())
    return base


def _total(values: list[float | None]) -> float | None:
    """The sum, or None where a part of it is missing."""
    known = [value for value in values if value is not None]
    return round(sum(known), 1) if known and len(known) == len(values) else None

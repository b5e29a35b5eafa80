"""How good systems are on all of `val`: verified content, and Frechet distance to the reference.

    python -m un0_model.recipes.standing un0 dense
    python -m un0_model.recipes.standing un0=runs/train/un0-6

A name is a file of conf/system; behind `=` stand other weights for it. Each row of standing.json,
beside the shipped trainings, names its settings and its weights by SHA-256, so that runs whose
weights are not shipped leave their figures too. `renders` are fresh renders of the same prompts:
what the distance is where nothing is wrong.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import hydra
import numpy as np
from omegaconf import OmegaConf

from harness.errors import ConfigError, in_one_line
from harness.inputs import OWN_KEYS
from harness.metrics.clip import Judge
from harness.metrics.frechet import frechet_distance, gaussian
from harness.metrics.reference import load_reference
from suites.proc.render import render
from suites.proc.sets import load_set
from un0_model.recipes.choose import CONF, FOLDER, drawn, judged, shares
from un0_model.tokens import Sampling

__all__ = ["configured", "main"]

SUITE = Path(str(resources.files("suites"))) / "proc"
SAID = ("steps", "guidance", *Sampling._fields)  # settings that a picture depends on


def main(arguments: Sequence[str], path: Path = FOLDER / "training" / "standing.json") -> int:
    """Prints how each system stands, and writes it in place of what was known of it."""
    for name in (argument.partition("=")[0] for argument in arguments):
        if not (CONF / f"{name}.yaml").is_file():
            raise ConfigError(f"there is no conf/system/{name}.yaml; name a system of that folder.")
    prompts, rng = load_set("val").prompts, np.random.default_rng(0)
    judge = Judge(SUITE / "judge")
    reference = gaussian(load_reference(SUITE / "reference").features.astype(np.float64))

    def standing(images: Sequence[np.ndarray]) -> dict[str, Any]:
        some = [images[first : first + 100] for first in range(0, len(images), 100)]
        rows = np.concatenate([judge.features(part) for part in some]).astype(np.float64)
        distance = frechet_distance(gaussian(rows), reference)
        return {"frechet": round(distance, 5), **shares(prompts, judged(prompts, images))}

    found = [{"system": "renders"} | standing([render(dict(p.spec or {}), rng) for p in prompts])]
    print(found[-1], flush=True)
    for argument in arguments:
        name, _, weights = argument.partition("=")
        config = configured(name)
        config["model"] = weights or config["model"]
        config = {key: value for key, value in config.items() if key not in OWN_KEYS}
        system = hydra.utils.instantiate(config)
        system.load()
        row = {"system": name, "model": config["model"]}
        card = system.card()
        row |= {key: value for key, value in {**config, **card.notes}.items() if key in SAID}
        row |= {"precision": card.precision, "weights_sha256": dict(card.weights_sha256)}
        found.append(row | standing(drawn(system, prompts)))
        print(found[-1], flush=True)
    known = json.loads(path.read_text()) if path.exists() else []
    kept = [row for row in known if _of(row) not in map(_of, found)]
    path.write_text(json.dumps(kept + found, indent=1) + "\n")
    return 0


def configured(name: str) -> dict[str, Any]:
    """A system of conf/system, with what it takes from another."""
    with hydra.initialize_config_module("conf", version_base="1.3"):
        whole = hydra.compose("audit", overrides=[f'system=["{name}"]'])
    found = OmegaConf.to_container(whole.systems[name], resolve=True)
    assert isinstance(found, dict)
    return {str(key): value for key, value in found.items()}


def _of(row: dict[str, Any]) -> list[Any]:
    """What a row is of."""
    return [row.get(key) for key in ("system", *SAID, "precision", "weights_sha256")]


if __name__ == "__main__":
    sys.exit(in_one_line(lambda: main(sys.argv[1:])))

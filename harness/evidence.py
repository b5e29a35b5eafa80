"""What verdicts are computed from, read back from a bundle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness import bundle
from harness.errors import InputError
from harness.features import read_kept
from harness.records import Boundary, Evidence

__all__ = ["read_evidence"]


def read_evidence(run: Path) -> Evidence:
    """All that verdicts are computed from, read back from the files.

    Raises InputError for files that are missing or hold something else than a bundle does.
    """
    try:
        return _evidence(run)
    except (LookupError, TypeError, ValueError, AttributeError, OSError, EOFError) as error:
        told = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise InputError(
            f"{run} cannot be read ({told}). The bundle was edited or cut; un0bench verify {run} "
            "names every difference."
        ) from error


def _evidence(run: Path) -> Evidence:
    config = bundle.read_yaml(run / "config.yaml")
    requests = bundle.read_table(run, "requests")
    systems = dict.fromkeys(row["system"] for row in requests)
    items = bundle.read_table(run, "items")
    features = {name: _by_request(run, name, requests, items) for name in systems}
    machine = bundle.read_json(run / "environment.json")
    boundaries = tuple(
        Boundary(**{**row, "patterns": tuple(row["patterns"])}) for row in machine["boundaries"]
    )
    return Evidence(
        candidate=config["candidate"],
        baseline=config["baseline"],
        windows=bundle.read_table(run, "windows"),
        requests=requests,
        items=items,
        prompts=bundle.read_prompts(run),
        features={name: rows for name, rows in features.items() if rows is not None},
        reference=_reference(run),
        cards={
            path.stem: bundle.read_json(path) for path in sorted((run / "cards").glob("*.json"))
        },
        boundaries=boundaries,
        settings={**bundle.read_json(run / "settings.json")},
        whole=read_kept(run, requests),
        work={path.stem: bundle.read_json(path) for path in sorted((run / "work").glob("*.json"))},
    )


def _by_request(
    run: Path, system: str, requests: Sequence[dict[str, Any]], items: Sequence[dict[str, Any]]
) -> np.ndarray | None:
    """Features float32 [requests of a system, d], NaN where no image was scored."""
    found = _features(run, system)
    if found is None:
        return None
    rows = [row["request"] for row in requests if row["system"] == system]
    if len(found) == len(rows):
        return found.astype(np.float32)
    scored = {i["request"] for i in items if (i["system"], i["metric"]) == (system, "clip")}
    at = [index for index, request in enumerate(rows) if request in scored]
    if len(at) != len(found):
        raise ValueError(f"{len(found)} rows of features of {system}, {len(at)} images scored")
    spread = np.full((len(rows), *found.shape[1:]), np.nan, np.float32)
    spread[at] = found
    return spread


def _reference(run: Path) -> np.ndarray | None:
    shipped = bundle.left_to_package(run, bundle.REFERENCE)
    return np.load(shipped, allow_pickle=False) if shipped else _features(run, "reference")


def _features(run: Path, system: str) -> np.ndarray | None:
    """Rows of one system, or None where none were made."""
    path = run / "features" / f"{bundle.features_name(system)}.npy"
    if not path.is_file():
        return None
    # mapped first: a header that promises more than the file holds is refused
    return np.array(np.load(path, mmap_mode="r", allow_pickle=False))

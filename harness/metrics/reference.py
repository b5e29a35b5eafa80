"""Reference features of the judge network, checked against their hashes."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import AssetError

__all__ = ["Reference", "extractor_sha256", "load_reference", "write_reference"]

_REMEDY = "Reinstall un0bench, or make both again with: un0bench train judge"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """Features float32 [n, d] of reference renders, and what was published with them."""

    features: np.ndarray
    statistics: Mapping[str, Any]


def extractor_sha256(folder: Path) -> str:
    """SHA-256 over the names and SHA-256 of a judge folder's files, by name, hidden ones apart.

    Raises AssetError where the folder is missing or empty.
    """
    files = sorted(
        (p for p in folder.glob("*") if p.is_file() and not p.name.startswith(".")),
        key=lambda p: p.name,
    )
    if not files:
        raise AssetError(f"No judge network at {folder}. {_REMEDY}")
    lines = [f"{p.name}\0{hashlib.sha256(p.read_bytes()).hexdigest()}\n" for p in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def write_reference(
    folder: Path, features: np.ndarray, judge: Path, facts: Mapping[str, Any]
) -> None:
    """Writes features.npy as float16 [n, d], and statistics.json with their hash and the judge's.

    `facts` may hold matched_clip and shuffled_clip, the mean cosine of a picture with its own
    caption and with another one's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kept = features.astype(np.float16)
    np.save(folder / "features.npy", kept)
    statistics = {
        "n": len(kept),
        "features_sha256": hashlib.sha256((folder / "features.npy").read_bytes()).hexdigest(),
        "extractor_sha256": extractor_sha256(judge),
        **facts,
    }
    (folder / "statistics.json").write_text(json.dumps(statistics, indent=1))


def load_reference(folder: Path, judge: Path | None = None) -> Reference:
    """Reads features.npy and statistics.json; with `judge`, checks that it is the extractor.

    Raises AssetError where a file is missing, unreadable or not the one that was named.
    """
    try:
        statistics = json.loads((folder / "statistics.json").read_text("utf-8"))
        raw = (folder / "features.npy").read_bytes()
    except (OSError, ValueError) as error:
        raise AssetError(f"Reference not readable at {folder} ({error}). {_REMEDY}") from error
    found = hashlib.sha256(raw).hexdigest()
    if found != statistics.get("features_sha256"):
        raise AssetError(
            f"{folder / 'features.npy'} has SHA-256 {found[:12]}, not the published "
            f"{str(statistics.get('features_sha256'))[:12]}. {_REMEDY}"
        )
    if judge is not None and extractor_sha256(judge) != statistics.get("extractor_sha256"):
        raise AssetError(
            f"The judge network at {judge} is not the one that made the reference at {folder} "
            f"(extractor_sha256 differs). {_REMEDY}"
        )
    try:
        features = np.load(io.BytesIO(raw), allow_pickle=False).astype(np.float32)
    except ValueError as error:
        raise AssetError(f"{folder / 'features.npy'} is no array ({error}). {_REMEDY}") from error
    if features.ndim != 2 or len(features) != statistics.get("n"):
        raise AssetError(
            f"{folder / 'features.npy'} has shape {features.shape}, but statistics.json says "
            f"n = {statistics.get('n')}. {_REMEDY}"
        )
    return Reference(features=features, statistics=statistics)

"""Rows of extractors that are kept whole: features of core requests, and the reference's moments.

features/<extractor>/<system>.npy     float16 [core requests of that system, d], in their order; NaN
                                      where there was no picture
features/<extractor>/reference.npy    float64 [d + 1, d]: the mean, and below it the covariance
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness import bundle
from harness.errors import ConfigError
from harness.protocols import Whole
from harness.records import Request

__all__ = ["Keeper", "read_kept", "write_moments"]


class Keeper:
    """Gathers the rows of one system, batch after batch."""

    def __init__(self, extractors: Sequence[Whole]) -> None:
        self.extractors = extractors
        self._rows: dict[str, dict[int, np.ndarray]] = {e.name: {} for e in extractors}

    def add(self, images: Sequence[np.ndarray], asked: Sequence[Request], core: set[int]) -> None:
        """Takes the core's pictures of a batch; `core` holds the numbers of its requests."""
        chosen = [(i, r) for i, r in zip(images, asked, strict=True) if r.id in core]
        if not chosen:
            return
        pixels, requests = [image for image, _ in chosen], [request for _, request in chosen]
        for extractor in self.extractors:
            rows = extractor.rows(pixels, requests)
            self._rows[extractor.name].update(zip((r.id for r in requests), rows, strict=True))

    def write(self, run: Path, system: str, core: Sequence[int]) -> None:
        """Writes what was gathered, in the order of the core's requests."""
        for name, rows in self._rows.items():
            known = next(iter(rows.values()), None)
            if known is not None:
                empty = np.full(len(known), np.nan, np.float16)
                _write(run, name, system, np.stack([rows.get(n, empty) for n in core]), np.float16)


def write_moments(run: Path, extractor: Whole) -> None:
    """Writes the reference. Raises ConfigError for a name that is none of a folder."""
    if not re.fullmatch(r"[a-z][a-z0-9_-]*", extractor.name):
        raise ConfigError(f"{extractor.name!r} cannot name features; use small letters and digits.")
    mean, covariance = extractor.reference()
    _write(run, extractor.name, "reference", np.vstack([mean, covariance]), np.float64)


def read_kept(run: Path, requests: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, np.ndarray]]:
    """By extractor and system: rows in the order of its requests, NaN beside the core; reference.

    Raises ValueError where a file has another number of rows than there are core requests.
    """
    found: dict[str, dict[str, np.ndarray]] = {}
    for path in sorted((run / "features").glob("*/reference.npy")):
        name = path.parent.name
        found[name] = {"reference": _read(path)}
        for system in dict.fromkeys(row["system"] for row in requests):
            kept = path.parent / f"{bundle.features_name(system)}.npy"
            if kept.is_file():
                of_system = [row["core"] for row in requests if row["system"] == system]
                rows = _read(kept)
                if len(rows) != sum(of_system):
                    raise ValueError(f"{kept}: {len(rows)} rows for {sum(of_system)} requests")
                spread = np.full((len(of_system), rows.shape[1]), np.nan, np.float16)
                spread[np.array(of_system, bool)] = rows
                found[name][system] = spread
    return found


def _write(run: Path, name: str, system: str, rows: np.ndarray, kind: type) -> None:
    sink = io.BytesIO()
    np.save(sink, rows.astype(kind), allow_pickle=False)
    path = run / "features" / name / f"{bundle.features_name(system)}.npy"
    bundle.write_bytes(path, sink.getvalue())


def _read(path: Path) -> np.ndarray:
    # mapped first: a header that promises more than the file holds is refused
    return np.array(np.load(path, mmap_mode="r", allow_pickle=False))

"""Features of a folder of pictures: `python -m harness.own_reference FOLDER JUDGE OUT`.

A process of its own, because it has torch and the one that audits has not. Captions, where the
pictures have them, tell how well the judge agrees with right and with wrong ones.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import AssetError, Un0BenchError
from harness.metrics.clip import Judge
from harness.metrics.precision_recall import K
from harness.metrics.reference import write_reference
from suites.captioned import PICTURES, captioned, pictures_in, read_picture

__all__ = ["main"]

BATCH = 64
FEWEST = K + 1  # pictures, that each may have its neighbours


def main(arguments: Sequence[str]) -> int:
    """Writes the reference; an error of the input is one JSON line."""
    folder, judge, out = map(Path, arguments)
    try:
        embed(folder, Judge(judge), out)
    except Un0BenchError as error:
        print(json.dumps({"class": type(error).__name__, "message": str(error)}), flush=True)
        return error.exit_code
    return 0


def embed(folder: Path, judge: Judge, out: Path) -> None:
    """Writes features.npy and statistics.json. Raises AssetError for a folder without pictures."""
    if not folder.is_dir():
        raise AssetError(f"There is no folder {folder}. Name one that holds pictures.")
    paths = pictures_in(folder)
    if len(paths) < FEWEST:
        raise AssetError(
            f"{folder} holds {len(paths)} pictures ({', '.join(PICTURES)}); a reference needs "
            f"{FEWEST} or more."
        )
    rows = [
        judge.features([read_picture(path) for path in paths[first : first + BATCH]])
        for first in range(0, len(paths), BATCH)
    ]
    features = np.concatenate(rows)
    facts: dict[str, Any] = {"prompts": f"{len(paths)} pictures of {folder.name}"}
    captions = _captions(folder)
    known = [at for at, path in enumerate(paths) if path in captions]
    if len(known) > 1:
        texts = judge.captions([captions[paths[at]] for at in known])
        seen = features[known]
        facts["matched_clip"] = float((seen * texts).sum(1).mean())
        facts["shuffled_clip"] = float((seen * np.roll(texts, 1, axis=0)).sum(1).mean())
    write_reference(out, features, judge.path, facts)


def _captions(folder: Path) -> dict[Path, str]:
    """Of those pictures that have one; none where the list of the folder is of something else."""
    try:
        return dict(captioned(folder))
    except AssetError:
        return {}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""All sides of the benchmark give the same rows; its command tells ratios."""

import re

import numpy as np
import pytest

from harness import assets, bundle, cli, scoring_bench
from harness.metrics.clip import Judge
from harness.scoring import BATCH

pytest.importorskip("cleanfid")


def test_every_side_gives_the_same_features(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(BATCH + 3):
        picture = rng.integers(0, 256, (64, 64, 3), np.uint8)
        bundle.write_image(tmp_path / f"{number:04d}.png", picture)
    judge = Judge(assets.resolve(scoring_bench.JUDGE))
    found = [call() for call in scoring_bench.sides(tmp_path, judge).values()]
    assert len(found) == 4 and found[0].shape == (BATCH + 3, 64)
    for rows in found[1:]:
        np.testing.assert_allclose(rows, found[0], atol=1e-5)
        assert (rows.astype(np.float16) == found[0].astype(np.float16)).mean() > 0.99
    assert abs(np.diff(found[0], axis=0)).max(axis=1).min() > 1e-3  # no two are alike


def test_the_command_prints_a_ratio_to_each_side(monkeypatch, capsys):
    monkeypatch.setattr(scoring_bench, "PICTURES", 20)
    monkeypatch.setattr(scoring_bench, "TURNS", 2)
    assert cli.main(["bench", "scoring"]) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert len(lines) == 3 and all("clean-fid" in line for line in lines)
    for line in lines:
        ratio, low, high = map(
            float,
            re.search(r" ([\d.]+)  clean.*; ([\d.]+) to ([\d.]+) over 2 turns", line).groups(),
        )
        assert 0 < low <= ratio <= high

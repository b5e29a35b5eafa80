"""A factor's steps: their product is the whole, and bundles that make no path are refused."""

import json
import shutil
from pathlib import Path

import pytest

from harness import bundle, cli
from harness.errors import InputError
from harness.factors import factors

MEASURED = Path(__file__).parents[2] / "docs" / "measured"
NAMES = ("first", "capacity", "rivals/dense-pruned-vs-dense")
FIRST, CAPACITY, OTHER = (MEASURED / name for name in NAMES)


def stated(run, claim):
    verdicts = json.loads((run / "verdicts.json").read_text())
    return next(v["evidence"][0] for v in verdicts if v["claim"] == claim)


def test_the_product_of_the_steps_is_the_whole_and_the_last_is_the_nearest_baselines():
    *steps, whole = factors([FIRST, CAPACITY])
    assert [(s.here, s.there) for s in steps] == [
        ("dense", "capacity-matched"),
        ("capacity-matched", "un0"),
    ]
    assert steps[0].factor * steps[1].factor == pytest.approx(whole.factor)
    first, nearest = stated(FIRST, "time-1000x"), stated(CAPACITY, "time-1000x")
    assert whole.factor == pytest.approx(first["estimate"])
    assert (steps[1].low, steps[1].high) == pytest.approx((nearest["low"], nearest["high"]))
    wider = steps[0].high / steps[0].low
    assert wider > max(s["high"] / s["low"] for s in (first, nearest))
    assert steps[0].after == steps[1].before
    assert steps[0].before == whole.before


def hash_again(run):
    """Closes the manifest again over what is there, and what was left to the package."""
    for name in bundle.PACKAGED:
        if shipped := bundle.left_to_package(run, name):
            shutil.copy(shipped, run / name)
    manifest = bundle.read_manifest(run)
    del manifest["files"]
    bundle.write_manifest(run, manifest)


def test_bundles_that_make_no_path_are_refused_by_name(tmp_path, capsys):
    for runs, says in (
        ([FIRST], "at least two"),
        ([FIRST, FIRST], "meets a system twice"),
        ([FIRST, OTHER], "dense-pruned"),
        ([FIRST, tmp_path], "no finished bundle"),
    ):
        with pytest.raises(InputError, match=says):
            factors(runs)
    moved = Path(shutil.copytree(CAPACITY, tmp_path / "moved"))
    machine = json.loads((moved / "environment.json").read_text())
    (moved / "environment.json").write_text(json.dumps(machine | {"cpu_model": "another"}))
    with pytest.raises(InputError, match=r"environment.json is not as"):
        factors([FIRST, moved])
    hash_again(moved)
    with pytest.raises(InputError, match="another"):
        factors([FIRST, moved])
    config = (CAPACITY / "config.yaml").read_text()
    (moved / "config.yaml").write_text(config.replace("    batch: 16", "    batch: 1"))
    hash_again(moved)
    with pytest.raises(InputError, match="batch: 16 against 1"):
        factors([FIRST, moved])
    assert cli.main(["factors", str(FIRST), str(moved)]) == 2
    assert cli.main(["factors", str(FIRST), str(CAPACITY)]) == 0
    assert "dense -> un0" in capsys.readouterr().out

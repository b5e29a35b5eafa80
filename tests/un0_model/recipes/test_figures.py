"""What is told of trained weights: how they stand on `val`, and the sweep over active fractions."""

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest

from harness.errors import ConfigError
from suites.proc.sets import load_set
from un0_model import bench
from un0_model.pipeline import Un0
from un0_model.recipes import choose, standing, sweep, un0
from un0_model.recipes.leg import Leg

PROMPTS = load_set("val").prompts[:20]


def test_a_sweep_tells_quality_time_and_the_gates_share(trained, tmp_path, monkeypatch):
    assert un0.main("smoke", Leg(out=tmp_path / "many", base=trained, shape={"keep": 64}))
    monkeypatch.setattr(bench, "TURN_S", 1e-3)
    monkeypatch.setattr(sweep, "IMAGES", tmp_path)
    monkeypatch.setattr(sweep, "load_set", lambda name: SimpleNamespace(prompts=PROMPTS))
    folders = [str(tmp_path / "many"), str(trained)]  # in any order
    assert sweep.main(folders, tmp_path / "sweep.json") == 0
    few, many = json.loads((tmp_path / "sweep.json").read_text())["models"]
    assert (few["kept"], many["kept"]) == (8, 64)
    assert few["active"] == pytest.approx(8 / 8192)
    assert few["seconds"] > 0 and 0 <= few["verified"] <= 1
    assert "neurons of the pool that serve" in (tmp_path / "sweep.svg").read_text()


def test_standing_names_system_settings_and_weights_once(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(standing, "load_set", lambda name: SimpleNamespace(prompts=PROMPTS))
    path = tmp_path / "standing.json"
    for _ in range(2):
        assert standing.main([f"un0={trained}"], path) == 0
    renders, ours = json.loads(path.read_text())
    assert renders["system"] == "renders" and renders["verified"] == 1
    assert ours["weights_sha256"] == {"un0.safetensors": Un0.from_pretrained(trained).sha256}
    assert ours["frechet"] > renders["frechet"] and ours["temperature"] == un0.SAMPLING.temperature


def test_a_folder_that_is_none_is_told_in_one_line(tmp_path):
    program = [sys.executable, "-m", "un0_model.recipes.sweep", str(tmp_path)]
    done = subprocess.run(program, capture_output=True, text=True)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("un0bench: no config.json in")


@pytest.mark.parametrize(
    ("program", "given", "says"),
    (
        (standing, ["none"], "conf/system/none.yaml"),
        (choose, [], "cosine, dense"),
        (choose, ["none"], "cosine, dense"),
        (choose, ["un0", "few"], "a number of prompts"),
        (sweep, [], "name folders"),
    ),
)
def test_a_name_that_is_none_is_refused_before_anything_is_written(program, given, says):
    with pytest.raises(ConfigError, match=says):
        program.main(given)

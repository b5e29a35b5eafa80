"""The steps of the GitHub Action, run here."""

import os
import re
import subprocess
import sys
from pathlib import Path

import yaml

from harness import bundle, cli

ROOT = Path(__file__).parents[1]
SMALL = "suite.judge=null suite.reference=null work=false system=[renderer,null] candidate=null "
SMALL += (
    "baseline=renderer claims=[time-1000x] suite.sizes.mini.core=2 suite.sizes.mini.idle_s=0.1 "
)
SMALL += "suite.sizes.mini.min_window_s=0.3 suite.sizes.mini.warmup_s=0.1"


def test_its_audit_asks_the_baselines_requests_and_its_gate_decides(tmp_path):
    out = f"out={tmp_path}"
    assert cli.main(["audit", *SMALL.split(), out, "name=before"]) == 0
    limits = tmp_path / "limits.yaml"
    limits.write_text("verified: 0.03\nmemory: 2.0\n")
    told = {name: tmp_path / name for name in ("GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT")}
    environment = {
        **os.environ,
        **{name: str(path) for name, path in told.items()},
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "BASELINE": str(tmp_path / "before"),
        "AUDIT": SMALL.replace(" work=false", "\nwork=false"),
        "DIGEST": bundle.manifest_digest(tmp_path / "before"),
        "LIMITS": str(limits),
        "OUT": str(tmp_path / "out"),
    }
    script = ["bash", str(ROOT / ".ci/gate.sh")]
    done = subprocess.run(script, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"(\d+) of \1 shared", done.stdout)
    assert "gate passed: null" in told["GITHUB_STEP_SUMMARY"].read_text()
    new = Path(told["GITHUB_OUTPUT"].read_text().strip().removeprefix("bundle="))
    assert new.parent.parent == tmp_path / "out"
    assert bundle.read_yaml(new / "config.yaml")["work"] is False
    assert {"gate.xml", "gate.md", "gate.json"} < {path.name for path in new.parent.iterdir()}


def test_the_action_names_inputs_that_its_steps_take():
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    text = yaml.safe_dump(action["runs"])
    assert set(re.findall(r"inputs\.(\w+)", text)) == set(action["inputs"])
    for step in action["runs"]["steps"]:
        assert "${{" not in step["run"]  # an input never becomes code
        subprocess.run(["bash", "-n", "-c", step["run"]], check=True)

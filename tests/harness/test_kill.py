"""An audit that is killed again and again, at instants that nobody chose."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

from toy_audits import toys

from harness import bundle, cli
from harness.verify import verify

ROOT = Path(__file__).parents[2]
KILLS = 20
PAIRS = 12


def test_twenty_kills_lose_a_pair_each_at_most_and_nothing_else(tmp_path):
    """A pair and not a block: both of its blocks share their starts (ADR 0017)."""
    run, rng = tmp_path / "k", random.Random(20)
    many = [f"suite.sizes.mini.{key}={PAIRS}" for key in ("pairs", "max_pairs")]
    begin = [*toys(tmp_path, more=["name=k", *many])]
    again = ["audit", "--resume", "name=k", f"out={tmp_path}"]
    env = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests/harness/toys'}"}
    kills, kept = 0, {}
    while kills < KILLS:
        arguments = again if (run / "config.yaml").exists() else begin
        command = [sys.executable, "-m", "harness.cli", *arguments]
        process = subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL)
        while process.poll() is None and not (run / "config.yaml").exists():
            time.sleep(0.05)  # a busy machine takes its time to begin
        try:
            process.wait(timeout=rng.uniform(0.5, 7.0))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
        else:
            assert process.returncode == 0
            break
        now = {path.name: bundle.read_json(path) for path in run.glob("partial/w*.json")}
        assert kept.keys() <= now.keys() or (run / "manifest.json").exists()
        both = kept.keys() & now.keys()
        lost = [name for name in both if now[name]["window"]["void"] > kept[name]["window"]["void"]]
        assert len({kept[name]["window"]["pair"] for name in lost}) <= 1
        kept = now
    assert kills > 5  # a fast machine is done before twenty
    if not (run / "manifest.json").exists():
        assert cli.main(again) == 0
    assert verify(run) == []
    blocks = bundle.read_manifest(run)["blocks"]
    whole = sorted((b["pair"], b["order"]) for b in blocks if not b["void"])
    assert whole == [(pair, order) for pair in range(PAIRS) for order in ("AB", "BA")]
    assert len([b for b in blocks if b["void"]]) <= 2 * kills
    assert len({b["core"] for b in blocks}) == len(blocks)

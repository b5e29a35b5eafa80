"""Whole audits of toy systems, by the command, with a toy meter."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from toy_audits import PAIR, SMALL, toys

from harness import audit, bundle, cli, inputs, scoring
from harness.evidence import read_evidence
from harness.metrics.reference import Reference
from harness.metrics.summary import Table
from harness.schedule import AGAIN
from harness.verify import verify
from suites.claims import load_claims_file

ROOT = Path(__file__).parents[2]


def test_a_finished_bundle_follows_from_its_rows(finished):
    assert verify(finished) == []
    assert not (finished / "partial").exists()


def test_tables_have_the_documented_columns(finished):
    for name, schema in bundle.SCHEMAS.items():
        assert pq.read_schema(finished / f"{name}.parquet").equals(schema), name


def test_both_systems_serve_the_same_core_and_no_request_comes_twice(finished):
    rows = [r for r in bundle.read_table(finished, "requests") if r["window"] != "control"]
    windows = {r["window"]: r for r in bundle.read_table(finished, "windows")}
    cores = {}
    for row in rows:
        if row["core"]:
            key = (row["system"], windows[row["window"]]["pair"], windows[row["window"]]["order"])
            cores.setdefault(key, []).append((row["prompt_id"], row["seed"]))
    assert len(cores) == 8
    for pair in (0, 1):
        for order in ("AB", "BA"):
            assert cores["null", pair, order] == cores["renderer", pair, order]
            assert len(cores["null", pair, order]) == 4
    everything = [pair for (system, *_), core in cores.items() if system == "null" for pair in core]
    assert len(set(everything)) == 16
    for system in ("null", "renderer"):
        asked = [(r["prompt_id"], r["seed"]) for r in rows if r["system"] == system]
        assert len(asked) == len(set(asked))
        numbers = [r["request"] for r in rows if r["system"] == system]
        assert len(numbers) == len(set(numbers))


def test_as_many_fillers_are_drawn_as_core_and_all_are_hashed(finished):
    rows = bundle.read_table(finished, "requests")
    windows = {r["window"]: r for r in bundle.read_table(finished, "windows")}
    batches = bundle.read_table(finished, "batches")
    for name, window in windows.items():
        if window["kind"] != "block":
            continue
        mine = [r for r in rows if r["window"] == name]
        assert sum(r["core"] for r in mine) == 4
        assert sum(not r["core"] for r in mine) == 4
        counted = sum(b["count"] for b in batches if b["window"] == name)
        assert counted + 4 == window["requests"]


def test_work_is_counted_and_a_system_that_cannot_be_is_audited_all_the_same(tmp_path):
    more = ["name=w", "work=true"]
    assert cli.main(toys(tmp_path, candidate="TellsNothing", more=more)) == 0
    work = read_evidence(tmp_path / "w").work
    assert work["a"]["reason"] == "it failed while its work was counted; see a.log"
    assert work["b"]["counted"] is None
    assert work["b"]["reason"] == "the system does not run torch"
    settings = bundle.read_json(tmp_path / "w" / "settings.json")
    assert settings["ceilings"]["cpu"]["multiply_adds_per_s"]["float32"] > 1e9
    assert settings["ceilings"]["cpu"]["bytes_per_s"] > 1e8


def test_the_rasteriser_verifies_and_the_constant_image_does_not(finished):
    items = bundle.read_table(finished, "items")
    values = {}
    for row in items:
        values.setdefault((row["system"], row["metric"]), []).append(row["value"])
    assert np.mean(values["renderer", "verified"]) == 1.0
    assert np.mean(values["null", "verified"]) == 0.0
    assert np.mean(values["control:shuffled", "verified"]) < 0.2


def test_windows_alternate_in_pairs_of_new_starts_beside_idle_and_latency(finished):
    rows = bundle.read_table(finished, "windows")
    blocks = [(r["system"], r["pair"], r["order"]) for r in rows if r["kind"] == "block"]
    assert blocks == [
        ("null", 0, "AB"),
        ("renderer", 0, "AB"),
        ("renderer", 0, "BA"),
        ("null", 0, "BA"),
        ("null", 1, "AB"),
        ("renderer", 1, "AB"),
        ("renderer", 1, "BA"),
        ("null", 1, "BA"),
    ]
    kinds = [(r["kind"], r["system"]) for r in rows]
    pair = [("load", "null"), ("load", "renderer"), ("warmup", "null"), ("warmup", "renderer")]
    pair += [("block", system) for system in ("null", "renderer", "renderer", "null")]
    assert kinds == [
        ("idle", "bare"),
        *pair[:2],
        ("idle", "loaded"),
        *pair[2:],
        *pair,  # both systems anew for each pair
        ("load", "null"),
        ("warmup", "null"),
        ("latency", "null"),
    ]
    settings = bundle.read_json(finished / "settings.json")
    assert 0 < settings["metering_share"] < 0.25  # the toy meter says 0.25 s of some seconds
    block = next(r for r in rows if r["kind"] == "block")
    assert block["energy_j"] == pytest.approx(10.0 * block["duration_s"])
    assert block["idle_w"] == pytest.approx(10.0)


def gate_windows(out, candidate):
    assert cli.main(toys(out, candidate=candidate, more=["name=g"])) == 0
    rows = bundle.read_table(out / "g", "windows")
    return [row for row in rows if row["kind"] == "gate"]


def test_a_gate_is_replayed_in_rounds_of_stages_over_the_same_requests(tmp_path):
    rows = gate_windows(tmp_path, "Gated")
    stages = ["whole", "decided", "gathered", "resident"]
    assert [(r["pair"], r["order"]) for r in rows] == [(n, s) for n in range(2) for s in stages]
    assert not any(r["void"] for r in rows) and all(r["cpu_s"] > 0 for r in rows)
    batches = bundle.read_table(tmp_path / "g", "batches")
    rounds = [{r["window"] for r in rows if r["pair"] == n} for n in range(2)]
    for windows in rounds:
        hashes = [(b["first_index"], b["sha256"]) for b in batches if b["window"] in windows]
        assert len(hashes) == 4 * len(set(hashes)) > 0
    assert verify(tmp_path / "g") == []
    assert "- Pairs of blocks: 2" in (tmp_path / "g" / "report.md").read_text()


def test_only_this_repositorys_own_code_is_believed_for_itself():
    own = {"_target_": "harness.systems.un0.Un0System", "threads": 1}
    assert audit._own(own)
    assert not audit._own({**own, "model": {"_target_": "other.code"}})
    assert not audit._own({**own, "_target_": "toy_systems.Gated"})
    experts = {"_target_": "harness.techniques.experts.Experts", "top": 2}
    gated = {"_target_": "harness.systems.gated_pipeline.GatedPipeline", "call": {"clean": False}}
    assert audit._own({**gated, "techniques": [experts]})
    for other in ({"_target_": "other.code"}, {**experts, "top": {"_target_": "other.code"}}):
        assert not audit._own({**gated, "techniques": [experts, other]})
        assert not audit._own({**gated, "call": {"clean": [other]}})


# Stopping and going on -------------------------------------------------------------------------


def test_a_killed_audit_goes_on_and_keeps_the_partial_block_as_void(tmp_path):
    run = tmp_path / "killed"
    command = [sys.executable, "-m", "harness.cli"]
    arguments = toys(tmp_path, seconds=0.02, more=["name=killed"])
    env = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests/harness/toys'}"}
    process = subprocess.Popen(command + arguments, env=env, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not any(_kind(path) == "block" for path in run.glob("partial/w*.json")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (run / "manifest.json").exists()
    assert cli.main(["audit", "--resume", "name=killed", f"out={tmp_path}"]) == 0
    assert verify(run) == []
    blocks = bundle.read_manifest(run)["blocks"]
    assert sorted((b["pair"], b["order"]) for b in blocks if not b["void"]) == [
        (0, "AB"),
        (0, "BA"),
        (1, "AB"),
        (1, "BA"),
    ]
    assert [b["reason"] for b in blocks if b["void"]] == ["the audit was stopped within this block"]
    assert len({b["core"] for b in blocks}) == len(blocks)
    voided = [r for r in bundle.read_table(run, "windows") if r["void"]]
    assert [r["kind"] for r in voided] == ["block"]


def _kind(path):
    return json.loads(path.read_text())["window"]["kind"]


def test_an_interrupt_leaves_a_resumable_run(tmp_path, monkeypatch, capsys):
    def interrupted(session):
        session.idle("bare")
        raise KeyboardInterrupt

    monkeypatch.setattr("harness.here.measure", interrupted)
    assert cli.main(toys(tmp_path, more=["name=i"])) == 3
    assert "1 finished windows are kept" in capsys.readouterr().err
    monkeypatch.undo()
    assert cli.main(["audit", "--resume", "name=i", f"out={tmp_path}"]) == 0


def test_a_system_that_dies_stops_the_audit_with_code_3(tmp_path, capsys):
    assert cli.main(toys(tmp_path, baseline="Dies", more=["name=x"])) == 3
    text = capsys.readouterr().err
    assert "System 'b' failed" in text and "--resume name=x" in text
    assert "Traceback" not in text
    assert list((tmp_path / "x" / "partial").glob("w*.json"))


def test_a_pair_that_met_unlike_states_is_run_again_a_few_times(tmp_path, monkeypatch):
    told = iter([["throttled 1 against 0"], *[[]] * 4, *[[]] * 3, ["steal_share 0.5"], *[[]] * 4])
    monkeypatch.setattr("harness.schedule.unlike_states", lambda row, others: next(told))
    assert cli.main(toys(tmp_path, more=["name=u"])) == 0
    blocks = bundle.read_manifest(tmp_path / "u")["blocks"]
    void = [b for b in blocks if b["void"]]
    assert [(b["pair"], b["order"]) for b in void] == [(0, "AB"), (0, "BA"), (1, "AB"), (1, "BA")]
    same = "the machine was not the same for"
    assert void[0]["reason"] == f"{same} a: throttled 1 against 0"
    assert void[2]["reason"].endswith("steal_share 0.5")
    assert sum(not b["void"] for b in blocks) == 4
    assert len({b["core"] for b in blocks}) == 8
    # and not for ever
    monkeypatch.setattr(
        "harness.schedule.unlike_states", lambda row, others: ["throttled 1 against 1"]
    )
    assert cli.main(toys(tmp_path, more=["name=always"])) == 0
    blocks = bundle.read_manifest(tmp_path / "always")["blocks"]
    assert sum(b["void"] for b in blocks) == 2 * AGAIN and sum(not b["void"] for b in blocks) == 4


def test_failures_count_and_the_audit_goes_on(tmp_path):
    assert cli.main(toys(tmp_path, candidate="SomeFail", more=["name=f"])) == 0
    rows = bundle.read_table(tmp_path / "f", "requests")
    failed = [r for r in rows if r["failure"]]
    assert failed and {r["system"] for r in failed} == {"a"}
    assert {r["image_sha256"] for r in failed} == {""}
    items = {
        (r["system"], r["request"]): r["value"]
        for r in bundle.read_table(tmp_path / "f", "items")
        if r["metric"] == "verified"
    }
    assert all(items["a", r["request"]] == 0.0 for r in failed)


def test_a_meter_that_lacks_a_method_is_refused_before_anything_runs(tmp_path, capsys):
    given = [one for one in toys(tmp_path, more=["name=m"]) if not one.startswith("meter.")]
    assert cli.main([*given, "meter._target_=toy_systems.Toy"]) == 2
    assert "Toy is no meter" in capsys.readouterr().err and not (tmp_path / "m").exists()


def test_a_full_disk_stops_the_audit_and_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    def full(path, image):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("harness.measure.write_image", full)
    assert cli.main(toys(tmp_path, more=["name=full"])) == 3
    text = capsys.readouterr().err
    assert "The disk is full" in text and "--resume name=full" in text


def test_a_run_that_exists_is_refused(finished, capsys):
    assert cli.main(["audit", *SMALL, *PAIR, f"out={finished.parent}", "name=done"]) == 2
    assert "exists" in capsys.readouterr().err


def test_a_stage_runs_again_from_the_bundle(copy):
    before = bundle.manifest_digest(copy)
    where = [f"out={copy.parent}", "name=done"]
    assert cli.main(["audit", "--resume", "--from=score", *where]) == 0
    assert bundle.manifest_digest(copy) == before


def test_a_stage_that_nothing_led_to_is_refused_and_closes_nothing(copy, capsys):
    (copy / "manifest.json").unlink()
    (copy / "verdicts.json").unlink()
    where = [f"out={copy.parent}", "name=done"]
    assert cli.main(["audit", "--resume", "--from=report", *where]) == 2
    assert "no verdicts.json to report from" in capsys.readouterr().err
    assert not (copy / "manifest.json").exists()


def test_the_published_cosines_of_the_reference_scale_the_clip_margin(copy, monkeypatch):
    published = {"matched_clip": 0.7, "shuffled_clip": 0.1, "features_sha256": "f"}
    known = Reference(features=np.zeros((2, 3), np.float32), statistics=published)
    monkeypatch.setattr(scoring, "load_reference", lambda folder, judge: known)
    config = bundle.read_yaml(copy / "config.yaml")
    config["suite"]["reference"] = str(copy)
    bundle.write_yaml(copy / "config.yaml", config)
    scoring.score(copy)
    assert Table(read_evidence(copy)).clip_levels == (0.7, 0.1)


def test_own_claims_without_a_last_line_break_stand_beside_shipped_ones(tmp_path):
    own = tmp_path / "own.yaml"
    own.write_bytes((ROOT / "suites/claims/latency-100ms.yaml").read_bytes().rstrip())
    both = tmp_path / "claims.yaml"
    both.write_bytes(inputs.claims([str(own), "active-0.1pct"]))
    assert [c.id for c in load_claims_file(both)] == ["latency-100ms", "active-0.1pct"]


def test_null_is_audited_beside_before_and_after_the_blocks(tmp_path):
    assert cli.main(toys(tmp_path, more=["name=n"])) == 0
    rows = bundle.read_table(tmp_path / "n", "windows")
    kinds = [r["kind"] for r in rows]
    assert [r["system"] for r in rows if r["kind"] == "null"] == ["null", "null"]
    nulls = [at for at, kind in enumerate(kinds) if kind == "null"]
    blocks = [at for at, kind in enumerate(kinds) if kind == "block"]
    assert nulls[0] < min(blocks) and max(blocks) < nulls[1]
    assert "null" not in {r["system"] for r in bundle.read_table(tmp_path / "n", "requests")}


def test_other_weights_than_a_run_began_with_are_refused(tmp_path, capsys):
    assert cli.main(toys(tmp_path, baseline="Dies", more=["name=w"])) == 3
    card = tmp_path / "w" / "cards" / "a.json"
    bundle.write_json(card, bundle.read_json(card) | {"weights_sha256": {"toy": "w0"}})
    assert cli.main(["audit", "--resume", "name=w", f"out={tmp_path}"]) == 2
    assert "The weights of a are not those" in capsys.readouterr().err

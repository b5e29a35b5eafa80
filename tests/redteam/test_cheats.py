"""Every cheat of cheats.py is refused, voided or exposed by a named check, and honesty is not."""

import os
import re
import secrets
import time
from dataclasses import asdict, replace
from pathlib import Path

import cheats
import numpy as np
import psutil
import pytest
from made_evidence import ENDPOINTS, claim, evidence, judged, parts
from toy_audits import toys
from toy_workers import workers

import harness
from harness import bundle, cli
from harness.errors import AssetError, SystemFailed
from harness.isolation import Walls, walls
from harness.metrics.verified import Verified
from harness.records import Failure, Request
from harness.verify import verify
from suites.proc.sets import load_set, request_seed

QUALITY = claim(
    id="no-quality-loss", quantity="quality", threshold=None, direction=None, endpoints=ENDPOINTS
)
PROMPTS = load_set("test").prompts[:400]


def asked(prompts=PROMPTS):
    return [
        Request(id=i, prompt=prompt, seed=request_seed(prompt.id, i))
        for i, prompt in enumerate(prompts)
    ]


def judged_by_its_pictures(name):
    """Made-up evidence whose candidate drew as this system does: is it right as often?"""
    system = getattr(cheats, name)()
    system.load()
    requests = asked()
    answers = system.generate(requests)
    there = [(r, a) for r, a in zip(requests, answers, strict=True) if not isinstance(a, Failure)]
    right = dict.fromkeys(range(len(requests)), 0.0)
    values = Verified().rows([image for _, image in there], [request for request, _ in there])
    right.update({r.id: float(v) for (r, _), v in zip(there, values[:, 0], strict=True)})
    found = evidence(n=len(PROMPTS), theirs=0.97)
    items = [
        {**row, "value": right[row["request"]]}
        if (row["system"], row["metric"]) == ("un0", "verified")
        else row
        for row in found.items
    ]
    prompts = {f"p{i}": replace(p, id=f"p{i}") for i, p in enumerate(PROMPTS)}
    (verdict,) = judged(replace(found, items=items, prompts=prompts), QUALITY)
    return parts(verdict)["equal quality: verified"]


@pytest.mark.parametrize(
    "name",
    [
        "IgnoresThePrompt",
        "Blank",
        "ScaledUp",
        "ReturnsTrainingPictures",
        "DropsHardPrompts",
        "CutsCorners",
    ],
)
def test_pictures_that_are_not_what_was_asked_are_refuted(name):
    assert judged_by_its_pictures(name) == "refuted"


def test_pictures_that_are_what_was_asked_are_not():
    assert judged_by_its_pictures("Honest") == "supported"


# Whole audits -----------------------------------------------------------------------------------


def told(folder, name, candidate, baseline, *more):
    """What the verdicts say of a small audit of two of these systems."""
    systems = [
        f"+systems.{role}={{_target_: cheats.{system}, batch: 4}}"
        for role, system in (("a", candidate), ("b", baseline))
    ]
    given = [one for one in toys(folder, more=[f"name={name}"]) if not one.startswith("+systems.")]
    assert cli.main([*given, *systems, *more]) == 0
    assert verify(folder / name) == []
    verdicts = bundle.read_json(folder / name / "verdicts.json")
    assert "supported" not in {v["outcome"] for v in verdicts if v["claim"] != "latency-100ms"}
    return " ".join(reason for verdict in verdicts for reason in verdict["reasons"]), verdicts


def test_answers_from_a_table_are_named(tmp_path):
    texts = "\n".join(prompt.text for prompt in PROMPTS if prompt.category == "single")
    (tmp_path / "few.txt").write_text("\n".join(texts.splitlines()[:4]))
    few = [f"suite.prompts={tmp_path / 'few.txt'}", "suite.sizes.mini.core=24"]
    said, _ = told(tmp_path, "table", "MadeWhileLoading", "WarmCache", *few)
    assert "a ignores the seed" in said
    assert "b ignores the seed" in said


def test_what_is_known_by_heart_fails_a_challenge(tmp_path):
    more = ["challenge=on", "suite.sizes.mini.core=40", "suite.sizes.mini.pairs=1"]
    said, _ = told(tmp_path, "heart", "BlankWhenAlone", "ByHeart", *more)
    assert "b answered published and unpublished requests unlike: verified differs by 1.000" in said
    assert "a drew otherwise where only its time counted: verified differs by 1.000" in said
    assert "a answered" not in said and "b drew otherwise" not in said
    config = bundle.read_yaml(tmp_path / "heart" / "config.yaml")
    assert len(config["challenge"]) == 32
    assert "Challenge, verified on" in (tmp_path / "heart" / "report.md").read_text()
    bundle.write_yaml(tmp_path / "heart" / "config.yaml", {**config, "challenge": "another"})
    assert any("the challenge of config.yaml asks" in line for line in verify(tmp_path / "heart"))


def test_what_is_faster_by_heart_is_named(tmp_path):
    more = ["challenge=5f1c", "suite.sizes.mini.pairs=3", "suite.sizes.mini.max_pairs=3"]
    said, verdicts = told(tmp_path, "faster", "FasterByHeart", "Honest", *more)
    assert "a answered published and unpublished requests unlike: those took 0." in said
    assert "b answered" not in said
    assert "one request like another" in {p["name"] for v in verdicts for p in v["evidence"]}


def test_work_that_goes_on_after_the_answers_voids_its_windows(tmp_path, settling):
    one = "suite.sizes.mini.pairs=1"
    said, _ = told(tmp_path, "later", "WorksOnInAThread", "WorksOnInAChild", one)
    assert "Void: a" in said
    rows = bundle.read_table(tmp_path / "later", "windows")
    void = [(r["system"], r["kind"]) for r in rows if r["void"]]
    assert sorted(set(void)) == [("a", "block"), ("a", "latency"), ("b", "block")]
    reasons = {r["reason"] for r in rows if r["void"]}
    assert all("when all answers had been given" in reason for reason in reasons)


# Hands on the instrument ------------------------------------------------------------------------


@pytest.fixture
def start(tmp_path):
    with workers(tmp_path, "cheats", "cheat") as one:
        yield one


def test_a_clock_that_is_turned_back_is_not_read(start):
    cheat = start("TurnsBackTheClock", network=False)
    before = cheat.cpu_s()
    answer = cheat.generate(asked()[:2])
    assert answer.duration_s >= 0.3
    assert cheat.cpu_s() - before > 0.1


def test_an_answer_that_was_forged_is_a_broken_frame(start):
    with pytest.raises(SystemFailed, match="wrote a broken frame"):
        start("ForgesAnAnswer", network=False).generate(asked()[:3])


def test_a_process_that_cuts_itself_off_is_charged_and_stopped_with_the_rest(start):
    cheat = start("CutsItselfOff", network=False)
    before = cheat.cpu_s()
    time.sleep(1.0)
    assert cheat.cpu_s() - before > 0.1
    cheat.stop()
    before = cheat.cpu_s()
    time.sleep(0.5)
    assert cheat.cpu_s() - before <= 0.02


def test_nobody_meddles_with_the_harness_or_the_other_system(start):
    if not (walls([]).alone and walls([]).confined):
        pytest.skip("this machine shuts nobody in")
    other = start("Honest", network=False)
    others, files = [os.getpid(), other.pid], [harness.__file__, bundle.__file__]
    cheat = start("Meddles", network=False, others=others, files=files)
    assert len(cheat.card["notes"]) == 10
    assert "done" not in cheat.card["notes"].values(), cheat.card["notes"]
    images = other.generate(asked()[:2]).images
    assert all(isinstance(image, np.ndarray) for image in images)


def test_a_system_sees_number_text_and_seed_only(start):
    worker = start("ReadsTheCategory")
    worker.generate(asked()[:3])
    worker.load()  # asks for the card again
    assert worker.card["notes"]["seen"] == ["|None|()|0", "|None|()|1", "|None|()|2"]


def test_a_stopped_worker_and_its_children_use_no_processor(start):
    worker = start("WorksInAChild")
    time.sleep(0.3)
    worker.stop()
    before = worker.cpu_s()
    time.sleep(0.5)
    assert worker.cpu_s() - before <= 0.02  # two clock ticks
    worker.cont()
    time.sleep(0.5)
    assert worker.cpu_s() - before > 0.1
    child = psutil.Process(worker.process.pid).children()[0]
    worker.close()
    ended = time.monotonic() + 5  # a kill takes a moment to arrive
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < ended
        time.sleep(0.01)


def test_a_worker_without_network_reaches_no_machine(start):
    if not walls([]).alone:
        pytest.skip("this machine allows no namespaces")
    alone = start("CallsAnotherMachine", network=False)
    assert alone.offline
    assert alone.card["notes"] == {"links": ["lo"], "reached": False}
    assert len(alone.generate(asked()[:3]).images) == 3
    missing = start("toy_systems.MissingWeights", load=False, network=False)
    with pytest.raises(AssetError, match=r"\+systems.cheat.network=true allows it"):
        missing.load()


def test_where_nothing_shuts_it_in_it_is_said(start, monkeypatch):
    monkeypatch.setattr("harness.worker.walls", lambda folders, hidden: Walls())
    worker = start("CallsAnotherMachine", network=False)
    assert not worker.offline and not worker.hides
    assert worker.writes == ["anywhere"]


def test_a_worker_writes_under_its_scratch_folder_alone(start, tmp_path, monkeypatch):
    if not walls([]).confined:
        pytest.skip("this kernel has no Landlock")
    for name in ("NUMBA_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    asked = {"inside": "run/scratch/a", "outside": "toy.txt", "kept": "kept.txt"}
    (tmp_path / "kept.txt").write_text("kept")
    paths = {name: str(tmp_path / path) for name, path in asked.items()}
    memory = f"/dev/shm/un0bench-{secrets.token_hex(8)}"
    alone = start("WritesAnywhere", network=False, paths={**paths, "shared memory": memory})
    assert alone.writes == ["scratch"]
    refused = "OSError" if alone.offline else "PermissionError"  # read-only, or not allowed
    assert alone.card["notes"] == {
        "inside": "written",
        "outside": refused,
        "kept": refused,
        "temporary": str(tmp_path / "run/scratch"),
        "shared memory": "written" if alone.offline else "PermissionError",
    }
    assert not os.path.exists(memory)
    assert (tmp_path / "kept.txt").read_text() == "kept"
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    shared = start("WritesAnywhere", network=False, paths={"cached": str(tmp_path / "cache/a")})
    assert shared.writes == ["scratch", "NUMBA_CACHE_DIR"]
    assert shared.card["notes"]["cached"] == "written"
    assert start("WritesAnywhere", paths=paths).card["notes"]["outside"] == "written"


def test_a_worker_does_not_see_the_plan_of_its_audit(start, tmp_path):
    if walls([]) != replace(walls([]), alone=True, confined=True):
        pytest.skip("this machine allows no mounts of one's own")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/plan.json").write_text("the salt")
    (tmp_path / "run/scratch").mkdir()
    (tmp_path / "run/scratch/kept").write_text("of an earlier start")
    alone = start("ReadsThePlan", network=False, folder=str(tmp_path / "run"))
    assert alone.hides
    assert alone.card["notes"]["seen"] == ["scratch", "scratch/kept"]
    assert alone.card["notes"]["unmounted"] is alone.card["notes"]["cloned"] is False
    assert (tmp_path / "run/plan.json").read_text() == "the salt"
    free = start("ReadsThePlan", folder=str(tmp_path / "run"))
    assert not free.hides
    assert "plan.json" in free.card["notes"]["seen"]


# Words about oneself ----------------------------------------------------------------------------


def test_a_small_share_that_is_told_supports_nothing():
    card = asdict(cheats.TellsASmallShare().card())
    share = claim(
        id="active-0.1pct",
        quantity="active_fraction",
        direction="at_most",
        threshold=0.001,
        boundary=None,
    )
    (verdict,) = judged(replace(evidence(), cards={"un0": card}), share)
    assert verdict.outcome == "not_measured"
    assert "self-reported" in " ".join(verdict.reasons)


def test_little_work_that_is_told_is_counted(start):
    work = start("TellsLittleWork", network=False).work(asked()[:2])
    assert work["told"]["multiply_adds"] == {"all": 1}
    assert sum(work["counted"]["multiply_adds"].values()) * work["batch"] >= 64**3


def test_work_that_is_charged_to_nobody_supports_nothing():
    time_1000x = claim(id="time-1000x", quantity="processor_time", boundary=None)
    found = evidence(ratio=5000.0)
    (honest,) = judged(found, time_1000x)
    hidden = [
        {**row, "cpu_s": 0.1, "requests": 20_000, "foreign_cpu_s": 0.9}
        if row["system"] == "un0"
        else row
        for row in found.windows
    ]
    (verdict,) = judged(replace(found, windows=hidden), time_1000x)
    assert (honest.outcome, verdict.outcome) == ("supported", "not_measured")
    assert "were nobody's" in " ".join(verdict.reasons)


def test_weights_that_change_between_starts_are_refused(tmp_path, capsys):
    more = ["suite.sizes.mini.pairs=1", "+systems.a={_target_: cheats.ChangesItsWeights, batch: 4}"]
    given = [one for one in toys(tmp_path, more=["name=w"]) if not one.startswith("+systems.a")]
    assert cli.main([*given, *more]) == 2
    assert "The weights of a are not those" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("candidate", "fault"),
    [
        ("ReplaysOtherPictures", "not those that the system serves"),
        ("ReplaysInChildren", "outside the worker"),
    ],
)
def test_a_replay_that_is_none_does_not_count_and_the_audit_goes_on(tmp_path, candidate, fault):
    said, _ = told(tmp_path, "g", candidate, "Honest")
    rows = [r for r in bundle.read_table(tmp_path / "g", "windows") if r["kind"] == "gate"]
    assert all(fault in r["reason"] for r in rows if r["void"])
    assert any(r["void"] for r in rows)
    found = bundle.read_json(tmp_path / "g" / "verdicts.json")
    verdict = next(v for v in found if v["claim"] == "gating-negligible")
    assert verdict["outcome"] == "not_measured" and fault in verdict["reasons"][0]


def test_every_cheat_of_the_file_is_played():
    mine = Path(__file__).read_text()
    names = [n for n, c in vars(cheats).items() if isinstance(c, type) and c.__module__ == "cheats"]
    assert len(names) - 1 >= 25  # but Honest
    assert [name for name in names if not re.search(rf"\b{name}\b", mine)] == []

"""Every cheat of cheats.py is refused, voided or exposed by a named check, and honesty is not."""

import os
import time
from dataclasses import replace
from pathlib import Path

import cheats
import numpy as np
import pytest
from made_evidence import ENDPOINTS, claim, evidence, judged, parts
from toy_audits import toys

import harness
from harness import bundle, cli
from harness.isolation import walls
from harness.metrics.verified import Verified
from harness.records import Failure, Request
from harness.verify import verify
from harness.worker import Worker
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
    assert any("the challenge of config.yaml draws" in line for line in verify(tmp_path / "heart"))


def test_what_is_faster_by_heart_is_named(tmp_path):
    more = ["challenge=5f1c", "suite.sizes.mini.pairs=3", "suite.sizes.mini.max_pairs=3"]
    said, verdicts = told(tmp_path, "faster", "FasterByHeart", "Honest", *more)
    assert "a answered published and unpublished requests unlike: those took 0." in said
    assert "b answered" not in said
    assert "one request like another" in {p["name"] for v in verdicts for p in v["evidence"]}


def test_work_that_goes_on_after_the_answers_voids_its_windows(tmp_path):
    one = ["suite.sizes.mini.pairs=1", "++systems.a._target_=toy_systems.WorksOn"]
    said, _ = told(tmp_path, "later", "Honest", "WorksOnInAChild", *one)
    assert "Void: a" in said
    rows = bundle.read_table(tmp_path / "later", "windows")
    void = [(r["system"], r["kind"]) for r in rows if r["void"]]
    assert sorted(set(void)) == [("a", "block"), ("a", "latency"), ("b", "block")]
    reasons = {r["reason"] for r in rows if r["void"]}
    assert all("when all answers had been given" in reason for reason in reasons)


# Hands on the instrument ------------------------------------------------------------------------


def worker(folder, name, **config):
    return Worker(
        "cheat",
        {"_target_": f"cheats.{name}", **config},
        log=folder / "cheat.log",
        network=False,
        scratch=folder / "run/scratch",
        hidden=folder / "run",
    )


def test_a_clock_that_is_turned_back_is_not_read(tmp_path):
    with worker(tmp_path, "TurnsBackTheClock") as cheat:
        cheat.load()
        before = cheat.cpu_s()
        answer = cheat.generate(asked()[:2])
        assert answer.duration_s >= 0.3
        assert cheat.cpu_s() - before > 0.1


def test_a_process_that_cuts_itself_off_is_charged_and_stopped_with_the_rest(tmp_path):
    with worker(tmp_path, "CutsItselfOff") as cheat:
        cheat.load()
        before = cheat.cpu_s()
        time.sleep(1.0)
        assert cheat.cpu_s() - before > 0.1
        cheat.stop()
        before = cheat.cpu_s()
        time.sleep(0.5)
        assert cheat.cpu_s() - before <= 0.02


def test_nobody_meddles_with_the_harness_or_the_other_system(tmp_path):
    if not (walls([]).alone and walls([]).confined):
        pytest.skip("this machine shuts nobody in")
    with worker(tmp_path, "Honest") as other:
        other.load()
        others, files = [os.getpid(), other.pid], [harness.__file__, bundle.__file__]
        with worker(tmp_path, "Meddles", others=others, files=files) as cheat:
            cheat.load()
            assert len(cheat.card["notes"]) == 10
            assert "done" not in cheat.card["notes"].values(), cheat.card["notes"]
        images = other.generate(asked()[:2]).images
        assert all(isinstance(image, np.ndarray) for image in images)


def test_every_cheat_of_the_file_is_played():
    mine = Path(__file__).read_text()
    names = [n for n, c in vars(cheats).items() if isinstance(c, type) and c.__module__ == "cheats"]
    assert len(names) >= 16
    assert [name for name in names if f'"{name}"' not in mine] == []

"""Scores in published ranges, on made-up bundles whose answer is known."""

import dataclasses
import statistics

import numpy as np
import pytest
from made_evidence import evidence, judged, parts
from scipy import stats

from harness import assets, inputs
from harness.compose import compose
from harness.errors import ConfigError
from harness.metrics.frechet import frechet_distance, from_moments, gaussian
from harness.metrics.summary import Table
from harness.records import Claim, Range
from suites.claims import load_claims_file

WITHOUT_EMBLEM = 0.9  # of made prompts


def asks(metric, low, high, min_prompts=100):
    asked = (Range(metric=metric, low=low, high=high),)
    return Claim(id="r", statement="", quantity="score", ranges=asked, min_prompts=min_prompts)


def outcome(found, *asked, **more):
    return judged(found, asks(*asked, **more))[0]


def with_features(n=400, shift=0.0, d=6, drop=()):
    """The same bundle with features of an extractor for the candidate, and a reference."""
    found = evidence(n=n, controls=False)
    rng = np.random.default_rng(3)
    rows = (rng.normal(size=(n, d)) + shift).astype(np.float16)
    rows[list(drop)] = np.nan
    known = np.vstack([np.zeros(d), np.eye(d)])
    whole = {"inception": {"un0": rows, "reference": known}}
    facts = {"inception": {"mode": "clean", "network_sha256": "abcdef0123456789"}}
    return dataclasses.replace(found, whole=whole, settings={**found.settings, "whole": facts})


def again(found, noise):
    """Every prompt of the candidate drawn once more, its cosine off by `noise` times a sign."""
    mine = [r for r in found.requests if r["system"] == "un0"]
    more = [{**r, "request": r["request"] + 10_000, "seed": 1} for r in mine]
    items = [i for i in found.items if i["system"] == "un0"]
    items = [
        {**i, "request": i["request"] + 10_000, "value": i["value"] + noise * (-1) ** i["request"]}
        for i in items
    ]
    requests, items = found.requests + more, found.items + items
    return dataclasses.replace(found, requests=requests, items=items, features={})


def test_a_mean_is_decided_by_its_whole_interval():
    found = evidence(n=400, controls=False)  # cosines of 0.7 with a deviation of 0.05
    assert outcome(found, "clip", 0.68, 0.72).outcome == "supported"
    assert outcome(found, "clip", 0.75, 0.80).outcome == "refuted"
    assert outcome(found, "clip", 0.60, 0.65).outcome == "refuted"
    means = list(Table(found).by_prompt("un0", "clip").values())
    centre = statistics.fmean(means)
    error = statistics.stdev(means) / len(means) ** 0.5
    narrow = outcome(found, "clip", centre - error, centre + error)
    assert narrow.outcome == "inconclusive"
    assert "The figure alone lies inside" in narrow.reasons[0]
    assert "Drawn twice each" in narrow.reasons[0]
    half = stats.t.ppf(0.975, len(means) - 1) * error
    assert narrow.low == pytest.approx(centre - half) and narrow.estimate == pytest.approx(centre)
    off = outcome(found, "clip", centre + error, centre + 2 * error)
    assert off.outcome == "inconclusive" and "alone lies outside" in off.reasons[0]


def test_prompts_drawn_twice_vary_by_their_seeds_alone():
    found = evidence(n=400, controls=False)
    twice = again(found, noise=0.01)
    verdict = outcome(twice, "clip", 0.68, 0.72)
    assert "over seeds" in verdict.reasons[0]
    n = len(Table(found).by_prompt("un0", "clip"))
    # two draws 0.01 apart: variance 0.01^2 / 2 each, of a mean of two half of it
    half = stats.t.ppf(0.975, n) * (0.01**2 / 4 / n) ** 0.5
    assert verdict.high - verdict.estimate == pytest.approx(half, rel=1e-6)


def test_fewer_prompts_than_the_range_is_of_decide_nothing():
    found = evidence(n=400, controls=False)
    few = outcome(found, "clip", 0.9, 0.95, min_prompts=5000)
    assert few.outcome == "inconclusive"
    assert "Nothing is decided of fewer than 5,000 prompts" in few.reasons[0]
    small = judged(with_features(n=50), asks("inception", 10, 20, min_prompts=2))[0]
    assert small.outcome == "inconclusive" and small.low is None


def test_a_distance_is_of_the_first_picture_of_each_prompt():
    found = with_features()
    value = Table(found).distance("inception", "un0")
    kept = [i for i in range(400) if i % 10 != 2]  # emblem is in no pooled figure
    rows = found.whole["inception"]["un0"][kept].astype(float)
    known = from_moments(found.whole["inception"]["reference"])
    assert value.value == pytest.approx(frechet_distance(gaussian(rows), known), rel=1e-9)
    assert value.n == 360
    drawn = again(found, 0.0)
    far = np.vstack([found.whole["inception"]["un0"], np.full((400, 6), 9, np.float16)])
    whole = {"inception": {**found.whole["inception"], "un0": far}}
    twice = dataclasses.replace(drawn, whole=whole)
    assert Table(twice).distance("inception", "un0").value == value.value


def test_a_distance_is_held_to_its_range_and_says_how_it_was_made():
    found = with_features(shift=1.0)
    value = Table(found).distance("inception", "un0")
    wide = outcome(found, "inception", value.value - 2, value.value + 2)
    assert wide.outcome == "supported" and parts(wide) == {"inception in its range": "supported"}
    assert "mode clean" in wide.reasons[0] and "abcdef012345" in wide.reasons[0]
    assert outcome(found, "inception", 0.01, value.value / 2).outcome == "refuted"
    missing = with_features(drop=(0,))
    assert outcome(missing, "inception", 0, 1).outcome == "not_measured"
    assert outcome(evidence(n=50), "inception", 0, 1).outcome == "not_measured"


def test_the_conduct_of_a_baseline_has_no_part_in_a_score():
    """A constant baseline ignores its seed, which would leave a ratio not measured."""
    found = again(evidence(n=400, controls=False), 0.0)
    for row in found.requests:
        mine = row["system"] == "un0"
        row["image_sha256"] = f"{row['request']}" if mine else "grey"
    theirs = [r for r in found.requests if r["system"] == "dense"]
    more = [{**r, "request": r["request"] + 10_000, "seed": 1} for r in theirs]
    constant = dataclasses.replace(found, requests=found.requests + more)
    assert outcome(constant, "clip", 0.68, 0.72).outcome == "supported"
    for row in constant.requests:
        row["image_sha256"] = "grey"
    assert outcome(constant, "clip", 0.68, 0.72).outcome == "not_measured"


def test_the_shipped_claim_has_mlperfs_numbers():
    (claim,) = load_claims_file(assets.resolve("package:suites/mlperf-sdxl.yaml"))
    # Source: mlcommons/inference, submission checker, stable-diffusion-xl
    assert [(r.metric, r.low, r.high) for r in claim.ranges] == [
        ("clip", 0.3168631873, 0.3181331801),
        ("inception", 23.01085758, 23.95007626),
    ]
    assert claim.min_prompts == 5000


def test_mlperfs_suite_asks_its_captions_once_and_has_what_its_claim_needs():
    named, claim = "suite=mlperf-sdxl", "package:suites/mlperf-sdxl.yaml"
    reference = "suite.extractors.inception.reference=val2014.npz"
    suite = compose([named, reference, "system=[sdxl-mlperf,null]"])["suite"]
    plan = inputs.plan(suite, 0)
    assert 5000 <= 2 * plan.pairs * plan.core < 5000 + 2 * plan.pairs
    assert inputs.claims([claim], suite["extractors"])
    with pytest.raises(ConfigError, match="metric 'inception'"):
        inputs.claims([claim])
    with pytest.raises(ConfigError, match=r"suite.extractors.inception.reference has no value"):
        compose([named])

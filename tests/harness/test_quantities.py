"""Claims that are no ratio of blocks, on made-up bundles: 1 / 1200 J and s an image against 1."""

import dataclasses

import numpy as np
import pytest
from made_evidence import D, claim, evidence, judged

KWH = 1000 / 3.6e6  # of 1 J an image, for 1,000 images


def of(quantity, threshold, direction="at_most"):
    return claim(quantity=quantity, direction=direction, threshold=threshold, boundary=None)


def small(**changes):
    return evidence(n=0, controls=False, **changes)


def test_kilowatt_hours_of_the_candidate_are_decided_where_they_were_metered():
    expected = KWH / 1200
    outcomes = []
    for limit, direction in ((2, "at_most"), (2, "at_least"), (0.5, "at_most"), (0.5, "at_least")):
        verdict = judged(small(), of("kwh_per_1000", limit * expected, direction))[0]
        assert verdict.estimate == pytest.approx(expected, rel=0.02)
        assert verdict.low < verdict.estimate < verdict.high
        outcomes.append(verdict.outcome)
    assert outcomes == ["supported", "refuted", "refuted", "supported"]


def test_modelled_joules_are_told_and_decide_nothing():
    for quantity in ("kwh_per_1000", "price", "above_landauer"):
        found = with_work(small(method="modelled"), price_per_kwh=0.15, currency="USD")
        verdict = judged(found, of(quantity, 1e-30))[0]
        assert (verdict.outcome, verdict.estimate is None) == ("not_measured", False)
        assert "modelled" in verdict.reasons[0]


def with_work(found, **tariff):
    counted = {"multiply_adds": {"int8": 16e6}, "unique_bytes": 1, "moved_bytes": 1, "without": []}
    work = {"un0": {"batch": 16, "counted": counted, "told": None, "reason": ""}}
    settings = {**found.settings, "tariff": tariff}
    return dataclasses.replace(found, work=work, settings=settings)


def test_the_price_of_an_image_is_its_energy_at_the_stated_price():
    found = with_work(small(), price_per_kwh=0.15, currency="USD")
    verdict = judged(found, of("price", 1e-5))[0]
    assert verdict.outcome == "supported"
    assert verdict.estimate == pytest.approx(0.15 / 3.6e6 / 1200, rel=0.02)
    for tariff in ({}, {"price_per_kwh": 0, "currency": "USD"}, {"price_per_kwh": 1}):
        free = judged(with_work(small(), **tariff), of("price", 1e-5))[0]
        assert free.outcome == "not_measured" and "No price" in free.reasons[0]


def test_work_that_is_told_and_not_counted_decides_nothing():
    told = {"multiply_adds": {"all": 1e12}, "formats": {"all": "float32"}, "batch_bytes": 1}
    found = with_work(small())
    work = {"un0": {**found.work["un0"], "told": told}}
    verdict = judged(dataclasses.replace(found, work=work), of("above_landauer", 1e12))[0]
    assert verdict.outcome == "not_measured"


def test_landauers_bound_is_k_t_ln_2_for_each_bit_operation():
    verdict = judged(with_work(small()), of("above_landauer", 1000))[0]
    # 1e6 multiply-adds of 8 x 8 bits, 2.871e-21 J each at 300 K
    assert verdict.estimate == pytest.approx(1 / 1200 / (64e6 * 2.871e-21), rel=0.02)
    assert verdict.outcome == "refuted"
    assert "not counted" in judged(small(), of("above_landauer", 1000))[0].reasons[0]


def test_a_size_is_believed_against_its_interest_and_for_it_of_own_systems_alone():
    sizes = {"un0": 100, "dense": 1500}
    cards = {name: {"notes": {"denoiser_bytes": size}} for name, size in sizes.items()}
    found = dataclasses.replace(small(), cards=cards)
    own = {**found.settings, "own_systems": ["un0", "dense"]}
    ours = dataclasses.replace(found, settings=own)
    asked = [of("size", limit, "at_least") for limit in (10, 20)]
    assert [judged(found, one)[0].outcome for one in asked] == ["not_measured", "refuted"]
    assert [judged(ours, one)[0].outcome for one in asked] == ["supported", "refuted"]
    assert judged(ours, asked[0])[0].estimate == 15


def test_a_served_load_needs_windows_at_several_batches():
    verdict = judged(small(), of("served_energy", 1000, "at_least"))[0]
    assert verdict.outcome == "not_measured" and "load=true" in verdict.reasons[0]


def test_training_is_spread_over_images_and_counted_in():
    cards = {"un0": {"notes": {"training": {"cpu_s": 1000.0}}}}
    found = dataclasses.replace(small(), cards=cards)
    asked = claim(
        quantity="processor_time", boundary=None, threshold=1000.0, training_images=1_000_000
    )
    verdict = judged(found, asked)[0]
    # a thousandth of a second of training beside 1 / 1200 s an image, against 1 s
    assert verdict.estimate == pytest.approx(1 / (1 / 1200 + 1 / 1000), rel=0.01)
    assert verdict.outcome == "refuted"
    for spent in (None, 0, -800.0, float("nan"), "x", True):
        cards = {"un0": {"notes": {"training": {"cpu_s": spent}}}}
        silent = judged(dataclasses.replace(found, cards=cards), asked)[0]
        assert silent.outcome == "not_measured" and "training took" in silent.reasons[0]
    dear = {"dense": {"notes": {"training": {"cpu_s": 1e12}}}}
    same = judged(dataclasses.replace(found, cards={**found.cards, **dear}), asked)[0]
    assert same.estimate == verdict.estimate  # the baseline's training is taken as free


def test_the_candidates_word_on_its_training_supports_only_where_it_is_own():
    found = dataclasses.replace(small(), cards={"un0": {"notes": {"training": {"cpu_s": 1.0}}}})
    asked = claim(quantity="processor_time", boundary=None, threshold=500.0, training_images=1e6)
    assert judged(found, asked)[0].outcome == "not_measured"
    own = {**found.settings, "own_systems": ["un0"]}
    assert judged(dataclasses.replace(found, settings=own), asked)[0].outcome == "supported"


def test_three_pairs_are_shown_and_decide_only_what_asks_for_no_more():
    three = small(pairs=3)
    asked = {"quantity": "processor_time", "boundary": None, "threshold": 1000.0}
    undecided = judged(three, claim(**asked))[0]
    assert undecided.outcome == "inconclusive" and undecided.low is not None
    assert "No verdict before 6 pairs" in undecided.reasons[0]
    assert judged(three, claim(**asked, min_pairs=3))[0].outcome == "supported"


APART = claim(
    quantity="told_apart", direction="at_most", threshold=0.55, boundary=None, min_prompts=200
)


def test_pictures_of_one_distribution_are_not_told_apart_and_others_are():
    same = judged(evidence(n=2400, shift=0.3), APART)[0]
    far = judged(evidence(n=400, shift=300.0), APART)[0]
    assert (far.outcome, far.estimate) == ("refuted", 1.0)
    assert same.outcome == "supported" and same.low < 0.5 < same.high
    other = judged(evidence(n=2400, shift=0.3 + 2 / D**0.5), APART)[0]
    # two normals 2 deviations apart: 84.1% are on their own side of the middle
    assert other.outcome == "refuted" and other.estimate == pytest.approx(0.841, abs=0.02)
    assert judged(evidence(n=60, shift=0.3), APART)[0].outcome == "inconclusive"


def test_a_classifier_that_is_wrong_more_often_than_chance_is_no_support():
    found = evidence(n=400)
    theirs = found.features["dense"]
    moved = np.roll(theirs, 1, axis=0)  # the same pictures, each under the next prompt
    below = dataclasses.replace(found, features={**found.features, "un0": moved})
    verdict = judged(below, APART)[0]
    assert verdict.high < 0.55 and verdict.low < 0.45 and verdict.outcome == "inconclusive"


def test_a_judge_that_sees_no_blur_sees_nothing_and_flat_features_are_told():
    blind = judged(evidence(n=2400, shift=0.3, blur=0.0), APART)[0]
    assert blind.outcome == "not_measured" and "Blurred" in blind.reasons[0]
    found = evidence(n=400)
    flat = {name: 0 * rows for name, rows in found.features.items()}
    none = judged(dataclasses.replace(found, features=flat), APART)[0]
    assert none.outcome == "not_measured" and "all the same" in none.reasons[0]


def test_without_features_or_prompts_no_classifier_is_tried():
    bare = dataclasses.replace(evidence(n=400), features={})
    assert judged(bare, APART)[0].outcome == "not_measured"
    assert judged(evidence(n=8), APART)[0].outcome == "not_measured"

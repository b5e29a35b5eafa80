"""The ratio that a verdict rests on, from made-up bundles whose right answer is known."""

import dataclasses

import pytest
from made_evidence import ENDPOINTS, claim, evidence, judged


def test_ratio_above_the_threshold_is_supported_with_its_pairs():
    verdict = judged(evidence(n=0, controls=False), claim())[0]
    assert verdict.outcome == "supported"
    assert verdict.estimate == pytest.approx(1200, rel=0.02)
    assert verdict.low <= verdict.estimate <= verdict.high
    assert "with 6 pairs" in verdict.reasons[0] and "at least" in verdict.reasons[0]
    assert verdict.scope.startswith("proc:full node un0@")


def test_ratio_below_the_threshold_is_refuted_and_near_it_undecided():
    assert judged(evidence(n=0, controls=False, ratio=300), claim())[0].outcome == "refuted"
    near = judged(evidence(n=0, controls=False, ratio=1010, spread=0.05), claim())[0]
    assert near.outcome == "inconclusive"
    assert "pairs" in near.reasons[0] and "would decide" in near.reasons[0]


def test_modelled_energy_is_shown_and_never_decides():
    for ratio in (300, 1200):
        found = evidence(n=0, controls=False, method="modelled", ratio=ratio)
        verdict = judged(found, claim())[0]
        assert verdict.outcome == "not_measured"
        assert verdict.estimate == pytest.approx(ratio, rel=0.02)
        assert "modelled" in verdict.reasons[0]


def test_one_missing_reading_never_refutes_and_is_never_left_out():
    found = evidence(n=0, controls=False, ratio=300, pairs=12)
    found.windows[-1]["energy_j"] = None
    found.windows[-1]["reason"] = "under the meter's resolution"
    verdict = judged(found, claim())[0]
    assert verdict.outcome == "not_measured"
    assert verdict.estimate is None
    assert "under the meter's resolution" in verdict.reasons[0]


def test_five_pairs_are_inconclusive_and_a_void_window_costs_its_pair():
    assert judged(evidence(n=0, controls=False, pairs=5), claim())[0].outcome == "inconclusive"
    found = evidence(n=0, controls=False, ratio=300)
    for row in found.windows[-2:]:
        row["void"] = True
    verdict = judged(found, claim())[0]
    assert (verdict.outcome, verdict.evidence[0].n) == ("inconclusive", 5)


def test_unlike_states_of_the_machine_do_not_decide_and_are_named_with_both_values():
    found = evidence()
    for row in found.windows:
        if row["window"] == "2-BA-dense":
            row["cpu_mhz"] = 1700.0
    (ratio, *_) = judged(found, claim())[0].evidence
    assert ratio.outcome == "not_measured" and ratio.estimate is not None
    told = "In pair 3 BA the machine was not the same for dense: cpu_mhz 1700 against 2000"
    assert told in ratio.reason


def test_systems_that_load_the_machine_differently_are_compared():
    found = evidence()
    for row in found.windows:
        if row["system"] == "un0":
            row |= {"cpu_mhz": 900.0, "temperature_c": 40.0, "throttled": False}
        else:
            row |= {"cpu_mhz": 3500.0, "temperature_c": 85.0, "throttled": True}
    assert judged(found, claim())[0].evidence[0].outcome == "supported"


def test_a_system_whose_work_is_done_elsewhere_is_not_judged():
    found = evidence()
    for row in found.windows:
        if row["system"] == "un0":
            row["foreign_cpu_s"] = 4.0
    (ratio, *_) = judged(found, claim())[0].evidence
    assert ratio.outcome == "not_measured"
    assert "In the windows of un0 0.40 processors were busy elsewhere" in ratio.reason


def test_a_system_whose_windows_are_all_void_is_told_why():
    found = evidence()
    for row in found.windows:
        if row["system"] == "un0":
            row |= {"void": True, "reason": "it worked on"}
    assert "Void: un0, it worked on." in judged(found, claim())[0].evidence[0].reason


def test_no_verdict_before_the_planned_number_of_pairs():
    found = evidence(n=0, controls=False, ratio=300, pairs=8)
    later = dataclasses.replace(found, settings={**found.settings, "pairs_planned": 9})
    assert judged(later, claim())[0].outcome == "inconclusive"
    assert judged(found, claim())[0].outcome == "refuted"


def test_short_windows_and_a_meter_without_accuracy_do_not_decide():
    assert judged(evidence(n=0, controls=False, duration_s=1.0), claim())[0].outcome == (
        "not_measured"
    )
    assert judged(evidence(n=0, controls=False, accuracy=None), claim())[0].outcome == (
        "not_measured"
    )


def test_device_evidence_decides_in_the_scope_device_only():
    node, device, press = judged(evidence(n=0, controls=False, dram=False), claim())
    assert (node.outcome, device.outcome, press.outcome) == (
        "not_measured",
        "supported",
        "not_measured",
    )
    assert " device " in device.scope and press.scope == "press"
    assert "claimant's own system" in press.reasons[0]


def test_a_factor_against_an_unoptimised_baseline_is_called_so():
    found = evidence(n=0, controls=False)
    assert not any("unoptimised" in r for r in judged(found, claim())[0].reasons)
    found.cards["dense"] = {"notes": {"cheaper": "dense-optimised, 16 evaluations."}}
    told = judged(found, claim())[0].reasons[-1]
    assert told.endswith("an unoptimised baseline: dense-optimised, 16 evaluations.")
    quality = claim(quantity="quality", threshold=None, direction=None, endpoints=ENDPOINTS)
    assert not any("unoptimised" in r for r in judged(found, quality)[0].reasons)


def test_processor_time_is_a_claim_of_its_own():
    time = claim(id="time-1000x", quantity="processor_time", boundary=None)
    verdicts = judged(evidence(n=0, controls=False, method="modelled"), time)
    assert [v.outcome for v in verdicts] == ["supported"]
    assert "energy" not in " ".join(verdicts[0].reasons)
    assert judged(evidence(n=0, controls=False, cpu_s=None), time)[0].outcome == "not_measured"

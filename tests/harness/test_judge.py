"""Verdicts on made-up bundles whose right answer is known."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_evidence import ENDPOINTS, VERIFIED, D, claim, evidence, judged, parts

from harness import quality
from harness.findings import Finding, decide, first
from harness.judge import derive
from harness.metrics.endpoints import Comparison
from harness.metrics.summary import Table, prompt_groups
from harness.quality import DEFECTS
from harness.records import Part, Prompt
from suites.claims import load_claims

# Latency and active fraction ----------------------------------------------------------------------


def with_latency(seconds, failed=0):
    found = evidence(n=0, controls=False)
    found.windows.append({**found.windows[0], "window": "l", "kind": "latency", "batch": 1})
    for i, s in enumerate(seconds):
        found.requests.append(
            {
                "request": i,
                "window": "l",
                "system": "un0",
                "prompt_id": "p0",
                "seed": i,
                "core": False,
                "latency_ns": round(s * 1e9),
                "failure": "raised" if i < failed else None,
            }
        )
    return found


LATENCY = claim(
    id="latency-100ms", quantity="latency", direction="at_most", threshold=0.1, boundary=None
)


def test_latency_is_decided_by_its_95th_percentile():
    prompts = {"p0": Prompt(id="p0", text="", category="single")}
    fast = dataclasses.replace(with_latency([0.05] * 100), prompts=prompts)
    slow = dataclasses.replace(with_latency([0.05] * 80 + [0.2] * 20), prompts=prompts)
    few = dataclasses.replace(with_latency([0.05] * 71), prompts=prompts)
    failing = dataclasses.replace(with_latency([0.05] * 100, failed=20), prompts=prompts)
    outcomes = [judged(e, LATENCY)[0].outcome for e in (fast, slow, few, failing)]
    assert outcomes == ["supported", "refuted", "inconclusive", "refuted"]
    verdict = judged(few, LATENCY)[0]
    assert verdict.high is None and "At least 100 requests" in verdict.reasons[0]
    assert judged(evidence(n=0, controls=False), LATENCY)[0].outcome == "not_measured"


def test_a_self_reported_active_fraction_refutes_and_never_supports():
    active = load_claims(["active-0.1pct"])[0]
    found = evidence(n=0, controls=False)
    assert judged(found, active)[0].outcome == "not_measured"
    more = {"un0": {"active": {"parameter_bytes": 0.2, "neurons": 0.001}}}
    verdict = judged(dataclasses.replace(found, cards=more), active)[0]
    assert verdict.outcome == "refuted" and "neurons 0.100%" in verdict.reasons[0]
    none = judged(dataclasses.replace(found, cards={}), active)[0]
    assert none.outcome == "not_measured"


# Equal quality ------------------------------------------------------------------------------------


QUALITY = claim(
    id="no-quality-loss", quantity="quality", direction=None, threshold=None, boundary=None
)


def test_equal_systems_with_rejected_controls_are_supported():
    found = evidence(n=2400, shift=0.05, ours=0.92)
    verdict = judged(found, dataclasses.replace(QUALITY, endpoints=ENDPOINTS))[0]
    assert parts(verdict) == {
        "equal quality: verified": "supported",
        "equal quality: clip": "supported",
        "equal quality: frechet": "supported",
        "equal quality: recall": "supported",
        "controls": "supported",
        "baseline's bar": "supported",
    }
    assert verdict.outcome == "supported"


def test_each_endpoint_refutes_on_its_own():
    worse = {"verified": {"ours": 0.7}, "frechet": {"shift": 1.0}, "recall": {"shift": 2.0}}
    for metric, change in worse.items():
        found = evidence(n=900, **change)
        verdict = judged(found, dataclasses.replace(QUALITY, endpoints=ENDPOINTS))[0]
        assert parts(verdict)[f"equal quality: {metric}"] == "refuted", metric
        assert verdict.outcome == "refuted"


def test_better_quality_is_asked_of_the_candidate_and_never_of_the_controls():
    better = dataclasses.replace(ENDPOINTS[0], kind="superiority", margin=0.03)
    wanted = dataclasses.replace(QUALITY, endpoints=(better, *ENDPOINTS[1:]))
    outcomes = {}
    for ours in (0.7, 0.8, 0.9):
        verdict = judged(evidence(n=2400, ours=ours, theirs=0.8), wanted)[0]
        outcomes[ours] = parts(verdict)["better quality: verified"]
        assert parts(verdict)["controls"] == "supported"
    assert outcomes == {0.7: "refuted", 0.8: "refuted", 0.9: "supported"}
    # blind controls make it inadmissible, as they do equal quality
    alone = dataclasses.replace(QUALITY, endpoints=(better,))
    assert judged(evidence(n=2400, ours=0.9, theirs=0.8), alone)[0].outcome == "not_measured"


def test_few_prompts_are_inconclusive_with_the_number_that_would_decide():
    verdict = judged(evidence(n=150), dataclasses.replace(QUALITY, endpoints=VERIFIED))[0]
    assert verdict.outcome in ("inconclusive", "not_measured")
    assert parts(verdict)["equal quality: verified"] == "inconclusive"
    assert any("prompts would decide" in reason for reason in verdict.reasons)
    worse = judged(evidence(n=150, ours=0.2), dataclasses.replace(QUALITY, endpoints=VERIFIED))[0]
    assert parts(worse)["equal quality: verified"] == "refuted"
    assert not any("prompts would decide" in reason for reason in worse.reasons)


def test_a_number_that_nobody_could_ask_is_not_asked_for():
    near = Comparison(
        name="verified", estimate=-0.0299, low=-0.1, high=0.04, threshold=-0.03, n=150, needed=4_000
    )
    for needed, says in ((4_000, "About 4,000"), (4_000_000, "no number would decide")):
        found = quality._endpoint(
            dataclasses.replace(near, needed=needed), "equal", "un0", "dense", None
        )
        assert says in found.more


def test_an_accepted_defect_makes_quality_not_measured():
    found = evidence(n=2400, ours=0.95)
    # JPEG and dropped modes leave verified content alone: alone, it is a blind instrument.
    verdict = judged(found, dataclasses.replace(QUALITY, endpoints=VERIFIED))[0]
    assert parts(verdict)["controls"] == "not_measured"
    assert parts(verdict)["equal quality: verified"] == "not_measured"
    assert verdict.outcome == "not_measured"
    assert any("Injected defects passed" in reason for reason in verdict.reasons)


def test_absent_controls_do_not_support():
    found = evidence(n=900, ours=0.99, controls=False)
    verdict = judged(found, dataclasses.replace(QUALITY, endpoints=VERIFIED))[0]
    assert verdict.outcome == "not_measured"


def test_a_verifier_that_fails_its_own_renders_is_inadmissible():
    found = evidence(n=900)
    for item in found.items:
        if item["system"] == "control:reference" and item["metric"] == "verified":
            item["value"] = float(item["request"] % 10 > 0)
    verdict = judged(found, dataclasses.replace(QUALITY, endpoints=ENDPOINTS))[0]
    assert parts(verdict)["controls"] == "not_measured"


def test_a_baseline_below_its_bar_makes_equal_quality_mean_nothing():
    found = evidence(n=900, ours=0.2, theirs=0.2)
    low = dataclasses.replace(QUALITY, endpoints=ENDPOINTS, baseline_bar={"verified": 0.5})
    verdict = judged(found, low)[0]
    assert parts(verdict)["baseline's bar"] == "not_measured"
    assert verdict.outcome == "not_measured"
    far = dataclasses.replace(QUALITY, endpoints=ENDPOINTS, baseline_bar={"frechet_share": 0.001})
    assert parts(judged(found, far)[0])["baseline's bar"] == "not_measured"


def test_failing_and_dropped_prompts_count_against_the_candidate():
    found = evidence(n=900, ours=1.0, theirs=1.0)
    wanted = dataclasses.replace(QUALITY, endpoints=VERIFIED)
    for row in found.requests:
        if row["system"] == "un0" and row["request"] % 5 == 0:
            row["failure"] = "raised"
    found.items[:] = [
        i for i in found.items if i["system"] != "un0" or i["request"] % 5 or i["metric"] != "clip"
    ]
    for item in found.items:
        if item["system"] == "un0" and item["request"] % 5 == 0:
            item["value"] = 0.0
    table = Table(found)
    assert table.by_prompt("un0", "verified")["p5"] == 0.0
    next(i for i in found.items if i["request"] == 5 and i["system"] == "un0")["value"] = 1.0
    assert Table(found).by_prompt("un0", "verified")["p5"] == 0.0  # whatever an item says
    assert table.by_prompt("un0", "clip")["p5"] == pytest.approx(0.1)  # the shuffled level
    assert (table.features("un0")[[r.failed for r in table.pooled("un0")]] == 0).all()
    dropped = dataclasses.replace(found, requests=[r for r in found.requests if not r["failure"]])
    verdict = judged(dropped, wanted)[0]
    assert parts(verdict)["equal quality: verified"] == "not_measured"
    assert any("unlike requests" in reason for reason in verdict.reasons)


def test_filler_that_is_worse_than_the_core_is_exposed():
    found = evidence(n=900, ours=0.95)
    for i in range(600):
        found.requests.append(
            {**found.requests[0], "request": 5000 + i, "prompt_id": f"p{i}", "core": False}
        )
        found.items.append(
            {"request": 5000 + i, "system": "un0", "metric": "verified", "value": float(i % 2)}
        )
    # The rows of a system follow each other, as do its features.
    found.features["un0"] = np.concatenate([found.features["un0"], np.zeros((600, D))])
    verdict = judged(found, dataclasses.replace(QUALITY, endpoints=VERIFIED))[0]
    assert parts(verdict)["equal quality: verified"] == "not_measured"
    assert any("unlike" in reason for reason in verdict.reasons)


# Outcomes ---------------------------------------------------------------------------------------


def test_precedence_is_refuted_not_measured_inconclusive_supported():
    assert first(["supported", "inconclusive", "not_measured", "refuted"]) == "refuted"
    assert first(["supported", "inconclusive", "not_measured"]) == "not_measured"
    assert first(["supported", "inconclusive"]) == "inconclusive"
    assert first(["supported"]) == "supported"


def test_refutation_is_corrected_by_holm_and_support_is_not():
    def finding(p, supports=False):
        part = Part(name="x", outcome="inconclusive")
        return Finding(part=part, p_refuted=p, supports=supports)

    alone = decide([finding(0.02)], 0.025)
    among = decide([finding(0.02), finding(0.9, supports=True), finding(0.5)], 0.025)
    assert [p.outcome for p in alone] == ["refuted"]
    assert [p.outcome for p in among] == ["inconclusive", "supported", "inconclusive"]
    inadmissible = Finding(part=Part(name="y", outcome="not_measured"))
    assert [p.outcome for p in decide([finding(0.02), inadmissible], 0.025)] == [
        "refuted",
        "not_measured",
    ]


def test_a_refuted_ratio_stands_although_quality_was_not_measured():
    found = evidence(n=150, ratio=300, controls=False)
    assert judged(found, claim(endpoints=VERIFIED))[0].outcome == "refuted"


GOODNESS = {"refuted": 0, "not_measured": 1, "inconclusive": 1, "supported": 2}


def test_worse_evidence_never_improves_the_outcome():
    wanted = claim(endpoints=ENDPOINTS[:1] + ENDPOINTS[2:3])
    series = (
        [{"ratio": r} for r in (2000, 1100, 1000, 950, 500)],
        [{"ours": q} for q in (0.95, 0.9, 0.88, 0.8, 0.5)],
        [{"shift": s} for s in (0.0, 0.3, 0.35, 1.0)],
    )
    for steps in series:
        ranks = [
            GOODNESS[
                judged(evidence(n=900, **{"ours": 0.95, "shift": 0.1, **step}), wanted)[0].outcome
            ]
            for step in steps
        ]
        assert ranks == sorted(ranks, reverse=True), steps
        assert ranks[0] > ranks[-1]


@settings(deadline=None, max_examples=25)
@given(
    better=st.tuples(st.floats(400, 3000), st.floats(0.4, 0.99)),
    loss=st.tuples(st.floats(0, 0.8), st.floats(0, 0.4)),
    asked=st.sampled_from([500.0, 1000.0]),
)
def test_a_verdict_never_gets_better_when_evidence_gets_worse(better, loss, asked):
    ratio, right = better
    series = (
        better,
        (ratio * (1 - loss[0]), right),
        (ratio * (1 - loss[0]), right - loss[1]),
    )
    for endpoints in ((), VERIFIED):
        wanted = claim(threshold=asked, endpoints=endpoints)
        ranks = [
            GOODNESS[judged(evidence(n=200, controls=False, ratio=r, ours=q), wanted)[0].outcome]
            for r, q in series
        ]
        assert ranks == sorted(ranks, reverse=True), series


def test_taking_evidence_away_never_supports():
    wanted = claim(endpoints=ENDPOINTS, min_prompts=800)
    whole = evidence(n=900)
    cuts = [
        dataclasses.replace(whole, reference=None),
        dataclasses.replace(whole, features={}),
        dataclasses.replace(whole, items=[]),
        dataclasses.replace(whole, windows=[]),
        dataclasses.replace(whole, requests=[r for r in whole.requests if r["core"] is None]),
        dataclasses.replace(whole, boundaries=()),
    ]
    for cut in cuts:
        assert judged(cut, wanted)[0].outcome in ("not_measured", "inconclusive")


# Scores -----------------------------------------------------------------------------------------


def test_scores_hold_every_system_and_leave_emblem_out_of_all():
    found = evidence(n=400)
    rows, _ = derive(found, [])
    by = {(s.system, s.metric, s.category): s for s in rows}
    emblems = sum(p.category == "emblem" for p in found.prompts.values())
    assert emblems == 40
    assert by["un0", "verified", "all"].n == 360
    assert by["un0", "verified", "emblem"].n == 40
    assert by["dense", "frechet", "all"].n == 360
    assert {s.system for s in rows} == {"un0", "dense", "control:reference", *DEFECTS}
    expected = [
        i["value"]
        for i in found.items
        if i["system"] == "un0"
        and i["metric"] == "verified"
        and found.prompts[f"p{i['request']}"].category != "emblem"
    ]
    assert by["un0", "verified", "all"].value == pytest.approx(np.mean(expected))
    floor = by["control:reference", "frechet_inf", "all"]
    assert floor.low < 0.05 and floor.value < 0.1 * by["control:blur", "frechet_inf", "all"].value
    for metric in ("kernel", "precision", "recall", "density", "coverage", "frechet_inf"):
        assert by["un0", metric, "all"].value is not None


def test_a_perfect_score_has_exact_bounds_instead_of_none():
    rows, _ = derive(evidence(n=400, ours=1.0, controls=False), [])
    score = next(s for s in rows if (s.system, s.metric, s.category) == ("un0", "verified", "all"))
    assert (score.value, score.high) == (1.0, 1.0)
    assert score.low == pytest.approx(0.025 ** (1 / 360))  # Clopper-Pearson, all successes


def test_the_same_rows_give_the_same_figures():
    wanted = [claim(endpoints=ENDPOINTS), LATENCY]
    first_time, again = derive(evidence(n=400), wanted), derive(evidence(n=400), wanted)
    assert first_time == again


def test_groups_of_prompts_are_equal_in_size():
    sizes = np.bincount(list(prompt_groups(f"p{i}" for i in range(301)).values()))
    assert sizes.max() - sizes.min() == 1 and len(sizes) == 30

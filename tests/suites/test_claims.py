"""Claim files are plain data with fixed numbers; a wrong one is refused by name."""

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import inputs
from harness.errors import InputError
from suites.claims import claim_ids, claims_bytes, load_claims, load_claims_file

GOOD = """id: mine
statement: Ten times.
quantity: processor_time
direction: at_least
threshold: 10
"""


def written(tmp_path, text):
    path = tmp_path / "claim.yaml"
    path.write_text(text)
    return path


def test_shipped_claims_hold_the_numbers_of_the_method():
    ids = ("energy-1000x", "time-1000x", "active-0.1pct", "no-quality-loss", "latency-100ms")
    energy, time, active, quality, latency = load_claims(ids)
    assert (energy.threshold, energy.direction, energy.boundary) == (1000.0, "at_least", "node")
    assert (time.quantity, time.threshold) == ("processor_time", 1000.0)
    assert (active.threshold, active.direction) == (0.001, "at_most")
    assert (latency.threshold, latency.min_trials) == (0.1, 100)
    for claim in (energy, time, quality):
        margins = {e.metric: (e.kind, e.margin) for e in claim.endpoints}
        assert margins == {
            "verified": ("difference", 0.03),
            "clip": ("relative", 0.05),
            "frechet": ("frechet", 0.10),
            "recall": ("difference", 0.05),
        }
        assert claim.min_prompts == 1300
    assert {c.id for c in load_claims()} == set(claim_ids())


def test_the_bytes_in_a_bundle_read_back_as_the_same_claims(tmp_path):
    path = tmp_path / "claims.yaml"
    path.write_bytes(claims_bytes())
    assert load_claims_file(path) == load_claims()
    path.write_bytes(claims_bytes(["latency-100ms"]))
    assert load_claims_file(path) == load_claims(["latency-100ms"])


def test_an_unknown_claim_names_the_nearest():
    with pytest.raises(InputError, match="nearest known is energy-1000x"):
        load_claims(["energy-100x"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("threshold", "treshold"), "unknown key 'treshold'. The nearest known is threshold"),
        (("threshold: 10", "threshold: ten"), "threshold is 'ten'; write a number"),
        (("threshold: 10", "threshold: -1"), "write a number above 0"),
        (("threshold: 10", "threshold: .nan"), "threshold is nan"),
        (("threshold: 10", "threshold: true"), "threshold is True"),
        (("at_least", "at_last"), "write at_least or at_most"),
        (("processor_time", "enery"), "quantity is 'enery'"),
        (("processor_time", "energy"), "boundary"),
        (("processor_time", "gate_share"), "write at_most"),
        (("statement: Ten times.\n", ""), "the key statement is missing"),
        (("id: mine", "id: 3"), "id is 3; write text"),
        (("threshold: 10", "threshold: 10\nalpha: 0.1"), "write 0.025"),
        (("threshold: 10", "threshold: 10\nmin_pairs: 2"), "write 3 or more"),
        (("threshold: 10", "threshold: 10\nthreshold: 9"), "stands twice"),
        (("threshold: 10", "threshold: !!python/object/apply:os.getcwd []"), "not plain YAML"),
        (("threshold: 10", "threshold: &a 10\nmin_pairs: *a"), "alias"),
        (("threshold: 10", "threshold: 10\nendpoints: 3"), "must be a list"),
        (
            ("threshold: 10", "threshold: 10\nendpoints: [{metric: clip, knd: x, margin: 1}]"),
            r"endpoints\[0\]: unknown key 'knd'",
        ),
        (
            (
                "threshold: 10",
                "threshold: 10\nendpoints: [{metric: clip, kind: frechet, margin: 0.1}]",
            ),
            "goes with the metric frechet",
        ),
        *(
            (("threshold: 10", f"threshold: 10\nendpoints: [{{{text}, margin: 0.1}}]"), words)
            for text, words in (
                ("metric: verified, kind: relative", "only clip has a scale"),
                ("metric: recall, kind: relative", "only clip has a scale"),
                ("metric: recall, kind: difference, category: text", "it is pooled"),
                ("metric: recall, kind: superiority", "verified and clip can have it"),
            )
        ),
        (
            ("threshold: 10", "threshold: 10\nbaseline_bar: {verifed: 1}"),
            "nearest known is verified",
        ),
        (("id: mine", "- id: mine"), "claim.yaml"),
        (("threshold: 10", "threshold: 10\nboundary: node"), "joules alone have one"),
        (("processor_time", "active_fraction"), "above 0, and below 1"),
        (
            (
                "threshold: 10",
                "threshold: 10\nendpoints: [{metric: clip, kind: relative, margin: 5}]",
            ),
            "0.03 for 3 points",
        ),
        (
            (
                "threshold: 10",
                "threshold: 10\nendpoints: [{metric: joules, kind: relative, margin: 0.1}]",
            ),
            "unknown metric 'joules'",
        ),
    ],
)
def test_a_wrong_claim_is_refused_with_file_key_and_remedy(tmp_path, change, words):
    path = written(tmp_path, GOOD.replace(*change))
    with pytest.raises(InputError, match=words) as caught:
        load_claims_file(path)
    assert "claim.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_empty_huge_and_repeated_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="not readable"):
        load_claims_file(tmp_path / "none.yaml")
    with pytest.raises(InputError, match="holds no claim"):
        load_claims_file(written(tmp_path, "# nothing\n"))
    with pytest.raises(InputError, match="larger than"):
        load_claims_file(written(tmp_path, "#" * 300_000))
    with pytest.raises(InputError, match="mine stands twice"):
        load_claims_file(written(tmp_path, f"---\n{GOOD}---\n{GOOD}"))


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.text(), st.binary(), st.text("[]{}:-&*!|>'\" \na1").map(GOOD.__add__)))
def test_any_bytes_load_or_are_refused_as_input(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("fuzz") / "claim.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "replace"))
    try:
        found = load_claims_file(path)
    except InputError:
        return
    assert all(claim.threshold is None or claim.threshold > 0 for claim in found)


WRITTEN = st.fixed_dictionaries(
    {
        "id": st.just("mine"),
        "statement": st.just("So many times."),
        "quantity": st.sampled_from(
            ["energy", "processor_time", "latency", "active_fraction", "gate_share", "quality"]
        ),
        "direction": st.sampled_from(["at_least", "at_most"]),
        "threshold": st.sampled_from([-1, 0, 0.001, 0.9, 3, 1000]),
    },
    optional={
        "boundary": st.sampled_from(["device", "node", "facility", "cpu"]),
        "endpoints": st.lists(
            st.fixed_dictionaries(
                {
                    "metric": st.sampled_from(["verified", "clip", "frechet", "recall", "joules"]),
                    "kind": st.sampled_from(["difference", "superiority", "relative", "frechet"]),
                    "margin": st.sampled_from([0.03, 0.1, 3, 5]),
                }
            ),
            max_size=2,
        ),
    },
)


@settings(deadline=None, max_examples=300)
@given(WRITTEN)
def test_units_and_boundaries_cannot_be_mixed(tmp_path_factory, fields):
    path = tmp_path_factory.mktemp("claims") / "mine.yaml"
    path.write_text(yaml.safe_dump(fields))
    try:
        inputs.claims([str(path)])  # as an audit takes them
        (claim,) = load_claims_file(path)
    except InputError:
        return
    assert (claim.boundary is not None) == (claim.quantity == "energy")
    if claim.quantity in ("active_fraction", "gate_share"):
        assert 0 < claim.threshold < 1
    for endpoint in claim.endpoints:
        assert 0 < endpoint.margin < 1 and endpoint.metric != "joules"
        assert (endpoint.kind == "frechet") == (endpoint.metric == "frechet")
        assert endpoint.kind != "relative" or endpoint.metric == "clip"


SCORE = """id: mine
statement: It is near.
quantity: score
ranges:
  - {metric: clip, low: 0.3, high: 0.4}
"""


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("high: 0.4", "high: 0.3", "low below high"),
        (", high: 0.4", "", "the key high is missing"),
        ("high: 0.4", "most: 0.4", "unknown key 'most'"),
        ("low: 0.3", "low: few", "low is 'few'"),
        (
            "quantity: score",
            "quantity: quality\nendpoints: [{metric: clip, kind: relative, margin: 0.1}]",
            "ranges .* for score alone",
        ),
        ("ranges:\n  - {metric: clip, low: 0.3, high: 0.4}\n", "", "ranges .* for score alone"),
        ("ranges:\n  - {metric: clip, low: 0.3, high: 0.4}", "ranges: 3", "ranges must be a list"),
    ],
)
def test_a_range_that_decides_nothing_is_refused(tmp_path, old, new, words):
    assert load_claims_file(written(tmp_path, SCORE))[0].ranges[0].high == 0.4
    assert old in SCORE
    with pytest.raises(InputError, match=words):
        load_claims_file(written(tmp_path, SCORE.replace(old, new)))

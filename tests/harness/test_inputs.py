"""What a user asks for is checked before anything is measured."""

import pytest

from harness import inputs
from harness.errors import ConfigError, InputError
from suites.prompts import read_prompt_file


@pytest.mark.parametrize("name", ["reference", "loaded", "control:blur", "a/b", "..", ""])
def test_a_name_that_a_bundle_needs_for_itself_names_no_system(name):
    with pytest.raises(ConfigError, match="cannot name a system"):
        inputs.system(name, {})


@pytest.mark.parametrize(
    ("key", "value"), [("batch", 0), ("batch", True), ("timeout_s", "abc"), ("timeout_s", 0)]
)
def test_a_setting_of_a_system_out_of_range_is_named(key, value):
    with pytest.raises(ConfigError, match=f"systems.a.{key}"):
        inputs.system("a", {key: value})


@pytest.mark.parametrize("value", [None, 5, [1], [], ["time-1000x", "time-1000x"]])
def test_claims_that_are_no_names_are_refused(value):
    with pytest.raises(ConfigError, match="claims="):
        inputs.claims(value)


@pytest.mark.parametrize("value", ["abc", -1, 0.5, None, True, float("nan"), 100])
def test_a_facility_draws_at_least_what_its_node_draws(value):
    with pytest.raises(ConfigError, match="pue="):
        inputs.pue(value)
    assert inputs.pue(1) == 1.0


def test_a_spec_that_no_verifier_reads_is_refused_with_its_line(tmp_path):
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"text": "a"}\n{"text": "b", "spec": {"category": "single"}}\n')
    with pytest.raises(InputError, match=r"prompts.jsonl:2: spec is no scene"):
        read_prompt_file(path)


def test_an_endpoint_is_built_in_or_of_an_extractor(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(
        "{id: c, statement: s, quantity: processor_time, direction: at_least, threshold: 2, "
        "endpoints: [{metric: contrast, kind: difference, margin: 0.1}]}"
    )
    assert inputs.claims([str(path)], ["contrast"])
    with pytest.raises(ConfigError, match=r"c\.yaml: metric 'contrast'"):
        inputs.claims([str(path)])

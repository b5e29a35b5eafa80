"""A dense teacher of the budget `smoke`, and a student that draws in one evaluation."""

import json

import numpy as np
import pytest
from diffusers import PixArtAlphaPipeline

from harness.errors import ConfigError
from harness.records import Prompt, Request
from harness.systems.diffusers_pipeline import DiffusersSystem
from un0_model import dense as shapes
from un0_model.recipes import dense, distilled
from un0_model.recipes.leg import Leg


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    out = tmp_path_factory.mktemp("train") / "dense"
    assert dense.main("smoke", Leg(out=out, seed=3))
    return out / "pipeline"


def test_a_student_draws_in_one_evaluation(teacher, tmp_path):
    assert distilled.main("smoke", Leg(out=tmp_path, seed=3, base=teacher))
    system = DiffusersSystem(
        model=str(tmp_path / "pipeline"),
        steps=1,
        guidance=1.0,
        height=64,
        width=64,
        call=shapes.CALL,
    )
    system.load()
    assert system.card().evaluations == 1
    prompt = Prompt(id="a", text="a red circle on white", category="single")
    one, again, other = system.generate(
        [Request(id=i, prompt=prompt, seed=seed) for i, seed in enumerate((1, 1, 2))]
    )
    assert np.array_equal(one, again) and not np.array_equal(one, other)
    found = json.loads(next((tmp_path / "student").glob("grid-*.json")).read_text())
    assert 0 <= found["verified_val"] <= 1


def test_answers_are_kept_and_a_student_begins_as_its_teacher(teacher, tmp_path):
    assert distilled.main("smoke", Leg(out=tmp_path, seed=3, base=teacher))
    made = sorted(tmp_path.glob("answers-*.npy"))
    assert [np.load(path).shape for path in made] == [(4, 8, 8, 8)] * 2
    before = dense.loaded(teacher).transformer.proj_out.weight
    begun = distilled.one_evaluation(dense.loaded(teacher))
    assert begun.transformer.proj_out.weight.equal(-before)
    assert isinstance(begun, PixArtAlphaPipeline)


def test_without_a_teacher_it_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="needs a teacher"):
        distilled.main("smoke", Leg(out=tmp_path))

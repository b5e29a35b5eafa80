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


@pytest.mark.parametrize("steps", [1, 2])
def test_a_student_draws_in_few_evaluations(teacher, tmp_path, steps):
    assert distilled.main("smoke", Leg(out=tmp_path / "a", seed=3, base=teacher))
    system = DiffusersSystem(
        model=str(tmp_path / "a/pipeline"),
        steps=steps,
        guidance=1.0,
        height=64,
        width=64,
        call=shapes.CALL,
    )
    system.load()
    assert system.card().evaluations == steps
    prompt = Prompt(id="a", text="a red circle on white", category="single")
    one, again, other = system.generate(
        [Request(id=i, prompt=prompt, seed=seed) for i, seed in enumerate((1, 1, 2))]
    )
    assert np.array_equal(one, again) and not np.array_equal(one, other)
    found = json.loads(next((tmp_path / "a/student").glob("grid-*.json")).read_text())
    assert 0 <= found["verified_val"] <= 1


def test_answers_are_kept_and_a_student_begins_as_its_teacher(teacher, tmp_path):
    assert distilled.main("smoke", Leg(out=tmp_path / "a", seed=3, base=teacher))
    made = sorted((tmp_path / "answers").glob("*.npy"))
    assert [np.load(path).shape for path in made] == [(4, 8, 8, 8)] * 2
    before = dense.loaded(teacher).transformer.proj_out.weight
    begun = distilled.student(dense.loaded(teacher), {})
    assert begun.transformer.proj_out.weight.equal(-before)
    assert isinstance(begun, PixArtAlphaPipeline)


def test_a_small_student_reads_its_teachers_captions(teacher, tmp_path):
    leg = Leg(out=tmp_path / "a", seed=3, base=teacher, shape={"width": 16, "layers": 2})
    assert distilled.main("smoke", leg)
    made, own = dense.loaded(tmp_path / "a/pipeline"), dense.loaded(teacher)
    assert shapes.parameters(made.transformer) * 20 < shapes.parameters(own.transformer)
    for name, value in own.text_encoder.state_dict().items():
        assert made.text_encoder.state_dict()[name].equal(value)


@pytest.mark.parametrize("shape", [{"width": 18}, {"width": 164}, {"layers": 0}, {"keep": 3}])
def test_a_shape_that_cannot_be_is_refused(teacher, shape):
    with pytest.raises(ConfigError, match=f"shape.{next(iter(shape))}"):
        distilled.student(dense.loaded(teacher), shape)


def test_without_a_teacher_it_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="needs a teacher"):
        distilled.main("smoke", Leg(out=tmp_path))

"""A pipeline whose denoiser or scheduler comes from another folder."""

import hashlib
import json
import shutil

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler

from harness.errors import AssetError, ConfigError
from harness.protocols import Technique
from harness.techniques.packed import FILE, save
from harness.techniques.replaced import Replaced
from un0_model import dense

DDIM = {"prediction_type": "sample", "timestep_spacing": "trailing", "clip_sample": False}


@pytest.fixture
def student(tmp_path):
    """A denoiser that differs from the pipeline's in its weights."""
    torch.manual_seed(1)
    path = tmp_path / "student"
    dense.transformer(width=32, layers=2, heads=2, caption_width=32).save_pretrained(path)
    return path


def test_a_part_of_its_own_folder_draws_the_same_picture(folder, loaded, asked):
    """In bfloat16 too, where a buffer of another precision would show."""
    part = Replaced(transformer=str(folder / "transformer"), scheduler=str(folder / "scheduler"))
    assert isinstance(part, Technique)
    for dtype in ("float32", "bfloat16"):
        ours, theirs = loaded(part, dtype=dtype), loaded(dtype=dtype)
        assert np.array_equal(ours.generate(asked(1, 2)), theirs.generate(asked(1, 2)))


def test_another_denoiser_draws_another_picture_and_the_card_names_its_weights(
    student, loaded, asked
):
    system = loaded(Replaced(transformer=str(student)))
    assert not np.array_equal(system.generate(asked(1)), loaded().generate(asked(1)))
    card, path = system.card(), student / FILE
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert card.weights_sha256[f"transformer/{FILE}"] == digest
    assert card.notes["techniques"][0]["file_bytes"] == path.stat().st_size
    assert card.parameters < loaded().card().parameters  # 2 layers in place of 4


def test_packed_weights_are_a_third_as_large_and_draw_nearly_the_same(folder, loaded, asked):
    plain = loaded()
    packed = folder.parent / "packed"
    save(plain.pipeline.transformer, packed)
    assert (packed / FILE).stat().st_size < (folder / "transformer" / FILE).stat().st_size / 3
    system = loaded(Replaced(transformer=str(packed)))
    difference = np.subtract(system.generate(asked(1, 2)), plain.generate(asked(1, 2)), dtype=int)
    assert 0 < np.abs(difference).mean() < 2


def test_settings_of_a_scheduler_are_laid_over_the_pipelines(folder, loaded, asked, tmp_path):
    DDIMScheduler(**DDIM).save_pretrained(tmp_path)
    named = loaded(Replaced(scheduler=str(tmp_path)), steps=2, guidance=1.0)
    told = loaded(Replaced(scheduler={"_class_name": "DDIMScheduler", **DDIM}), steps=2, guidance=1)
    assert told.card().notes["scheduler"] == "DDIMScheduler"
    assert np.array_equal(named.generate(asked(1)), told.generate(asked(1)))
    same_kind = loaded(Replaced(scheduler={"solver_order": 1}))
    assert same_kind.pipeline.scheduler.config.solver_order == 1
    assert same_kind.pipeline.scheduler.config.prediction_type == "flow_prediction"


def cut(path):
    (path / FILE).write_bytes((path / FILE).read_bytes()[:-100])


def of_another_class(path):
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(
        json.dumps({**config, "_class_name": "DiTTransformer2DModel"})
    )


def of_another_shape(path):
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, "num_layers": 3}))


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (shutil.rmtree, "No file or folder at"),
        (lambda path: (path / "config.json").unlink(), "No config.json in"),
        (lambda path: (path / "config.json").write_text("{"), "config.json cannot be read"),
        (lambda path: (path / FILE).unlink(), "no .safetensors files"),
        (cut, f"{FILE} is corrupt"),
        (lambda path: shutil.copy(path / FILE, path / "more.safetensors"), "Keep one variant"),
        (of_another_class, "holds a DiTTransformer2DModel, but .* is a PixArtTransformer2DModel"),
        (of_another_shape, "do not fit each other"),
    ],
)
def test_a_denoiser_that_cannot_be_is_told_with_what_is_wrong(student, loaded, harm, said):
    harm(student)
    with pytest.raises(AssetError, match=said):
        loaded(Replaced(transformer=str(student)))


@pytest.mark.parametrize(
    ("asked_for", "kind", "said"),
    [
        ({"solver_oder": 1}, ConfigError, "takes no 'solver_oder'"),
        ({"_class_name": "Nothing"}, ConfigError, "Nothing is no scheduler's"),
        ({"algorithm_type": "none"}, ConfigError, "gives no DPMSolverMultistepScheduler"),
        ("/nowhere", AssetError, "No file or folder at /nowhere"),
    ],
)
def test_a_scheduler_that_cannot_be_is_told_with_what_is_wrong(loaded, asked_for, kind, said):
    with pytest.raises(kind, match=said):
        loaded(Replaced(scheduler=asked_for))


def test_nothing_to_replace_is_an_error():
    with pytest.raises(ConfigError, match="replaces nothing"):
        Replaced()

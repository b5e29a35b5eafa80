"""The recipe of dense at the budget `smoke`: a pipeline that diffusers loads, and goes on from."""

import json

import numpy as np
import pytest
import torch
from diffusers import PixArtAlphaPipeline
from safetensors.torch import load_file

from un0_model.recipes import dense
from un0_model.recipes.leg import Leg, summary


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("train") / "dense"
    assert dense.main("smoke", Leg(out=out, seed=3))
    return out


def test_what_is_written_draws_as_a_diffusers_pipeline(trained):
    pipe = PixArtAlphaPipeline.from_pretrained(trained / "pipeline", dtype=torch.float32)
    images = pipe(
        ["a red circle on white"],
        num_inference_steps=2,
        height=64,
        width=64,
        clean_caption=False,
        use_resolution_binning=False,
        max_sequence_length=20,
        output_type="np",
    ).images
    assert images.shape == (1, 64, 64, 3) and np.isfinite(images).all()
    result = summary(trained)["stages"]["denoiser"]["result"]
    assert 0 <= result["verified_val"] <= 1


@pytest.mark.parametrize(("only", "part"), (("decoder", "vae"), ("denoiser", "transformer")))
def test_one_stage_of_a_base_alone_changes_that_part_alone(trained, tmp_path, only, part):
    on = tmp_path / "on"
    base = trained / "pipeline"
    assert dense.main("smoke", Leg(out=on, seed=4, base=base, only=only, steps=40))
    file = "diffusion_pytorch_model.safetensors"
    for name in ("vae", "transformer"):
        before = load_file(base / name / file)
        after = load_file(on / "pipeline" / name / file)
        changed = {key for key in before if not torch.equal(before[key], after[key])}
        assert bool(changed) == (name == part)
        assert not any(key.startswith("encoder.") for key in changed)
    scales = [
        json.loads((folder / "vae/config.json").read_text())["scaling_factor"]
        for folder in (base, on / "pipeline")
    ]
    assert scales[0] == scales[1]
    written = [path.read_text() for path in (on / "pipeline").rglob("*.json")]
    assert written and not any(str(tmp_path) in text or str(base) in text for text in written)

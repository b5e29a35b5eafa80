"""Un0 answers the call of a diffusers pipeline."""

from pathlib import Path

import numpy as np
import pytest
import torch

from harness.errors import ConfigError
from un0_model.pipeline_un0 import Un0Pipeline

WEIGHTS = Path(__file__).parents[2] / "un0_model" / "weights" / "un0"
CAPTION = "a red circle on white"


@pytest.fixture(scope="module")
def pipe() -> Un0Pipeline:
    return Un0Pipeline.from_pretrained(WEIGHTS)


def seeded(n: int) -> torch.Generator:
    return torch.Generator().manual_seed(n)


def test_a_caption_gives_a_picture_as_pil(pipe):
    image = pipe(CAPTION).images[0]
    assert (image.size, image.mode) == ((64, 64), "RGB")


def test_the_three_outputs_are_one_picture(pipe):
    pil, array, tensor = (
        pipe(CAPTION, generator=seeded(1), output_type=kind).images for kind in ("pil", "np", "pt")
    )
    assert array.shape == (1, 64, 64, 3)
    assert tensor.shape == (1, 3, 64, 64)
    assert np.array_equal(np.asarray(pil[0]), (array[0] * 255).round().astype(np.uint8))
    assert np.array_equal(tensor[0].permute(1, 2, 0).numpy(), array[0])


def test_prompts_and_images_a_prompt_multiply(pipe):
    images = pipe([CAPTION, "three blue stars"], num_images_per_prompt=2, output_type="np").images
    assert images.shape == (4, 64, 64, 3)
    assert not np.array_equal(images[0], images[1])


def test_a_generator_makes_pictures_repeatable_in_any_batch(pipe):
    first, again = (pipe(CAPTION, generator=seeded(3), output_type="np").images for _ in range(2))
    assert np.array_equal(first, again)
    both = pipe([CAPTION] * 2, generator=[seeded(4), seeded(3)], output_type="np").images
    assert np.array_equal(both[1], first[0])


def test_a_tuple_instead_of_an_output(pipe):
    (images,) = pipe(CAPTION, generator=seeded(3), output_type="np", return_dict=False)
    assert np.array_equal(images, pipe(CAPTION, generator=seeded(3), output_type="np").images)


@pytest.mark.parametrize(
    ("given", "says"),
    (
        ({"height": 512}, "64 x 64"),
        ({"height": 0}, "64 x 64"),
        ({"temperature": 0.0}, "above 0"),
        ({"num_images_per_prompt": 0}, "no image"),
        ({"output_type": "latent"}, "output_type"),
        ({"generator": [torch.Generator()] * 2}, "one an image"),
    ),
)
def test_what_it_cannot_do_is_refused(pipe, given, says):
    with pytest.raises(ConfigError, match=says):
        pipe(CAPTION, **given)


def test_a_saved_pipeline_draws_the_same(pipe, tmp_path):
    pipe.save_pretrained(tmp_path)
    images = Un0Pipeline.from_pretrained(tmp_path)(CAPTION, generator=seeded(3), output_type="np")
    known = pipe(CAPTION, generator=seeded(3), output_type="np").images
    assert np.array_equal(images.images, known)


def test_steps_guidance_and_a_dtype_are_taken_and_change_nothing(pipe):
    known = pipe(CAPTION, generator=seeded(3), output_type="np").images
    same = pipe.to(torch.float16).to("cpu")(
        CAPTION, num_inference_steps=50, guidance_scale=7.5, generator=seeded(3), output_type="np"
    )
    assert np.array_equal(same.images, known)


def test_no_prompt_is_refused(pipe):
    with pytest.raises(ConfigError, match="no image"):
        pipe([])

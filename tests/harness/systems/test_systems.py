from pathlib import Path

import numpy as np
import pytest
import yaml

from harness.errors import ConfigError
from harness.protocols import System
from harness.records import Failure, Prompt, Request
from harness.systems.null import NullSystem
from harness.systems.redrawn import CosineCode, RedrawnSystem
from harness.systems.renderer import RendererSystem
from harness.systems.un0 import Un0System
from suites.proc.parse import parse
from suites.proc.sets import load_set
from suites.proc.verify import verify


def requests(texts, seed=0):
    return [
        Request(id=i, prompt=Prompt(id=str(i), text=text, category=""), seed=seed + i)
        for i, text in enumerate(texts)
    ]


def test_null_answers_one_grey_whatever_is_asked():
    system = NullSystem(height=8, width=6)
    system.load()
    a, b = system.generate(requests(["a cat", "a dog"]))
    assert a.shape == (8, 6, 3) and a.dtype == np.uint8
    assert np.array_equal(a, b)
    assert isinstance(system, System)


def test_the_rasteriser_reads_captions_back_and_passes_the_verifier():
    prompts = load_set("test").prompts[:100]
    system = RendererSystem()
    system.load()
    images = system.generate(requests([prompt.text for prompt in prompts]))
    shown = [verify(prompt.spec, image) for prompt, image in zip(prompts, images, strict=True)]
    assert np.mean(shown) >= 0.98
    assert isinstance(system, System)


def test_the_rasteriser_follows_the_seed_and_not_the_batch():
    system = RendererSystem()
    texts = ["two red stars", "a small blue ring and a large red star"]
    together = system.generate(requests(texts))
    alone = [system.generate([request])[0] for request in requests(texts)]
    other = system.generate(requests(texts, seed=9))
    assert all(np.array_equal(a, b) for a, b in zip(together, alone, strict=True))
    assert not np.array_equal(together[0], other[0])


def test_a_text_outside_the_suite_is_a_failure():
    (answer,) = RendererSystem().generate(requests(["a photo of a cat"]))
    assert isinstance(answer, Failure)
    assert "a photo of a cat" in answer.reason


WHOLE = [[i, j, c, 256] for i in range(8) for j in range(8) for c in range(3)]


def test_a_cosine_code_of_every_number_in_fine_levels_loses_next_to_nothing():
    pictures = np.stack(
        RendererSystem().generate(
            requests(["two red stars", "a small blue ring and a large red star"])
        )
    )
    again = CosineCode(WHOLE, pictures).redraw(pictures)
    assert again.shape == pictures.shape and again.dtype == np.uint8
    # beyond the percentiles that the levels span, values are cut
    assert np.abs(again - pictures.astype(float)).mean() < 2


def test_a_cosine_code_of_means_draws_each_block_in_one_colour():
    pictures = np.stack(
        RendererSystem().generate(
            requests(["two red stars", "a small blue ring and a large red star"])
        )
    )
    code = CosineCode([[0, 0, c, 256] for c in range(3)], pictures)
    blocks = code.redraw(pictures).reshape(2, 8, 8, 8, 8, 3).astype(float)
    assert np.ptp(blocks, axis=(2, 4)).max() == 0
    means = pictures.reshape(2, 8, 8, 8, 8, 3).mean(axis=(2, 4))
    assert np.abs(blocks[:, :, 0, :, 0] - means).mean() < 2
    assert code.bits == 64 * 3 * 8


def test_what_is_redrawn_is_the_render_through_the_code_and_a_failure_stays_one():
    texts = ["two red stars", "a photo of a cat", "a small blue ring and a large red star"]
    system = RedrawnSystem(numbers=WHOLE)
    system.load()
    first, failure, last = system.generate(requests(texts))
    assert isinstance(failure, Failure) and isinstance(system, System)
    plain = RendererSystem().generate(requests(texts))
    for ours, theirs in ((first, plain[0]), (last, plain[2])):
        assert np.abs(ours.astype(float) - theirs).mean() < 8
    assert system.card().notes["bits_a_picture"] == 64 * 192 * 8


def test_the_dictionary_redraws_as_many_bits_as_the_cosines_it_is_set_against():
    learned = RedrawnSystem(model="package:un0_model/weights/un0")
    learned.load()
    (image,) = learned.generate(requests(["two red stars"]))
    assert verify(parse("two red stars"), image)
    config = yaml.safe_load(Path("conf/system/redrawn-cosine.yaml").read_text())
    fixed = RedrawnSystem(numbers=config["numbers"])
    fixed.load()
    assert fixed.code.bits == pytest.approx(learned.code.bits, rel=1e-3)
    assert set(learned.card().weights_sha256) == {"un0.safetensors"}


@pytest.mark.parametrize(
    "given", [{}, {"model": "a", "numbers": [[0, 0, 0, 8]]}, {"numbers": [[0, 8, 0, 8]]}]
)
def test_a_code_that_cannot_be_is_refused(given):
    with pytest.raises(ConfigError, match=r"either model|no row"):
        RedrawnSystem(**given).load()


@pytest.mark.parametrize(
    "wrong", [{"temperature": 0.0}, {"min_p": 2.0}, {"sure": -0.1}, {"rare": 1.5}]
)
def test_a_sampling_out_of_range_is_refused(wrong):
    (name,) = wrong
    with pytest.raises(ConfigError, match=name):
        Un0System(**wrong)

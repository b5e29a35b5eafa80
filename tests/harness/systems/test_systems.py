import numpy as np

from harness.protocols import System
from harness.records import Failure, Prompt, Request
from harness.systems.null import NullSystem
from harness.systems.renderer import RendererSystem
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

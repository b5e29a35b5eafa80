"""The fused kernel draws the same words as the model it replaces, whatever the batch."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import numba
import pytest
import torch
from numba.core.dispatcher import Dispatcher

from un0_model import kernel
from un0_model.kernel import FusedTokens
from un0_model.replay import Noted
from un0_model.tokens import Sampling, uniforms

SHARP = Sampling(temperature=0.7, min_p=0.02, sure=0.7, rare=0.05)


@pytest.fixture(scope="module")
def captions() -> torch.Tensor:
    words = torch.randint(1, 30, (11, 6), generator=torch.Generator().manual_seed(1))
    for i in range(11):
        words[i, 1 + i % 6 :] = 0
    return words


def test_words_equal_the_reference_on_random_weights_and_captions(model, captions):
    """Float sums run in another order: of twenty images about one comes to a number on an edge."""
    left, fused = 0, FusedTokens(model)
    for seed in range(6):
        noise = uniforms([1000 * seed + i for i in range(11)])
        sampling = Sampling(temperature=0.9, min_p=0.02, sure=(1.0, 0.25)[seed % 2], rare=0.1)
        by_kernel = fused.generate(captions, noise, sampling)
        left += (by_kernel != model.generate(captions, noise, sampling)).any(1).sum().item()
    assert left <= 8  # of 66


def test_where_the_model_is_sure_its_odds_count_as_they_are(model, captions):
    fused, noise = FusedTokens(model), uniforms(range(11))
    greedy, plain = Sampling(min_p=1.0), fused.generate(captions, noise)
    assert torch.equal(fused.generate(captions, noise, greedy._replace(sure=0.0)), plain)
    some = fused.generate(captions, noise, greedy._replace(sure=0.25))
    assert not some.equal(plain) and not some.equal(fused.generate(captions, noise, greedy))
    assert torch.equal(
        fused.generate(captions, noise, Sampling(sure=0.0, rare=1.0)),
        fused.generate(captions, noise, greedy),
    )


def test_the_gate_chooses_as_the_reference_does(model, captions):
    by_kernel, reference = FusedTokens(model).route(captions), model.route(captions)
    assert torch.allclose(by_kernel.gain, reference.gain, atol=1e-5)
    on = reference.gain > 0
    assert torch.equal(by_kernel.index[on], reference.index[on])


def test_what_is_unlikely_beside_the_likeliest_is_never_drawn(model, captions):
    fused, noise, cut = FusedTokens(model), uniforms(range(11)), Sampling(min_p=0.5)
    reference = model.generate(captions, noise, cut)
    assert (fused.generate(captions, noise, cut) != reference).any(1).sum() <= 2  # edges
    assert (fused.generate(captions, noise) != reference).any(1).sum() > 2
    other = uniforms(range(100, 111))  # at 1 only the likeliest is left, whatever the dice say
    greedy = [fused.generate(captions, dice, Sampling(min_p=1.0)) for dice in (noise, other)]
    assert torch.equal(*greedy)
    reference = model.generate(captions, noise, Sampling(min_p=1.0))
    assert (greedy[0] != reference).any(1).sum() <= 2  # edges


def test_a_sketch_is_written_first_and_left_out(sketching, captions):
    fused, noise = FusedTokens(sketching), uniforms(range(11), 68)
    drawn = fused.generate(captions, noise)
    assert drawn.shape == (11, 64)
    assert (drawn != sketching.generate(captions, noise)).any(1).sum() <= 2  # edges, as above
    other = noise.clone()
    other[:, :4] = uniforms(range(100, 111), 68)[:, :4]
    assert (drawn != fused.generate(captions, other)).any(1).all()
    with pytest.raises(ValueError, match="68, 5"):
        fused.generate(captions, noise[:, 4:])
    noted = Noted(fused, captions)
    for stage in ("decided", "gathered", "resident"):
        assert torch.equal(noted.generate(stage, noise), drawn)
    fused.remember(20)
    for _ in range(2):
        assert torch.equal(fused.generate(captions, noise), drawn)


def test_threads_change_nothing(model, captions):
    fused, noise = FusedTokens(model), uniforms(range(11))
    before = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        alone = fused.generate(captions, noise)
        numba.set_num_threads(min(2, numba.config.NUMBA_NUM_THREADS))
        assert torch.equal(fused.generate(captions, noise), alone)
    finally:
        numba.set_num_threads(before)


def test_an_image_does_not_depend_on_its_batch(model, captions):
    fused, noise = FusedTokens(model), uniforms(range(11))
    whole = fused.generate(captions, noise)
    alone = [fused.generate(captions[i : i + 1], noise[i : i + 1]) for i in range(11)]
    assert torch.equal(whole, torch.cat(alone))


def test_a_gain_of_zero_switches_a_neuron_off(model, captions):
    fused, noise = FusedTokens(model), uniforms(range(11))
    route = model.route(captions)
    silent = type(route)(index=route.index, gain=torch.zeros_like(route.gain))
    by_kernel = fused.generate(captions, noise, route=silent)
    reference = model.generate(captions, noise, route=silent)
    assert (by_kernel != reference).any(1).sum() <= 2  # edges, as above
    assert (by_kernel != fused.generate(captions, noise)).any(1).sum() > 2


@pytest.mark.parametrize(
    ("words", "noise"),
    (
        (torch.ones(2, 5, dtype=torch.long), uniforms([1, 2])),
        (torch.ones(2, 7, dtype=torch.long), uniforms([1, 2])),
        (torch.full((2, 6), 30), uniforms([1, 2])),
        (torch.zeros(2, 6, dtype=torch.long), uniforms([1, 2])),
        (torch.ones(2, 6, dtype=torch.long), uniforms([1])),
    ),
)
def test_arrays_that_the_kernel_would_read_beyond_are_refused(model, words, noise):
    with pytest.raises(ValueError, match="are"):
        FusedTokens(model).generate(words, noise)


def test_no_kernel_may_change_the_order_of_a_sum():
    """Or pictures would depend on what compiled it, and where."""
    names = [path.stem for path in Path(kernel.__file__).parent.glob("*.py")]
    modules = [importlib.import_module(f"un0_model.{n}") for n in names if n != "graphed"]
    found = {f for module in modules for f in vars(module).values() if isinstance(f, Dispatcher)}
    assert len(found) > 15 and not any(f.targetoptions.get("fastmath") for f in found)


def test_words_are_the_same_bits_on_a_machine_without_wide_registers(model, captions, tmp_path):
    """Compiled for a plain processor, in a process of its own."""
    words = FusedTokens(model).generate(captions, uniforms(range(11)), SHARP)
    torch.save((model, captions, SHARP), tmp_path / "given.pt")
    code = """
import sys, torch
from un0_model.kernel import FusedTokens
from un0_model.tokens import uniforms
model, captions, sharp = torch.load(sys.argv[1] + "/given.pt", weights_only=False)
words = FusedTokens(model).generate(captions, uniforms(range(11)), sharp)
torch.save(words, sys.argv[1] + "/words.pt")
"""
    plain = {
        "NUMBA_CPU_NAME": "generic",
        "NUMBA_CPU_FEATURES": "",
        "NUMBA_CACHE_DIR": str(tmp_path),
    }
    command = [sys.executable, "-c", code, str(tmp_path)]
    subprocess.run(command, env={**os.environ, **plain}, check=True)
    assert torch.equal(torch.load(tmp_path / "words.pt"), words)

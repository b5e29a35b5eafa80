"""Products of bytes are exact with and without the vector instruction; layers round as they say."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from un0_model import compiled, vnni
from un0_model.integer import Integer, rounded


def product(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    out = np.zeros((len(x), weight.shape[1]), np.int32)
    vnni.multiply(x, len(x), vnni.pack(weight), out)
    return out


@pytest.mark.parametrize("rows", (1, 2, 3, 7, 8, 13, 23))
@pytest.mark.parametrize(("depth", "width"), ((4, 32), (128, 384), (576, 64)))
def test_products_are_exact(rows, depth, width):
    rng = np.random.default_rng(rows)
    x = rng.integers(0, 256, (rows, depth)).astype(np.uint8)
    weight = rng.integers(-127, 128, (depth, width)).astype(np.int8)
    assert np.array_equal(product(x, weight), x.astype(np.int32) @ weight.astype(np.int32))


def test_the_largest_numbers_do_not_saturate():
    x, weight = np.full((2, 576), 255, np.uint8), np.full((576, 32), -127, np.int8)
    assert (product(x, weight) == 576 * 255 * -127).all()


def test_machines_without_the_instruction_give_the_same_sums(tmp_path):
    """Compiled for a plain processor, in a process of its own: every height of tile."""
    code = """
import numpy as np
from un0_model import compiled, vnni
rng = np.random.default_rng(0)
for rows in (1, 2, 4, 8, 15):
    x = rng.integers(0, 256, (rows, 64)).astype(np.uint8)
    weight = rng.integers(-127, 128, (64, 64)).astype(np.int8)
    out = np.zeros((rows, 64), np.int32)
    vnni.multiply(x, rows, vnni.pack(weight), out)
    assert np.array_equal(out, x.astype(np.int32) @ weight.astype(np.int32))
"""
    plain = {
        "NUMBA_CPU_NAME": "generic",
        "NUMBA_CPU_FEATURES": "",
        "NUMBA_CACHE_DIR": str(tmp_path),
    }
    subprocess.run([sys.executable, "-c", code], env={**os.environ, **plain}, check=True)


def test_weights_that_do_not_fill_tiles_are_refused():
    with pytest.raises(ValueError, match="do not fill tiles"):
        vnni.pack(np.zeros((6, 32), np.int8))


@pytest.mark.parametrize("signed", (True, False))
def test_a_rounded_layer_stays_close_to_the_one_it_came_from(signed):
    torch.manual_seed(0)
    layer = torch.nn.Linear(64, 32)
    x = torch.randn(10, 64) if signed else torch.rand(10, 64)
    error = (rounded(layer, signed=signed)(x) - layer(x)).std() / layer(x).std()
    assert 0 < error < 0.02


def test_a_rounded_convolution_stays_close_to_the_one_it_came_from():
    torch.manual_seed(0)
    layer = torch.nn.Conv2d(16, 32, 3, padding=1)
    x = torch.rand(2, 16, 8, 8)
    error = (rounded(layer, signed=False)(x) - layer(x)).std() / layer(x).std()
    assert 0 < error < 0.02


def test_a_row_of_zeros_gives_the_bias():
    layer = Integer(torch.randn(32, 8), torch.arange(32.0), signed=True)
    assert torch.equal(layer(torch.zeros(1, 8))[0], torch.arange(32.0))


def test_old_code_is_not_taken_up_when_another_source_changed(tmp_path):
    def folder(text: str) -> str:
        sources = tmp_path / text
        sources.mkdir()
        (sources / "kernel.py").write_text("the same")
        (sources / "vnni.py").write_text(text)
        return compiled._folder(str(tmp_path), sources)

    assert folder("one") != folder("two")
    assert folder("three").startswith(str(tmp_path / "kernels-"))
    assert compiled._folder("").startswith(str(Path(compiled.__file__).parent / "__pycache__"))


def test_a_layer_thawed_and_rounded_again_is_the_same():
    torch.manual_seed(5)
    first = rounded(torch.nn.Linear(24, 16), signed=True)
    again = rounded(first.thawed(), signed=True)
    assert torch.equal(first.weight, again.weight)
    assert torch.allclose(first.step, again.step, rtol=1e-6)
    assert torch.equal(first.bias, again.bias)

"""The GPU's path, run on the processor: Triton interpreted, the graph's own function ungraphed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")

ROOT = Path(__file__).parents[2]
KERNEL = """
import torch
from un0_model.graphed import gated
from torch.nn import functional as F
torch.manual_seed(0)
pool, step = torch.randint(-127, 128, (500, 256), dtype=torch.int8), torch.rand(500, 1) * 0.01
for images in (1, 5):
    y, gain = torch.randn(images, 128), torch.rand(images, 8) * (torch.rand(images, 8) < 0.7)
    index = torch.randint(0, 500, (images, 8))
    read, write = (pool[index].float() * step[index]).chunk(2, dim=-1)
    active = F.relu(torch.einsum("bd,bkd->bk", y, read)) * gain
    expected = torch.einsum("bk,bkd->bd", active, write)
    found = gated(y, pool, step, index, gain)
    assert expected.abs().max() > 0.5
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-5), (found - expected).abs().max()
"""
WRITER = """
import torch
from un0_model import graphed
from un0_model.pipeline import Un0
from un0_model.tokens import Sampling
SAMPLING = Sampling(0.8, 0.05, 0.7, 0.02)
un0 = Un0.from_pretrained("un0_model/weights/un0")
words = un0.words(["a red circle on white", "three blue stars", "the letters q a in red"])
uniform = un0.uniforms([1, 2, 3])
route = un0.tokens.route(words)
with torch.inference_mode():
    expected = un0.tokens.generate(words, uniform, SAMPLING)
    given = graphed.Given(words=words, uniform=uniform, index=route.index, gain=route.gain,
                          sampling=torch.tensor(SAMPLING))
    found = graphed.write(un0.tokens, given)[:, un0.tokens.shape.sketch:]
    given.gain.zero_()
    without = graphed.write(un0.tokens, given)[:, un0.tokens.shape.sketch:]
same = (found == expected).float().mean(1)
# a sum on a rounding edge changes a word now and then, and what follows it
assert (same[:, None] > 0.9).sum() >= 2, same
assert not without.equal(found)
"""
WIDE = """
import torch
from un0_model.graphed import GraphedTokens
from un0_model.integer import rounded
layers = [rounded(torch.nn.Linear(width, 8), signed=True) for width in (64, 4096)]
model = torch.nn.Sequential(*layers)
model.shape = None
GraphedTokens(model)
assert [layer.exact for layer in layers] == [torch.float32, torch.float64]
"""


@pytest.mark.parametrize("program", [KERNEL, WRITER, WIDE], ids=["kernel", "writer", "wide"])
def test_it_draws_as_the_reference(program):
    """In a process of its own: Triton reads how it shall run when it is first imported."""
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]

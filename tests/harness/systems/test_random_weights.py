"""The published architectures: their sizes, and the same pipelines made tiny."""

from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from tiny_pipelines import CALL, TINY, described, written

from harness import assets
from harness.counter import work_of
from harness.errors import AssetError
from harness.records import Prompt, Request
from harness.systems.random_weights import RandomWeights, _part

SIZES = {  # as published, of parts whose count is
    ("sd15", "unet"): 859_520_964,
    ("sd15", "vae"): 83_653_863,
    ("sd15", "text_encoder"): 123_060_480,
    ("sdxl", "unet"): 2_567_463_684,
    ("sdxl", "text_encoder_2"): 694_659_840,
    ("pixart-sigma", "transformer"): 610_856_096,
    ("pixart-sigma", "text_encoder"): 4_762_310_656,
}
REQUESTS = [
    Request(id=i, prompt=Prompt(id=str(i), text="two red stars", category=""), seed=seed)
    for i, seed in enumerate((1, 2, 1))
]


@pytest.mark.parametrize(("name", "part"), SIZES)
def test_parts_have_as_many_parameters_as_published(name, part):
    with torch.device("meta"):
        module = _part(described(name)["components"][part])
    assert sum(p.numel() for p in module.parameters()) == SIZES[name, part]


@pytest.mark.parametrize("name", TINY)
def test_the_same_pipeline_made_tiny_is_a_system(name, tmp_path):
    path = written(name, tmp_path)
    system = RandomWeights(
        model=str(path), steps=2, guidance=3.0, height=64, width=64, call=CALL.get(name)
    )
    system.load()
    a, b, c = system.generate(REQUESTS)
    assert a.shape == (64, 64, 3) and a.dtype == np.uint8
    assert np.abs(a.astype(int) - c).max() <= 1 < np.abs(a.astype(int) - b).max()
    card = system.card()
    assert (card.name, card.evaluations) == (described(name)["pipeline"], 4)
    assert list(card.weights_sha256) == [f"random weights of {name}.json"]
    assert work_of(system, REQUESTS)["counted"]["multiply_adds"]["float32"] > 1_000_000


@pytest.mark.parametrize("name", TINY)
def test_each_has_a_configuration_that_names_it(name):
    text = (Path(assets.resolve("package:conf/system")) / f"random-{name}.yaml").read_text()
    assert f"architectures/{name}.json" in text
    assert hasattr(diffusers, described(name)["pipeline"])


def test_a_file_that_describes_nothing_is_told(tmp_path):
    path = tmp_path / "x.json"
    for text in ("{}", "no json", '{"components": {"unet": {"class": "os.system"}}}'):
        path.write_text(text)
        with pytest.raises(AssetError, match="describes no pipeline"):
            RandomWeights(model=str(path)).load()

"""The published architectures: their sizes, and the same pipelines made tiny."""

import json
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch

from harness import assets
from harness.counter import work_of
from harness.errors import AssetError
from harness.records import Prompt, Request
from harness.systems.random_weights import RandomWeights, _part

FOLDER = Path(assets.resolve("package:harness/systems/architectures"))
SIZES = {  # as published, of parts whose count is
    ("sd15", "unet"): 859_520_964,
    ("sd15", "vae"): 83_653_863,
    ("sd15", "text_encoder"): 123_060_480,
    ("sdxl", "unet"): 2_567_463_684,
    ("sdxl", "text_encoder_2"): 694_659_840,
    ("pixart-sigma", "transformer"): 610_856_096,
    ("pixart-sigma", "text_encoder"): 4_762_310_656,
}
CLIP = {"vocab_size": 500, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
CLIP |= {"num_attention_heads": 2, "projection_dim": 16, "max_position_embeddings": 77}
T5 = {"vocab_size": 500, "d_model": 16, "d_ff": 32, "d_kv": 8, "num_heads": 2, "num_layers": 1}
VAE = {"block_out_channels": [8] * 4, "layers_per_block": 1, "norm_num_groups": 4}
TINY = {
    "sd15": {
        "unet": {
            "block_out_channels": [8] * 4,
            "layers_per_block": 1,
            "cross_attention_dim": 16,
            "attention_head_dim": 2,
            "norm_num_groups": 4,
        },
        "text_encoder": CLIP,
    },
    "sdxl": {
        "unet": {
            "block_out_channels": [8] * 3,
            "layers_per_block": 1,
            "cross_attention_dim": 32,
            "attention_head_dim": [2, 2, 2],
            "transformer_layers_per_block": [1, 1, 1],
            "norm_num_groups": 4,
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 6 * 8 + 16,
        },
        "text_encoder": CLIP,
        "text_encoder_2": CLIP,
    },
    "pixart-sigma": {
        "transformer": {
            "num_attention_heads": 2,
            "attention_head_dim": 8,
            "num_layers": 1,
            "cross_attention_dim": 16,
            "caption_channels": 16,
            "sample_size": 8,
        },
        "text_encoder": T5,
    },
    "sd35-medium": {
        "transformer": {
            "num_attention_heads": 2,
            "attention_head_dim": 8,
            "num_layers": 2,
            "joint_attention_dim": 32,
            "caption_projection_dim": 16,
            "pooled_projection_dim": 32,
            "pos_embed_max_size": 16,
            "dual_attention_layers": [0],
            "sample_size": 8,
        },
        "text_encoder": CLIP,
        "text_encoder_2": CLIP,
        "text_encoder_3": {**T5, "d_model": 32},
    },
}
CALL = {"pixart-sigma": {"use_resolution_binning": False, "clean_caption": False}}
REQUESTS = [
    Request(id=i, prompt=Prompt(id=str(i), text="two red stars", category=""), seed=seed)
    for i, seed in enumerate((1, 2, 1))
]


def described(name):
    return json.loads((FOLDER / f"{name}.json").read_text())


@pytest.mark.parametrize(("name", "part"), SIZES)
def test_parts_have_as_many_parameters_as_published(name, part):
    with torch.device("meta"):
        module = _part(described(name)["components"][part])
    assert sum(p.numel() for p in module.parameters()) == SIZES[name, part]


@pytest.mark.parametrize("name", TINY)
def test_the_same_pipeline_made_tiny_is_a_system(name, tmp_path):
    small = described(name)
    for part, changes in {**TINY[name], "vae": VAE}.items():
        small["components"][part]["config"] |= changes
    path = tmp_path / f"{name}.json"
    path.write_text(json.dumps(small))
    system = RandomWeights(
        model=str(path), steps=2, guidance=3.0, height=64, width=64, call=CALL.get(name)
    )
    system.load()
    a, b, c = system.generate(REQUESTS)
    assert a.shape == (64, 64, 3) and a.dtype == np.uint8
    assert np.abs(a.astype(int) - c).max() <= 1 < np.abs(a.astype(int) - b).max()
    card = system.card()
    assert (card.name, card.evaluations) == (small["pipeline"], 4)
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

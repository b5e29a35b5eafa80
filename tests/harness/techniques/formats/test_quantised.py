"""torchao on a tiny untrained pipeline."""

import importlib

import numpy as np
import pytest
from torch import nn

from harness.counter import work_of
from harness.errors import ConfigError
from harness.records import Prompt, Request
from harness.techniques.quantised import Quantised

WIDTH = 64  # of the tiny transformer; its captions are 32 wide, its latents 8


def requests(count):
    prompt = Prompt(id="p", text="two red stars", category="")
    return [Request(id=i, prompt=prompt, seed=i) for i in range(count)]


def pictures(system):
    return np.stack(system.generate(requests(2))).astype(int)


def layers(system):
    """in and out of each linear layer of the denoiser that is 64 wide on both sides."""
    linear = [m for m in system.pipeline.transformer.modules() if isinstance(m, nn.Linear)]
    shapes = [(m.in_features, m.out_features) for m in linear]
    return [shape for shape in shapes if min(shape) >= WIDTH], len(linear)


@pytest.mark.parametrize(
    ("format", "dtype", "scale"),
    [
        # bytes a group of scale and zero: 4 + 1 of float32, 2 + 1 of bfloat16; packed 2 + 2
        ({"weights": "int8"}, "float32", 5),
        ({"weights": "int8"}, "bfloat16", 3),
        ({"weights": "int4"}, "float32", 5),
        ({"weights": "int4", "packed": True}, "bfloat16", 4),
    ],
)
def test_the_card_has_the_bytes_that_are_stored(loaded, format, dtype, scale):
    plain = loaded(dtype=dtype)
    fitting, linear = layers(plain)
    card = loaded(Quantised(**format, width=WIDTH), dtype=dtype).card()
    each = 4 if dtype == "float32" else 2
    part = 2 if format.get("packed") else 1
    group = 32 if format["weights"] == "int4" else None
    saved = sum(
        into * out * each - into * out // part - out * (into // (group or into)) * scale
        for into, out in fitting
    )
    assert card.parameter_bytes == plain.card().parameter_bytes - saved
    assert card.parameters == plain.card().parameters
    (told,) = card.notes["techniques"]
    assert told["name"] == "Quantised" and told["weights"] == format["weights"]
    assert told["layers"] == len(fitting) < linear
    assert told["layers"] + told["left"] == linear


@pytest.mark.parametrize(
    ("format", "near"),
    [
        ({"weights": "int8"}, 2),
        ({"weights": "int8", "activations": "dynamic"}, 3),
        ({"weights": "int4"}, 12),
    ],
)
def test_pictures_stay_near_those_of_the_whole_weights(loaded, format, near):
    whole, fewer = pictures(loaded()), pictures(loaded(Quantised(**format, width=WIDTH)))
    off = np.abs(whole - fewer).mean()
    assert 0 < off < near < np.abs(whole[0] - whole[1]).mean()


def test_four_bits_are_sixteen_values_a_group(loaded):
    system = loaded(Quantised(weights="int4", width=WIDTH))
    weight = system.pipeline.transformer.transformer_blocks[0].attn1.to_q.weight
    groups = weight.dequantize().reshape(-1, 32)
    assert max(len(row.unique()) for row in groups) <= 16


def test_the_counter_of_work_counts_what_it_can_and_names_the_rest(loaded):
    whole = work_of(loaded(), requests(1))["counted"]
    held = work_of(loaded(Quantised(weights="int8", width=WIDTH)), requests(1))["counted"]
    assert held["multiply_adds"] == whole["multiply_adds"]
    system = loaded(Quantised(weights="int8", activations="dynamic", width=WIDTH))
    assert work_of(system, requests(1))["counted"]["without"] == ["aten._int_mm"]


@pytest.mark.parametrize(
    ("format", "said"),
    [
        ({"weights": "int2"}, "int8 goes with none or dynamic"),
        ({"weights": "int4", "activations": "dynamic"}, "int4 with none"),
        ({"weights": "int4", "group": 48}, "32, 64 or 128"),
        ({"weights": "int8", "packed": True}, "packed=true with weights=int8"),
    ],
)
def test_a_format_that_cannot_run_is_refused(format, said):
    with pytest.raises(ConfigError, match=said):
        Quantised(**format)


def test_what_fits_no_layer_or_kernel_is_refused_with_a_remedy(loaded):
    with pytest.raises(ConfigError, match="lower width"):
        loaded(Quantised(weights="int8", width=4096))
    with pytest.raises(ConfigError, match="dtype=bfloat16"):
        loaded(Quantised(weights="int4", packed=True, width=WIDTH), dtype="float32")


def test_a_package_that_is_missing_is_named_with_its_extra(loaded, monkeypatch):
    def without(name):
        raise ImportError(name)

    system = loaded()
    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(ConfigError, match=r"torchao.*un0bench\[techniques\]"):
        Quantised(weights="int8", width=WIDTH).apply(system.pipeline, system.generate)

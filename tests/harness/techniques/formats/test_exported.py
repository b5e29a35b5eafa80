"""Exported denoisers of tiny untrained pipelines against torch's own."""

import importlib
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import nn

from harness.counter import work_of
from harness.errors import ConfigError
from harness.graph import dtype_of, exporting
from harness.records import Prompt, Request
from harness.techniques.exported import Exported

RUNTIMES = ("openvino", "onnx")


def requests(count):
    prompt = Prompt(id="p", text="two red stars", category="")
    return [Request(id=i, prompt=prompt, seed=i) for i in range(count)]


def pictures(system, count=3):
    return np.stack(system.generate(requests(count))).astype(int)


@pytest.fixture(scope="module")
def plain(loaded):
    return loaded()


@pytest.fixture(scope="module", params=RUNTIMES)
def exported(loaded, request):
    return loaded(Exported(runtime=request.param))


def test_a_runtime_draws_torch_s_pictures_in_any_batch(plain, exported):
    for count in (3, 1, 5):
        assert np.abs(pictures(plain, count) - pictures(exported, count)).max() <= 1  # rounding


def test_the_card_counts_what_it_counted_before(plain, exported):
    card = exported.card()
    assert card.parameters == plain.card().parameters
    # an ONNX graph holds constants beside its parameters, such as places of tokens
    assert 1 <= card.parameter_bytes / plain.card().parameter_bytes < 1.2
    (told,) = card.notes["techniques"]
    assert told["runtime"].split()[0] in RUNTIMES and told["int8"] is False


def test_work_is_counted_as_if_torch_had_done_it(plain, exported):
    ours, theirs = (work_of(system, requests(1))["counted"] for system in (exported, plain))
    assert ours["multiply_adds"] == theirs["multiply_adds"] and not ours["without"]


def test_openvino_draws_in_the_pipeline_s_precision_what_onnx_runtime_cannot(loaded):
    plain = loaded(dtype="bfloat16")
    exported = loaded(Exported(runtime="openvino"), dtype="bfloat16")
    assert 0 < np.abs(pictures(plain) - pictures(exported)).mean() < 2
    assert exported.card().parameter_bytes == plain.card().parameter_bytes


def test_the_first_batches_have_graphs_of_their_own_after_a_call(loaded, plain):
    exported = loaded(Exported(runtime="openvino"))
    run = exported.pipeline.transformer.run
    for count in (4, 1, 3, 2, 4):
        assert np.abs(pictures(plain, count) - pictures(exported, count)).max() <= 1
    rows = [shapes[0][0] for shapes in run.own]
    assert rows == [2 * 4, 2 * 1, 2 * 3]  # two steps each, with its caption and without


def test_what_a_graph_was_not_made_for_is_refused(loaded):
    exported = loaded(Exported(runtime="openvino"))
    denoiser = exported.pipeline.transformer
    given = {"timestep": torch.zeros(2), "return_dict": False}
    given |= {"encoder_hidden_states": torch.zeros(2, 20, 32)}
    with pytest.raises(ConfigError, match="and is called with"):
        denoiser(torch.zeros(2, 8, 8, 8), **given, added_cond_kwargs={"resolution": 3})


def test_exporting_leaves_parameters_as_they_were(loaded):
    mixed = loaded(dtype="bfloat16")
    kept = mixed.pipeline.transformer.proj_out.float()
    before = kept.weight.detach().clone()
    with exporting(mixed.pipeline.transformer):
        assert dtype_of(mixed.pipeline.transformer) == torch.float32
    assert kept.weight.dtype == torch.float32 and (kept.weight == before).all()
    assert dtype_of(mixed.pipeline.transformer) == torch.bfloat16


@pytest.mark.parametrize("name", RUNTIMES)
def test_calibrated_int8_stays_near_and_holds_a_quarter(loaded, plain, name):
    exported = loaded(Exported(runtime=name, int8=True, captions=4, whole=["proj_out"]))
    ours, theirs = pictures(plain), pictures(exported)
    assert 0 < np.abs(ours - theirs).mean() < np.abs(ours[0] - ours[1]).mean() / 3
    linear = [m for m in plain.pipeline.transformer.modules() if isinstance(m, nn.Linear)]
    (told,) = exported.card().notes["techniques"]
    assert told["layers"] == len(linear)  # but proj_out, and with the patches' convolution
    denoiser = sum(p.numel() for p in plain.pipeline.transformer.parameters())
    saved = plain.card().parameter_bytes - exported.card().parameter_bytes
    assert 0.5 * 3 * denoiser < saved < 3 * denoiser


def test_a_layer_that_is_to_stay_whole_must_be_there(loaded):
    with pytest.raises(ConfigError, match="whole=attn9"):
        loaded(Exported(runtime="onnx", int8=True, captions=2, whole=["attn9"]))


def test_a_unet_s_arguments_are_found_however_they_are_given():
    """0-dimensional times and tensors in mappings, as pipelines of SDXL give them."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 8),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        norm_num_groups=2,
        cross_attention_dim=12,
        attention_head_dim=4,
        addition_embed_type="text_time",
        addition_time_embed_dim=4,
        projection_class_embeddings_input_dim=12 + 6 * 4,
    ).eval()
    pipeline = SimpleNamespace(unet=unet, components={"unet": unet})

    def draw(texts, rows=2):
        rng = torch.Generator().manual_seed(1)
        noise = torch.randn(rows, 4, 8, 8, generator=rng)
        words = torch.randn(rows, 5, 12, generator=rng)
        added = {"text_embeds": words[:, 0], "time_ids": torch.ones(rows, 6)}
        with torch.inference_mode():
            return pipeline.unet(
                noise,
                torch.tensor(3),
                encoder_hidden_states=words,
                added_cond_kwargs=added,
                return_dict=False,
            )[0]

    expected = {rows: draw([], rows) for rows in (2, 4)}
    Exported(runtime="onnx").apply(pipeline, draw)
    for rows, drawn in expected.items():
        torch.testing.assert_close(draw([], rows), drawn, atol=1e-4, rtol=1e-4)
    with pytest.raises(ConfigError, match=r"was exported with sample, timestep"):
        pipeline.unet(torch.zeros(2, 4, 8, 8), 3, torch.zeros(2, 5, 12))


@pytest.mark.parametrize("name", RUNTIMES)
def test_a_package_that_is_missing_is_named_with_its_extra(plain, name, monkeypatch):
    def without(package):
        raise ImportError(package)

    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(ConfigError, match=rf"{name}.* not installed.*uv pip install"):
        Exported(runtime=name).apply(plain.pipeline, plain.generate)


def test_a_runtime_that_is_not_known_is_refused():
    with pytest.raises(ConfigError, match="openvino or onnx"):
        Exported(runtime="tensorrt")

"""Replays of pipelines whose techniques decide, on a tiny untrained one."""

import numpy as np
import pytest
import torch

from harness.errors import ConfigError
from harness.protocols import Replays
from harness.records import Prompt, Request
from harness.systems.diffusers_pipeline import DiffusersSystem
from harness.systems.gated_pipeline import GatedPipeline
from harness.techniques.experts import Experts
from suites.proc.words import VOCABULARY
from un0_model import dense
from un0_model.sparsify import Sparsified

STAGES = ("whole", "decided", "gathered", "resident")
TECHNIQUES = {
    "sparsified": lambda: Sparsified(keep=0.25, always=0.125, captions=2),
    "experts": lambda: Experts(experts=4, top=2, captions=2),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("pipeline") / "tiny"
    torch.manual_seed(0)
    words = dense.tokenizer(VOCABULARY)
    denoiser = dense.transformer(width=32, layers=2, heads=2, caption_width=32)
    for name, weight in denoiser.named_parameters():  # which begin as zeros
        if "scale_shift" in name or "proj_out" in name:
            torch.nn.init.normal_(weight, std=0.5)
    encoder = dense.text_encoder(len(words), width=32, layers=1)
    dense.pipeline(dense.autoencoder(8), denoiser, encoder, words).save_pretrained(path)
    return path


def system(folder, kind=GatedPipeline, techniques=(), **config):
    config = {"steps": 3, "guidance": 2.0, "threads": 1, **config}
    config |= {"height": 64, "width": 64, "call": dense.CALL}
    return kind(model=str(folder), techniques=techniques, **config)


def requests(*seeds):
    prompt = Prompt(id="a", text="two red stars", category="")
    return [Request(id=i, prompt=prompt, seed=seed) for i, seed in enumerate(seeds)]


@pytest.fixture(params=TECHNIQUES)
def loaded(request, folder):
    made = system(folder, techniques=[TECHNIQUES[request.param]()])
    made.load()
    return made


def test_every_stage_draws_what_generate_draws_whatever_is_drawn_between(loaded):
    asked, others = requests(1, 2), requests(3, 4)
    plain, other = loaded.generate(asked), loaded.generate(others)
    assert isinstance(loaded, Replays)
    for stage in (*STAGES, *reversed(STAGES)):
        assert np.array_equal(loaded.replay(asked, stage), plain), stage
        assert np.array_equal(loaded.generate(others), other)
    assert not np.array_equal(plain, other)


def test_what_is_left_out_is_left_out(loaded):
    asked, calls = requests(1, 2), []
    loaded.replay(asked, "whole")
    for layer in loaded.pipeline.transformer.modules():
        for part in ("decide", "gather"):
            if own := getattr(layer, part, None):
                setattr(layer, part, lambda *x, p=part, f=own: calls.append(p) or f(*x))
    counts = {}
    for stage in STAGES:
        calls.clear()
        loaded.replay(asked, stage)
        counts[stage] = [calls.count(part) for part in ("decide", "gather")]
    assert counts == {  # 3 evaluations of 2 layers
        "whole": [6, 6],
        "decided": [0, 6],
        "gathered": [0, 0],
        "resident": [0, 6],
    }


def test_a_stage_of_requests_that_were_not_noted_is_refused(loaded):
    loaded.replay(requests(1, 2), "whole")
    with pytest.raises(ConfigError, match="stage=decided"):
        loaded.replay(requests(1, 3), "decided")
    assert len(loaded.generate(requests(1, 3))) == 2


def test_the_card_says_what_was_done(loaded, folder):
    (told,) = loaded.card().notes["techniques"]
    plain = system(folder, DiffusersSystem)
    plain.load()
    if told["name"] == "Sparsified":
        assert (told["keep"], told["always"], told["layers"]) == (0.25, 0.125, 2)
        assert 0.25 <= told["neurons_of_an_image"] <= 1
        assert told["feedforward_bytes"] == 4 * 2 * (2 * 32 * 128 + 128 + 32)
        assert told["gate_bytes"] == 4 * 2 * (32 + 1) * 112
        extra = told["gate_bytes"]
    else:
        assert (told["experts"], told["top"], told["layers"]) == (4, 2, 2)
        extra = told["router_bytes"]
        assert extra == 4 * 2 * (32 + 1) * 4
    assert loaded.card().parameter_bytes == plain.card().parameter_bytes + extra


def test_a_pipeline_where_nothing_decides_is_refused_and_none_is_compiled(folder):
    assert not isinstance(system(folder, DiffusersSystem), Replays)
    with pytest.raises(ConfigError, match="Nothing in this pipeline decides"):
        system(folder).load()
    with pytest.raises(ConfigError, match="compile=auto"):
        system(folder, compile="auto").load()

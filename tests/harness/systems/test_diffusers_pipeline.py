"""The adapter on a tiny untrained pipeline."""

import shutil
import subprocess
import sys
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from huggingface_hub.errors import GatedRepoError

from harness.errors import AssetError, ConfigError
from harness.records import Failure, Prompt, Request
from harness.systems import diffusers_pipeline
from harness.systems.diffusers_pipeline import DiffusersSystem, _native_dtype
from harness.worker import Worker

SAVE = """
import sys, torch
from un0_model.dense import autoencoder, pipeline, text_encoder, tokenizer, transformer
from suites.proc.words import VOCABULARY
torch.manual_seed(0)
words = tokenizer(VOCABULARY)
denoiser = transformer(width=32, layers=1, heads=2, caption_width=32)
encoder = text_encoder(len(words), width=32, layers=1)
pipeline(autoencoder(8), denoiser, encoder, words).save_pretrained(sys.argv[1])
"""
CALL = {"use_resolution_binning": False, "clean_caption": False, "max_sequence_length": 20}
TARGET = "harness.systems.diffusers_pipeline.DiffusersSystem"


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("pipeline") / "tiny"
    subprocess.run([sys.executable, "-c", SAVE, str(path)], check=True, capture_output=True)
    return path


def requests(*seeds):
    return [
        Request(id=i, prompt=Prompt(id=str(i), text="two red stars", category=""), seed=seed)
        for i, seed in enumerate(seeds)
    ]


def system(**config):
    sizes = {"height": 64, "width": 64, "steps": 2, "threads": 1, "call": CALL}
    return DiffusersSystem(**{**sizes, **config})


def test_a_saved_pipeline_loads_and_follows_the_seed_not_the_batch(folder, tmp_path):
    config = {"_target_": TARGET, "model": str(folder), "height": 64, "width": 64, "steps": 2}
    config |= {"threads": 1, "call": CALL}
    with Worker("dense", config, log=tmp_path / "dense.log", timeout_s=120) as worker:
        worker.load()
        a, b, c = worker.generate(requests(1, 2, 1)).images
        (alone,) = worker.generate(requests(2)).images
        card = worker.card
    assert a.shape == (64, 64, 3) and a.dtype == np.uint8
    assert np.array_equal(a, c) and not np.array_equal(a, b)
    assert np.abs(alone.astype(int) - b.astype(int)).max() <= 1  # rounding of another batch size
    assert card["evaluations"] == 4 and card["precision"] == "float32"
    assert "transformer/diffusion_pytorch_model.safetensors" in card["weights_sha256"]
    assert card["parameter_bytes"] == 4 * card["parameters"] > 0


def test_corrupt_weights_are_named(folder, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    path = broken / "vae" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(AssetError, match=r"vae/diffusion_pytorch_model.safetensors is corrupt"):
        system(model=str(broken)).load()


def test_a_folder_without_safetensors_is_refused(folder, tmp_path):
    bare = tmp_path / "bare"
    shutil.copytree(folder, bare, ignore=shutil.ignore_patterns("*.safetensors"))
    with pytest.raises(AssetError, match="no .safetensors files"):
        system(model=str(bare)).load()


@pytest.mark.parametrize(
    ("config", "kind", "said"),
    [
        ({"model": "/nowhere/model"}, AssetError, "No file or folder at /nowhere/model"),
        ({"model": "package:suites/proc"}, AssetError, "no model_index.json"),
        ({"model": "/nowhere/model", "dtype": "float31"}, ConfigError, "none of torch's"),
        (
            {"model": "/nowhere/model", "compile": "maybe"},
            ConfigError,
            "false, auto, openvino or torch",
        ),
    ],
)
def test_a_wrong_name_is_told_with_a_remedy(config, kind, said):
    with pytest.raises(kind, match=said):
        system(**config).load()


def test_a_gpu_that_is_not_there_is_said(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ConfigError, match="device=cpu"):
        system(model="/nowhere", device="cuda:0").load()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError("offline"), "There is no folder some/model here, and the hub did not give it"),
        (GatedRepoError("gated", response=MagicMock()), "Accept its terms on its page"),
    ],
)
def test_a_hub_that_does_not_give_a_model_says_what_to_do(monkeypatch, error, said):
    def download(*arguments, **options):
        raise error

    monkeypatch.setattr(DiffusionPipeline, "download", download)
    with pytest.raises(AssetError, match=said):
        system(model="some/model").load()


def test_pictures_that_are_no_numbers_are_failures_and_not_black():
    made = system(model="none")
    images = np.stack([np.full((4, 4, 3), value) for value in (0.5, np.nan)])
    made.pipeline = MagicMock()
    made.pipeline.return_value.images = images
    good, bad = made.generate(requests(1, 2))
    assert (good == 128).all() and good.dtype == np.uint8
    assert isinstance(bad, Failure)


@pytest.mark.parametrize("compiler", ["openvino", "torch"])
def test_a_compiled_pipeline_draws_the_same_up_to_roundings(folder, compiler):
    if compiler == "torch" and not shutil.which("g++"):
        pytest.skip("no C++ compiler to compile with")
    plain, compiled = system(model=str(folder)), system(model=str(folder), compile=compiler)
    for one in (plain, compiled):
        one.load()
    ours, theirs = (one.generate(requests(1, 2)) for one in (compiled, plain))
    assert compiled.card().notes["compiled"] == compiler
    assert type(compiled.pipeline.transformer) is not type(plain.pipeline.transformer)
    for a, b in zip(ours, theirs, strict=True):
        assert np.abs(a.astype(int) - b.astype(int)).max() <= 2


def test_auto_takes_the_first_compiler_that_serves(folder, monkeypatch):
    made = system(model=str(folder), compile="auto")
    made.load()
    assert made.card().notes["compiled"] == "openvino"
    assert "not_compiled_by" not in made.card().notes

    def broken(owner, part, draw):
        if part == "decoder":
            raise RuntimeError("Python.h: No such file")
        setattr(owner, part, None)

    def fine(owner, part, draw):
        assert getattr(owner, part) is not None  # what the one before had changed is put back

    monkeypatch.setitem(diffusers_pipeline.COMPILERS, "openvino", broken)
    monkeypatch.setitem(diffusers_pipeline.COMPILERS, "torch", fine)
    made = system(model=str(folder), compile="auto")
    made.load()
    notes = made.card().notes
    assert notes["compiled"] == "torch"
    assert notes["not_compiled_by"] == {"openvino": "Python.h: No such file"}
    monkeypatch.setitem(diffusers_pipeline.COMPILERS, "torch", broken)
    made = system(model=str(folder), compile="auto")
    made.load()
    assert made.card().notes["compiled"] is False
    assert len(made.generate(requests(1))) == 1
    with pytest.raises(ConfigError, match="compile=torch fails .Python.h"):
        system(model=str(folder), compile="torch").load()


def test_a_compiler_that_draws_other_pictures_does_not_serve(folder, monkeypatch):
    class Other(torch.nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

        def forward(self, latents):
            return self.module(latents).flip(-1)

    def turned(owner, part, draw):
        if part == "decoder":
            setattr(owner, part, Other(getattr(owner, part)))

    monkeypatch.setitem(diffusers_pipeline.COMPILERS, "openvino", turned)
    monkeypatch.setattr(diffusers_pipeline, "ROUNDING", 0.01)  # untrained pictures are grey
    with pytest.raises(ConfigError, match="its pictures are others"):
        system(model=str(folder), compile="openvino").load()


def test_torch_s_compiler_needs_one_of_c(folder, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ConfigError, match=r"install g\+\+"):
        system(model=str(folder), compile="torch").load()
    with pytest.raises(ConfigError, match="it is false, auto, openvino or torch"):
        system(model=str(folder), compile=True).load()


def test_auto_is_the_precision_that_the_device_has(monkeypatch):
    for known, wanted in (({"avx512_bf16": True}, "bfloat16"), ({"avx2": True}, "float32")):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda k=known: k, raising=False)
        assert _native_dtype("cpu") == wanted
    assert _native_dtype("cuda:1") == "bfloat16"

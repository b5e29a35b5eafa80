"""The exported graphs draw the reference's pictures, in any batch; all else is refused."""

import shutil

import numpy as np
import pytest
import torch

from harness import assets, cli
from harness.errors import AssetError, ConfigError
from harness.records import Prompt, Request
from harness.systems.un0_onnx import Un0OnnxSystem
from un0_model import onnx
from un0_model.integer import Integer
from un0_model.onnx import OnnxUn0
from un0_model.pipeline import Un0
from un0_model.tokens import uniforms

TEXTS = ["a red circle on white", "two blue squares", "a red circle and a green star"] * 4


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    out = tmp_path_factory.mktemp("onnx")
    assert cli.main(["export", "un0", str(out)]) == 0
    return out


def test_the_graphs_draw_the_reference_s_pictures_in_any_batch(exported):
    shipped = assets.resolve("package:un0_model/weights/un0")
    model, graphs = Un0.from_pretrained(shipped), OnnxUn0(exported, threads=1)
    model.config["arranged"] = graphs.arranged = True
    seeds = list(range(len(TEXTS)))
    words, noise = model.words(TEXTS, seeds), uniforms(seeds)
    code = model.tokens.generate(words, noise, graphs.sampling)
    reference = model.dictionary.pictures(code)
    drawn = graphs.generate(TEXTS, seeds)
    assert drawn.shape == (12, 64, 64, 3) and drawn.dtype == np.uint8
    equal = (drawn == reference).all((1, 2, 3))
    assert equal.mean() > 0.4  # the others had a number on a rounding edge
    assert (graphs.generate(TEXTS[:1], seeds[:1])[0] == drawn[0]).all()
    assert len({picture.tobytes() for picture in drawn}) > 6


def test_a_system_serves_an_export(exported):
    system = Un0OnnxSystem(model=str(exported), threads=1)
    system.load()
    prompt = Prompt(id="p", text="a red circle", category="own")
    images = system.generate([Request(id=i, prompt=prompt, seed=i) for i in range(2)])
    assert [image.shape for image in images] == [(64, 64, 3)] * 2
    assert set(system.card().weights_sha256) == {f"{name}.onnx" for name in onnx.GRAPHS}


def test_what_is_no_export_or_cannot_run_is_refused(exported, tmp_path, monkeypatch):
    with pytest.raises(AssetError, match="un0bench export un0"):
        OnnxUn0(tmp_path)
    copy = shutil.copytree(exported, tmp_path / "copy")
    (copy / "token.onnx").write_bytes(b"no graph")
    with pytest.raises(AssetError, match="write them again"):
        OnnxUn0(copy)
    other = shutil.copytree(exported, tmp_path / "other")
    (other / "config.json").write_text("{}")
    with pytest.raises(AssetError, match="write them again"):
        OnnxUn0(other)
    with pytest.raises(ConfigError, match="Use cpu"):
        Un0OnnxSystem(model=str(exported), device="cuda")
    monkeypatch.setattr(onnx, "importlib", _Without())
    with pytest.raises(ConfigError, match="extra onnx"):
        OnnxUn0(exported)


class _Without:
    def import_module(self, name):
        raise ImportError(name)


def test_sums_that_float32_could_round_are_not_narrowed():
    narrow = Integer(torch.ones(2, 100), torch.zeros(2), signed=True)
    narrow.narrow()
    assert narrow.exact == torch.float32
    with pytest.raises(ValueError, match="not exact"):
        Integer(torch.ones(2, 1000), torch.zeros(2), signed=True).narrow()

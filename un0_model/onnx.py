"""Un0 as three ONNX graphs, and what runs them: caption once, token by token, decode once.

    un0bench export un0 runs/onnx

The graphs hold the reference's arithmetic (`TokenModel`, `Dictionary`): 8-bit weights, exact sums.
ONNX Runtime adds floats in another order, so now and then a number on a rounding edge falls to the
other side and a picture is another draw of the same model, as with our own kernels.
Letters as in `tokens.py`; S is places of the cache.
"""

from __future__ import annotations

import importlib
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from harness.errors import AssetError, ConfigError
from un0_model.arrangement import arranged_by_seed
from un0_model.dictionary import LEVELS, SIDE, TOKENS
from un0_model.integer import Integer
from un0_model.pipeline import Un0, numbered, read_config, word_index
from un0_model.tokens import Sampling, uniforms

__all__ = ["GRAPHS", "OnnxUn0", "export"]

GRAPHS = ("caption", "token", "decode")
OPSET = 18
BATCH = torch.export.Dim("batch", min=1, max=4096)


class _Caption(nn.Module):
    """Words [B, W] to what stays from token to token, and the first token's input [B, D]."""

    outputs = ("rows", "gain", "cache", "start")

    def __init__(self, model: Un0) -> None:
        super().__init__()
        self.tokens = model.tokens

    def forward(self, words: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        route = self.tokens.route(words)
        rows, cache = self.tokens.read(words, route)
        start = self.tokens.start.expand(words.shape[0], -1)
        return torch.stack(rows), route.gain, torch.stack(cache), start


class _Token(nn.Module):
    """One more word: its digits [B, Q], how the next token sees them, and the longer cache."""

    outputs = ("digits", "after", "longer")

    def __init__(self, model: Un0) -> None:
        super().__init__()
        self.tokens = model.tokens

    def forward(
        self,
        before: Tensor,
        words: Tensor,
        rows: Tensor,
        gain: Tensor,
        cache: Tensor,
        uniform: Tensor,
        sampling: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        x = before + self.tokens.place[cache.shape[4]]
        u, more = self.tokens.step(x, words, rows.unbind(), gain, cache.unbind())
        digits = self.tokens.draw(u, uniform, Sampling(*sampling.unbind()))
        return digits, self.tokens.seen(digits), torch.stack(more)


class _Decode(nn.Module):
    """Digits [B, T, Q] to pictures uint8 [B, 64, 64, 3]."""

    outputs = ("images",)

    def __init__(self, model: Un0) -> None:
        super().__init__()
        self.dictionary = model.dictionary

    def forward(self, digits: Tensor) -> Tensor:
        grid = digits.transpose(1, 2).unflatten(2, (SIDE, SIDE))
        drawn = self.dictionary.decoder(2.0 * grid - self.dictionary.top)
        return drawn.clamp(0, 1).mul(255).round().to(torch.uint8).permute(0, 2, 3, 1)


class _Graph(NamedTuple):
    """A module with an example of its inputs, and which of their axes may differ."""

    module: nn.Module
    inputs: dict[str, Tensor]
    axes: dict[str, dict[int, Any]]


def export(model: Un0, out: Path) -> None:
    """Writes caption.onnx, token.onnx, decode.onnx and config.json into a folder.

    Raises ConfigError where the packages are missing that write graphs.
    """
    for name in ("onnx", "onnxscript"):
        _package(name)
    for module in (model.tokens, model.dictionary.decoder):
        for layer in module.modules():
            if isinstance(layer, Integer):
                try:
                    layer.narrow()
                except ValueError as error:
                    raise AssetError(f"{model.folder} cannot be exported: {error}.") from None
    out.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        for name, graph in _graphs(model).items():
            program = torch.onnx.export(
                graph.module.eval(),
                (),
                kwargs=graph.inputs,
                dynamic_shapes=graph.axes,
                input_names=list(graph.inputs),
                output_names=list(graph.module.outputs),
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
            assert program is not None  # dynamo's exporter always gives one
            program.save(str(out / f"{name}.onnx"))
    shutil.copyfile(model.folder / "config.json", out / "config.json")


def _graphs(model: Un0) -> dict[str, _Graph]:
    s, batch = model.tokens.shape, 2
    words = torch.zeros(batch, s.caption, dtype=torch.long)
    words[:, :2] = 1
    caption = _Caption(model)
    rows, gain, cache, start = caption(words)
    places = torch.export.Dim("places", min=s.caption, max=s.caption + s.written - 1)
    token = {
        "before": start,
        "words": words,
        "rows": rows,
        "gain": gain,
        "cache": cache,
        "uniform": torch.full((batch, len(LEVELS)), 0.5),
        "sampling": torch.tensor(Sampling()),
    }
    axes: dict[str, dict[int, Any]] = {name: {0: BATCH} for name in token}
    axes |= {"rows": {1: BATCH}, "cache": {2: BATCH, 4: places}, "sampling": {}}
    digits = torch.zeros(batch, TOKENS, len(LEVELS), dtype=torch.long)
    return {
        "caption": _Graph(caption, {"words": words}, {"words": {0: BATCH}}),
        "token": _Graph(_Token(model), token, axes),
        "decode": _Graph(_Decode(model), {"digits": digits}, {"digits": {0: BATCH}}),
    }


class OnnxUn0:
    """Runs an exported folder by ONNX Runtime on the processor, by as many threads as given."""

    def __init__(self, folder: str | Path, threads: int | None = None) -> None:
        """Raises AssetError where the folder holds no export, ConfigError without the package."""
        runtime, folder = _package("onnxruntime"), Path(folder)
        config = read_config(folder, "un0bench export un0")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        try:
            self.caption, self.token, self.decode = (
                runtime.InferenceSession(
                    folder / f"{name}.onnx", options, providers=["CPUExecutionProvider"]
                )
                for name in GRAPHS
            )
            self.index, self.length = word_index(config), config["shape"]["caption"]
            self.sketch = int(config["shape"].get("sketch", 0))
            self.arranged = bool(config.get("arranged"))
            self.sampling = Sampling(**config.get("sampling", {}))
        except Exception as error:  # the package has no class for all that can be wrong
            told = (str(error).splitlines() or [""])[0]
            raise AssetError(
                f"the graphs in {folder} cannot be read ({told}): write them again with "
                "`un0bench export un0`"
            ) from error

    def generate(self, texts: Sequence[str], seeds: Sequence[int]) -> np.ndarray:
        """As `Un0.generate`: uint8 images [B, 64, 64, 3], sRGB, on the host."""
        texts = arranged_by_seed(texts, seeds) if self.arranged else texts
        words = np.array(numbered(texts, self.index, self.length), np.int64)
        written = self.sketch + TOKENS
        uniform = uniforms(seeds, written).numpy()
        sampling = np.array(self.sampling, np.float32)
        rows, gain, cache, before = self.caption.run(None, {"words": words})
        stays = {"words": words, "rows": rows, "gain": gain, "sampling": sampling}
        digits = np.empty((len(words), written, len(LEVELS)), np.int64)
        for t in range(written):
            moves = {"before": before, "cache": cache, "uniform": uniform[:, t]}
            digits[:, t], before, cache = self.token.run(None, {**stays, **moves})
        images: np.ndarray = self.decode.run(None, {"digits": digits[:, self.sketch :]})[0]
        return images


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise ConfigError(
            f"{name} is not installed; install un0bench with its extra onnx."
        ) from None

"""The suite's own pictures, drawn again through a code of a few numbers: what the code alone loses.

No model that writes such a code draws better pictures than the code can hold.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.fft import dctn, idctn

from harness import assets
from harness.errors import ConfigError
from harness.records import Failure, Request, SystemCard
from harness.systems.renderer import RendererSystem
from suites.proc.render import SIZE, render
from suites.proc.train import draw_batch
from un0_model.dictionary import TOKENS, WORDS
from un0_model.pipeline import WEIGHTS, Un0

__all__ = ["CosineCode", "DictionaryCode", "RedrawnSystem"]

BLOCK = 8
COLOURS = np.array(  # luma, blue and red difference of red, green and blue: ITU-R BT.601
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]]
)
LIMITS = ((0, BLOCK - 1), (0, BLOCK - 1), (0, 2), (2, 65_536))
EDGES = (0.5, 99.5)  # percentiles of a number over training pictures that its levels span


class CosineCode:
    """Some numbers of each block's discrete cosine transform (Ahmed et al. 1974), in few levels.

    `numbers` has, of each, row and column of the cosine, the colour (0 luma, 1 blue, 2 red) and the
    levels. Nothing of it is learned but how far each number's levels reach.
    """

    def __init__(self, numbers: Sequence[Sequence[int]], pictures: np.ndarray) -> None:
        for row in numbers:
            if not _fits(row):
                raise ConfigError(
                    f"numbers: {row!r} is no row, column (0 to 7), colour (0 to 2) and levels "
                    "(2 to 65,536)."
                )
        if not numbers or len({tuple(row[:3]) for row in numbers}) < len(numbers):
            raise ConfigError("numbers: name at least one, and each once.")
        self.at = (slice(None), *np.array([row[:3] for row in numbers]).T)
        self.top = np.array([row[3] - 1.0 for row in numbers])
        seen = self._spectrum(pictures)[self.at]
        self.low, high = np.percentile(seen, EDGES, axis=0)
        self.step = (high - self.low) / self.top

    @property
    def bits(self) -> float:
        """Of a picture."""
        return float((SIZE // BLOCK) ** 2 * np.log2(self.top + 1).sum())

    def redraw(self, pictures: np.ndarray) -> np.ndarray:
        """Pictures uint8 [B, 64, 64, 3] as the code holds them."""
        spectrum = self._spectrum(pictures)
        level = np.rint((spectrum[self.at] - self.low) / self.step)
        held = np.zeros_like(spectrum)
        held[self.at] = np.clip(level, 0, self.top) * self.step + self.low
        side = SIZE // BLOCK
        blocks = idctn(held, axes=(1, 2), norm="ortho").reshape(-1, side, side, BLOCK, BLOCK, 3)
        again = blocks.swapaxes(2, 3).reshape(-1, SIZE, SIZE, 3) @ np.linalg.inv(COLOURS).T
        return (again.clip(0, 1) * 255).round().astype(np.uint8)

    def _spectrum(self, pictures: np.ndarray) -> np.ndarray:
        """Of each block [B * 64, 8, 8, 3]: rows, columns and colours of its cosines."""
        side = SIZE // BLOCK
        colours = (pictures / 255 @ COLOURS.T).reshape(-1, side, BLOCK, side, BLOCK, 3)
        blocks = colours.swapaxes(2, 3).reshape(-1, BLOCK, BLOCK, 3)
        return np.asarray(dctn(blocks, axes=(1, 2), norm="ortho"))


def _fits(row: object) -> bool:
    return (
        isinstance(row, Sequence)
        and len(row) == len(LIMITS)
        and all(isinstance(n, int) for n in row)
        and all(first <= n <= last for n, (first, last) in zip(row, LIMITS, strict=True))
    )


class DictionaryCode:
    """The words of an Un0's learned dictionary."""

    def __init__(self, un0: Un0) -> None:
        self.dictionary = un0.dictionary

    @property
    def bits(self) -> float:
        """Of a picture."""
        return float(TOKENS * np.log2(WORDS))

    def redraw(self, pictures: np.ndarray) -> np.ndarray:
        """Pictures uint8 [B, 64, 64, 3] as the code holds them."""
        x = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
        return self.dictionary.pictures(self.dictionary.encode(x))


class RedrawnSystem:
    """Renders each caption of the suite `proc`, then redraws it through a code.

    With `model` the code is that Un0's learned dictionary, with `numbers` a CosineCode.
    """

    def __init__(
        self, *, model: str | None = None, numbers: Sequence[Sequence[int]] | None = None
    ) -> None:
        if (model is None) == (numbers is None):
            raise ConfigError("Give either model, for its dictionary, or numbers of a cosine code.")
        self.model, self.numbers = model, numbers
        self.code: CosineCode | DictionaryCode
        self.weights: dict[str, str] = {}

    def load(self) -> None:
        """Raises AssetError where the weights cannot be read, ConfigError for unfit numbers."""
        if self.numbers is None:
            un0 = Un0.from_pretrained(assets.resolve(str(self.model)))
            self.weights, self.code = {WEIGHTS: un0.sha256}, DictionaryCode(un0)
        else:
            rng = np.random.default_rng(0)
            seen = [render(spec, rng) for spec in draw_batch(rng, 500)[0]]
            self.code = CosineCode(self.numbers, np.stack(seen))

    def generate(self, requests: Sequence[Request]) -> list[np.ndarray | Failure]:
        """Generates uint8 images [64, 64, 3], sRGB; the seed draws what the caption leaves free."""
        drawn = RendererSystem().generate(requests)
        pictures = [one for one in drawn if isinstance(one, np.ndarray)]
        again = iter(self.code.redraw(np.stack(pictures)) if pictures else ())
        return [one if isinstance(one, Failure) else next(again) for one in drawn]

    def card(self) -> SystemCard:
        return SystemCard(
            name="redrawn",
            height=SIZE,
            width=SIZE,
            precision="float64" if self.numbers else "float32, int8 decoder",
            steps=0,
            evaluations=0,
            weights_sha256=self.weights,
            notes={
                "what": "the suite's own rasteriser, drawn again through a code; no generator",
                "bits_a_picture": round(self.code.bits, 1),
            },
        )

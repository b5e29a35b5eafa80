"""What the gate decided for a batch, kept so that the batch can be served again without it."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from torch import Tensor

from un0_model.gate import Route
from un0_model.kernel import FusedTokens
from un0_model.tokens import PLAIN, Sampling

__all__ = ["Noted"]


class Noted:
    """A batch's captions [B, W] and route, and on demand its neurons, or a model of these alone."""

    def __init__(self, writer: FusedTokens, words_BW: Tensor) -> None:
        self.writer, self.words = writer, words_BW
        self.route = writer.route(words_BW)

    def generate(self, stage: str, uniform_BTQ: Tensor, sampling: Sampling = PLAIN) -> Tensor:
        """Dictionary words [B, 64] with nothing decided; see protocols.Replays for the stages."""
        writer, route = self._alone if stage == "resident" else (self.writer, self.route)
        rows = self._rows if stage == "gathered" else None
        return writer.generate(self.words, uniform_BTQ, sampling, route, rows)

    @cached_property
    def _rows(self) -> np.ndarray:
        return self.writer.gathered(self.route, 0, len(self.words))

    @cached_property
    def _alone(self) -> tuple[FusedTokens, Route]:
        return self.writer.alone(self.route)

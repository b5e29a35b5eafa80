"""The rasteriser of the procedural suite as a system: reads the caption back and draws it.

It knows the suite by heart, so it bounds what any model can reach there, in quality and in cost.
"""

from collections.abc import Sequence

import numpy as np

from harness.records import Failure, Request, SystemCard
from suites.proc.parse import parse
from suites.proc.render import SIZE, render

__all__ = ["RendererSystem"]


class RendererSystem:
    """Draws each caption of the suite `proc`; a text outside it is a failure."""

    def load(self) -> None:
        """Nothing to read: the suite's drawing rules are code."""

    def generate(self, requests: Sequence[Request]) -> list[np.ndarray | Failure]:
        """Generates uint8 images [64, 64, 3], sRGB; the seed draws what the caption leaves free."""
        return [self._draw(request) for request in requests]

    def card(self) -> SystemCard:
        return SystemCard(
            name="renderer",
            height=SIZE,
            width=SIZE,
            parameters=0,
            parameter_bytes=0,
            precision="float32",
            steps=0,
            evaluations=0,
            notes={"what": "the suite's own rasteriser; no model"},
        )

    def _draw(self, request: Request) -> np.ndarray | Failure:
        try:
            spec = parse(request.prompt.text)
        except ValueError as error:
            return Failure(reason=str(error))
        return render(spec, np.random.default_rng(request.seed))

"""A pipeline of diffusers whose layers decide what serves, and can be told to repeat it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from harness.errors import ConfigError
from harness.records import Failure, Request
from harness.systems.diffusers_pipeline import DiffusersSystem
from un0_model.feedforward import Deciding, noting, repeating

__all__ = ["GatedPipeline"]


class GatedPipeline(DiffusersSystem):
    """As DiffusersSystem, for techniques that put a gate or a router into the pipeline.

    Noted are the decisions of every evaluation of a batch, and all that they gathered, in memory.
    """

    def load(self) -> None:
        """Raises ConfigError also where nothing in the pipeline decides, or it is compiled."""
        if self.compile:
            raise ConfigError(f"compile={self.compile}; a gate that is replayed needs false.")
        super().load()
        parts = [p for p in self.pipeline.components.values() if isinstance(p, torch.nn.Module)]
        self._layers = [m for part in parts for m in part.modules() if isinstance(m, Deciding)]
        if not self._layers:
            raise ConfigError(
                "Nothing in this pipeline decides which neurons serve. Add Sparsified or Experts "
                "to its techniques, or use harness.systems.diffusers_pipeline.DiffusersSystem."
            )
        self._asked, self._notes = list[tuple[str, int]](), list[list[tuple[Any, Any]]]()

    def replay(self, requests: Sequence[Request], stage: str) -> list[np.ndarray | Failure]:
        """The images of `generate` with parts of the gates' work left out (protocols.Replays).

        `resident` is `decided`: the tokens of a batch between them choose nearly every neuron.
        Raises ConfigError for requests whose `whole` was not asked for last.
        """
        asked = [(request.prompt.text, request.seed) for request in requests]
        if stage == "whole":
            if asked == self._asked:
                return self.generate(requests)
            self._asked, self._notes = [], []
            with noting(self._layers) as notes:
                images = self.generate(requests)
            self._asked, self._notes = asked, notes
            return images
        if asked != self._asked:
            raise ConfigError(f"stage={stage} of requests whose stage `whole` was not the last.")
        with repeating(self._layers, self._notes, gathered=stage == "gathered"):
            return self.generate(requests)

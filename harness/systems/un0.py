"""Un0, the sparse gated model of this repository."""

from __future__ import annotations

from collections.abc import Sequence

import numba
import numpy as np
import torch

from harness import assets
from harness.errors import ConfigError
from harness.records import Failure, Request, SystemCard, WorkProfile
from un0_model.pipeline import Un0

__all__ = ["Un0System"]


class Un0System:
    """Loads a folder of `un0bench train un0`; how it draws, None: as the weights were shipped.

    `cache` is how many captions are remembered (un0_model/caption_cache.py); 0: none.
    `every_neuron` computes the whole pool, as a dense model does (un0_model/every_neuron.py).
    """

    def __init__(
        self,
        *,
        model: str = "package:un0_model/weights/un0",
        device: str = "cpu",
        threads: int | None = None,
        temperature: float | None = None,
        min_p: float | None = None,
        sure: float | None = None,
        rare: float | None = None,
        cache: int = 0,
        every_neuron: bool = False,
    ) -> None:
        if not isinstance(cache, int) or cache < 0 or (cache and device != "cpu"):
            raise ConfigError(f"cache={cache!r}; it is a number of captions, on a processor alone.")
        if not isinstance(every_neuron, bool) or (every_neuron and cache):
            raise ConfigError(
                f"every_neuron={every_neuron!r}, cache={cache}: every_neuron is true or false, and "
                "goes with cache=0."
            )
        if temperature is not None and not temperature > 0:
            raise ConfigError(f"temperature={temperature!r}; it is a number above 0.")
        for name, share in (("min_p", min_p), ("sure", sure), ("rare", rare)):
            if share is not None and not 0 <= share <= 1:
                raise ConfigError(f"{name}={share!r}; it is a share, from 0 to 1.")
        self.model, self.device, self.threads = model, device, threads
        given = {"temperature": temperature, "min_p": min_p, "sure": sure, "rare": rare}
        self.sampling = {name: value for name, value in given.items() if value is not None}
        self.cache = cache
        self.every_neuron = every_neuron

    def load(self) -> None:
        """Raises AssetError where the weights cannot be read, ConfigError for a GPU not here."""
        if self.threads:
            torch.set_num_threads(self.threads)
            numba.set_num_threads(min(self.threads, numba.config.NUMBA_NUM_THREADS))
        self._un0 = Un0.from_pretrained(assets.resolve(self.model), device=self.device)
        self._un0.sampling = self._un0.sampling._replace(**self.sampling)
        if self.every_neuron:
            self._un0.evaluate_every_neuron()
        if self.cache:
            self._un0.writer.remember(self.cache)
        self._un0.generate(["a"], [0])  # compiles the kernel: part of loading, charged as such

    def generate(self, requests: Sequence[Request]) -> list[np.ndarray | Failure]:
        """Generates uint8 images [64, 64, 3], sRGB, on the host."""
        texts = [request.prompt.text for request in requests]
        return list(self._un0.generate(texts, [request.seed for request in requests]))

    def replay(self, requests: Sequence[Request], stage: str) -> list[np.ndarray | Failure]:
        """The images of `generate` with parts of the gate's work left out (protocols.Replays)."""
        texts = [request.prompt.text for request in requests]
        return list(self._un0.replay(texts, [request.seed for request in requests], stage))

    def card(self) -> SystemCard:
        return self._un0.card()

    def profile(self, requests: Sequence[Request]) -> WorkProfile:
        """Multiply-adds and bytes of one image by part, mean over the requests."""
        texts = [request.prompt.text for request in requests]
        return self._un0.profile(texts, [request.seed for request in requests])

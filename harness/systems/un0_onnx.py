"""Un0 exported to ONNX graphs, run by ONNX Runtime on the processor."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from harness import assets
from harness.errors import ConfigError
from harness.records import Failure, Request, SystemCard
from un0_model.onnx import GRAPHS, OnnxUn0

__all__ = ["Un0OnnxSystem"]


class Un0OnnxSystem:
    """Loads a folder of `un0bench export un0`."""

    def __init__(self, *, model: str, device: str = "cpu", threads: int | None = None) -> None:
        """Raises ConfigError on a device that is not the processor."""
        if device != "cpu":
            raise ConfigError(f"device={device!r}; the graphs run on the processor. Use cpu.")
        self.model, self.threads = model, threads

    def load(self) -> None:
        """Raises AssetError where the graphs cannot be read, ConfigError without the runtime."""
        self._folder = assets.resolve(self.model)
        self._un0 = OnnxUn0(self._folder, self.threads)

    def generate(self, requests: Sequence[Request]) -> list[np.ndarray | Failure]:
        """Generates uint8 images [64, 64, 3], sRGB, on the host."""
        texts = [request.prompt.text for request in requests]
        return list(self._un0.generate(texts, [request.seed for request in requests]))

    def card(self) -> SystemCard:
        files = {f"{name}.onnx": (self._folder / f"{name}.onnx").read_bytes() for name in GRAPHS}
        return SystemCard(
            name="un0-onnx",
            height=64,
            width=64,
            parameters=None,
            parameter_bytes=sum(len(data) for data in files.values()),
            precision="8-bit weights, sums in float32, by ONNX Runtime",
            steps=1,
            evaluations=1,
            weights_sha256={n: hashlib.sha256(data).hexdigest() for n, data in files.items()},
            notes=self._un0.sampling._asdict(),
        )

"""The denoiser run by OpenVINO or ONNX Runtime, also in 8 bits, on the processor."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from harness.errors import ConfigError
from harness.graph import calls_of, dtype_of, exporting, graph_of, held_bytes, quantise
from harness.packages import imported
from harness.runtimes import Elsewhere, OpenVino, Run, core, on_openvino, onnx_runtime, openvino
from harness.techniques.captions import captions

__all__ = ["Exported"]

RUNTIMES = ("openvino", "onnx")
CALLS = 12  # of the denoiser, over all steps, that an input's range is taken from


class Exported:
    """Exports the denoiser as a graph for any batch, and has a runtime draw with it.

    OpenVINO computes in the pipeline's precision, ONNX Runtime in float32. `int8` is calibrated:
    weights, and what they are multiplied with, in the ranges seen while `captions` of a prompt file
    are drawn; layers whose names end as one of `whole` stay as they are.
    """

    def __init__(
        self,
        *,
        runtime: str,
        int8: bool = False,
        path: str = "package:suites/proc/sets/val.jsonl",
        captions: int = 16,
        whole: Sequence[str] = (),
    ) -> None:
        """Raises ConfigError for a runtime that is not there."""
        if runtime not in RUNTIMES:
            raise ConfigError(f"runtime={runtime}; it is {' or '.join(RUNTIMES)}.")
        self.runtime, self.int8, self.whole = runtime, int8, list(whole)
        self.path, self.captions = path, captions

    def apply(self, pipeline: Any, draw: Callable[[Sequence[str]], object]) -> dict[str, Any]:
        """Puts the runtime in the denoiser's place. Raises ConfigError where it cannot."""
        part = "transformer" if hasattr(pipeline, "transformer") else "unet"
        denoiser = getattr(pipeline, part)
        if denoiser.device.type != "cpu":
            raise ConfigError(f"runtime={self.runtime} runs on the processor; use device=cpu.")
        onnx = self.runtime == "onnx"
        version = (imported("onnxruntime", "onnx") if onnx else openvino()).__version__
        told: dict[str, Any] = {"runtime": f"{self.runtime} {version}", "int8": self.int8}
        if self.runtime == "openvino" and not self.int8:
            on_openvino(pipeline, part, lambda: draw(captions(self.path, 2)))
            return told
        texts = captions(self.path, self.captions if self.int8 else 2)
        calls, dtype = calls_of(denoiser, lambda: draw(texts)), dtype_of(denoiser)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "denoiser.onnx"
            with exporting(denoiser):
                graph = graph_of(denoiser, calls[0])
                graph.save_onnx(path)
            if self.int8:
                some = calls[:: -(-len(calls) // CALLS)]
                path, wide = Path(folder) / "int8.onnx", path
                told["layers"] = quantise(wide, some, self.whole, path)
                told |= {"captions": self.captions, "whole": self.whole}
                told["counted"] = (
                    "multiply-adds are told as of the denoiser before it was in 8 bits"
                )
            run: Run = (
                onnx_runtime(path)
                if onnx
                else OpenVino(core().read_model(path), graph.batched, dtype)
            )
            told["parameter_bytes"] = _others_bytes(pipeline, denoiser) + held_bytes(path)
        setattr(pipeline, part, Elsewhere(denoiser, graph, run))
        return told


def _others_bytes(pipeline: Any, denoiser: nn.Module) -> int:
    others = [m for m in pipeline.components.values() if isinstance(m, nn.Module)]
    parameters = [p for m in others if m is not denoiser for p in m.parameters()]
    return sum(p.numel() * p.element_size() for p in parameters)

"""A pipeline's parts run by OpenVINO or ONNX Runtime, on the processor."""

from __future__ import annotations

import functools
import inspect
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from harness.errors import ConfigError
from harness.graph import (
    Graph,
    arguments,
    arrays,
    calls_of,
    dtype_of,
    exporting,
    fixed,
    graph_of,
)
from harness.packages import imported

__all__ = ["Elsewhere", "OpenVino", "Run", "core", "on_openvino", "onnx_runtime", "openvino"]

SHAPES = 3  # of inputs that get graphs of their own: what loading draws, batches, single requests
PRECISIONS = {torch.float32: "f32", torch.bfloat16: "bf16"}

Run = Callable[[Mapping[str, np.ndarray]], np.ndarray]


def on_openvino(owner: Any, part: str, draw: Callable[[], object]) -> None:
    """Has OpenVINO run a part of a pipeline, in the precision it is in, as it is called in `draw`.

    Raises ConfigError where it cannot be exported; nothing has changed then. A part that already
    runs elsewhere stays there.
    """
    module = getattr(owner, part)
    if isinstance(module, Elsewhere):
        return
    dtype = dtype_of(module)
    if dtype not in PRECISIONS:
        raise ConfigError(f"OpenVINO has no {str(dtype).removeprefix('torch.')} on a processor.")
    calls = calls_of(module, draw)
    with exporting(module):
        graph = graph_of(module, calls[0])
        run = OpenVino(_converted(graph), graph.batched, dtype)
    setattr(owner, part, Elsewhere(module, graph, run))


def openvino(part: str = "") -> Any:
    """The package, or a module of it."""
    return imported(f"openvino{part}", extra="")


@functools.cache
def core() -> Any:
    """OpenVINO's one core of this process."""
    return openvino().Core()


def _converted(graph: Graph) -> Any:
    """OpenVINO's model of a graph. Its own convert_model does the same, and reports its use."""
    fx_decoder = openvino(".frontend.pytorch.fx_decoder")
    frontend = openvino(".frontend").FrontEndManager().load_by_framework("pytorch")
    with torch.no_grad():
        decoder = fx_decoder.TorchFXPythonDecoder.from_exported_program(graph.program)
        model = frontend.convert(frontend.load(decoder))  # which holds no reference to it
    given = graph.program.example_inputs[0]
    model.reshape(dict(enumerate(list(tensor.shape) for tensor in given)))
    return model


class OpenVino:
    """Compiled for any batch, and at its second call for a shape alone, a fifteenth faster.

    The first SHAPES get such graphs, so that they are there when a warm-up is over.
    """

    def __init__(self, model: Any, batched: Sequence[bool], dtype: torch.dtype) -> None:
        self.model, self.batched = model, batched
        self.options = {
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "NUM_STREAMS": 1,
            "INFERENCE_PRECISION_HINT": PRECISIONS[dtype],
        }
        self.seen: Counter[tuple[tuple[int, ...], ...]] = Counter()
        self.own: dict[tuple[tuple[int, ...], ...], Any] = {}
        self.any_batch: Any = None

    def _compiled(self, shapes: Sequence[Sequence[int]]) -> Any:
        model = self.model.clone()
        model.reshape(dict(enumerate(map(list, shapes))))
        return core().compile_model(model, "CPU", self.options)

    def __call__(self, given: Mapping[str, np.ndarray]) -> np.ndarray:
        arrays = list(given.values())
        shapes = tuple(array.shape for array in arrays)
        self.seen[shapes] += 1
        if self.any_batch is None:
            pairs = zip(shapes, self.batched, strict=True)
            self.any_batch = self._compiled([(-1, *s[1:]) if many else s for s, many in pairs])
        if self.seen[shapes] == 2 and len(self.own) < SHAPES:
            self.own[shapes] = self._compiled(shapes)
        drawn: np.ndarray = self.own.get(shapes, self.any_batch)(arrays, share_inputs=True)[0]
        return drawn


def onnx_runtime(path: Path) -> Run:
    runtime = imported("onnxruntime", "onnx")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors
    session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(given: Mapping[str, np.ndarray]) -> np.ndarray:
        drawn: np.ndarray = session.run(None, dict(given))[0]
        return drawn

    return run


class Elsewhere(nn.Module):
    """Stands where a module stood, is called as it was, and is answered by a runtime.

    The module stays for who asks what it is, and answers itself where operations of torch are
    counted.
    """

    def __init__(self, module: nn.Module, graph: Graph, run: Run) -> None:
        super().__init__()
        self.module, self.names, self.fixed, self.run = module, graph.names, graph.fixed, run
        self.signature = inspect.signature(module.forward)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("module"), name)

    @torch.compiler.disable
    def forward(self, *positional: Any, **named: Any) -> Any:
        if is_in_torch_dispatch_mode():
            return self.module(*positional, **named)
        call = arguments(self.signature, positional, named)
        given = arrays(call)
        if list(given) != self.names or fixed(call) != self.fixed:
            raise ConfigError(
                f"{type(self.module).__name__} was exported with {', '.join(self.names)} and "
                f"{dict(self.fixed)}, and is called with {', '.join(given)} and "
                f"{dict(fixed(call))}."
            )
        drawn = torch.from_numpy(self.run(given)).to(dtype_of(self.module))
        return (drawn,) if "return_dict" in self.signature.parameters else drawn

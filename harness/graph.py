"""A module as a graph for any batch, as one of its calls shows it; and in 8 bits."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import inspect
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from harness.errors import ConfigError, one_line
from harness.packages import imported

__all__ = [
    "Graph",
    "arguments",
    "arrays",
    "calls_of",
    "dtype_of",
    "exporting",
    "fixed",
    "graph_of",
    "held_bytes",
    "quantise",
]

OPSET = 18
LAYERS = ("MatMul", "Gemm", "Conv")
SCOPES = "pkg.torch.onnx.name_scopes"  # where the exporter notes the modules a node comes from


@dataclasses.dataclass(frozen=True)
class Graph:
    """A float32 program that takes tensors alone; `batched` are those with a row an image.

    `fixed` are arguments that are no tensors, as they were in the call it was made from.
    """

    program: torch.export.ExportedProgram
    names: list[str]
    batched: list[bool]
    fixed: list[tuple[str, Any]]

    def save_onnx(self, path: Path) -> None:
        """Raises ConfigError where packages are missing."""
        for name in ("onnx", "onnxscript"):
            imported(name, "onnx")
        with _quiet(), torch.no_grad():
            written = torch.onnx.export(
                self.program,
                (),
                input_names=self.names,
                output_names=["output"],
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
        assert written is not None  # dynamo's exporter always gives one
        written.save(str(path))


def calls_of(module: nn.Module, draw: Callable[[], object]) -> list[dict[str, Any]]:
    """The arguments of every call of a module while something is drawn."""
    seen, signature = list[dict[str, Any]](), inspect.signature(module.forward)

    def note(module: nn.Module, positional: Any, named: Any) -> None:
        seen.append(arguments(signature, positional, named))

    hook = module.register_forward_pre_hook(note, with_kwargs=True)
    try:
        draw()
    finally:
        hook.remove()
    return seen


def arguments(
    signature: inspect.Signature, positional: Sequence[Any], named: Mapping[str, Any]
) -> dict[str, Any]:
    """A call's arguments by name; how it wants its answer wrapped is no matter of a graph's."""
    bound = signature.bind(*positional, **named).arguments
    return {name: value for name, value in bound.items() if name != "return_dict"}


def tensors(value: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """The tensors among arguments, however nested, by a name that says where."""
    if isinstance(value, Tensor):
        yield name, value
    for key, inner in _inside(value):
        yield from tensors(inner, f"{name}.{key}" if name else str(key))


def fixed(value: Any, name: str = "") -> list[tuple[str, Any]]:
    """What a graph takes from its one call: arguments that are no tensors, by where they are."""
    if isinstance(value, Tensor):
        return []
    inside = _inside(value)
    if not inside:
        return [(name, value)]
    return [
        found
        for key, inner in inside
        for found in fixed(inner, f"{name}.{key}" if name else str(key))
    ]


def arrays(call: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """A call's tensors as a graph takes them."""
    return {name: _widened(tensor).contiguous().numpy() for name, tensor in tensors(call)}


def _widened(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def _inside(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, Mapping):
        return list(value.items())
    return list(enumerate(value)) if isinstance(value, list | tuple) else []


def _filled(value: Any, given: Mapping[str, Tensor], name: str = "") -> Any:
    """Arguments with other tensors in place of theirs."""
    if isinstance(value, Tensor):
        return given[name]
    filled = {
        key: _filled(inner, given, f"{name}.{key}" if name else str(key))
        for key, inner in _inside(value)
    }
    if isinstance(value, list | tuple):
        return type(value)(filled.values())
    return filled if isinstance(value, Mapping) else value


class _Flat(nn.Module):
    """Takes tensors alone, in order; all else stays as it was in one call."""

    def __init__(self, module: nn.Module, call: Mapping[str, Any]) -> None:
        super().__init__()
        self.module, self.call = module, call
        self.names, given = zip(*tensors(call), strict=True)
        self.batched = [t.ndim > 0 and t.shape[0] == given[0].shape[0] for t in given]

    def forward(self, *given: Tensor) -> Tensor:
        for tensor, batched in zip(given, self.batched, strict=True):
            if batched:  # or exporting takes them for batches of their own
                torch._check(tensor.shape[0] == given[0].shape[0])
        drawn = self.module(**_filled(self.call, dict(zip(self.names, given, strict=True))))
        return drawn if isinstance(drawn, Tensor) else drawn[0]


def dtype_of(module: nn.Module) -> torch.dtype:
    """The precision of a module's floats."""
    return next(p.dtype for p in module.parameters() if p.is_floating_point())


@contextlib.contextmanager
def exporting(module: nn.Module) -> Iterator[None]:
    """Quietly, and in float32 meanwhile; then every parameter is what it was.

    Raises ConfigError where parameters are of a kind of their own, as quantised ones are.
    """
    kept = [(parameter, parameter.data) for parameter in module.parameters()]
    others = {type(data).__name__ for _, data in kept if type(data) is not Tensor}
    if others:
        raise ConfigError(f"parameters that are {', '.join(others)} cannot be exported.")
    buffers = [(part, dict(part._buffers)) for part in module.modules()]
    with _quiet():
        try:
            module.float()
            yield
        finally:
            for parameter, data in kept:
                parameter.data = data
            for part, held in buffers:
                part._buffers.update(held)


def graph_of(module: nn.Module, call: Mapping[str, Any]) -> Graph:
    """The graph of a module that was called so, with two rows or more, for any number of rows.

    The module is to be `exporting`.

    Raises ConfigError where it has parts that cannot be exported.
    """
    flat = _Flat(module, call).eval()
    given = tuple(_widened(tensor) for _, tensor in tensors(call))
    axes = tuple({0: torch.export.Dim.DYNAMIC} if many else {} for many in flat.batched)
    try:
        with torch.no_grad():
            program = torch.export.export(flat, given, dynamic_shapes=(axes,))
    except Exception as error:  # exporters fail in ways of their own
        raise ConfigError(
            f"{type(module).__name__} cannot be exported ({one_line(str(error))[:300]}); "
            "leave it to torch."
        ) from error
    _without_idle_squeezes(program)
    return Graph(program, list(flat.names), flat.batched, fixed(call))


def _without_idle_squeezes(program: torch.export.ExportedProgram) -> None:
    """torch squeezes an axis that is not 1 without effect; ONNX calls it an error."""
    for node in list(program.graph.nodes):
        if node.target is torch.ops.aten.squeeze.dim:
            squeezed, axis = node.args
            if squeezed.meta["val"].shape[axis] != 1:
                node.replace_all_uses_with(squeezed)
                program.graph.erase_node(node)
    program.graph_module.recompile()


class _Seen:
    """Calls of the denoiser, one after the other, for the package that calibrates."""

    def __init__(self, calls: Sequence[Mapping[str, Any]]) -> None:
        self.left = iter(calls)

    def get_next(self) -> dict[str, np.ndarray] | None:
        call = next(self.left, None)
        return None if call is None else arrays(call)


def quantise(
    path: Path, calls: Sequence[Mapping[str, Any]], whole: Sequence[str], out: Path
) -> int:
    """Writes an ONNX graph with weights and their inputs in 8 bits; says how many layers they are.

    A weight has a scale a channel; an input has one, from the least and the most it held in these
    calls. Modules whose names end as one of `whole` stay as they are; ConfigError where none does.
    """
    onnx, quantization = imported("onnx", "onnx"), imported("onnxruntime.quantization", "onnx")
    scopes = {
        node.name: ast.literal_eval(entry.value)
        for node in onnx.load(path, load_external_data=False).graph.node
        for entry in node.metadata_props
        if entry.key == SCOPES
    }
    left = set()
    for end in whole:
        found = {
            n for n, names in scopes.items() if any(f".{s}".endswith(f".{end}") for s in names)
        }
        if not found:
            raise ConfigError(f"whole={end}, but no layer of the denoiser has a name ending so.")
        left |= found
    with _quiet():
        quantization.quantize_static(
            path,
            out,
            _Seen(calls),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            op_types_to_quantize=list(LAYERS),
            nodes_to_exclude=sorted(left),
            extra_options={
                "ActivationSymmetric": True,
                "MatMulConstBOnly": True,  # attention multiplies what both vary
                "OpTypesToExcludeOutputQuantization": list(LAYERS),
            },
        )
    weights = onnx.load(out, load_external_data=False).graph.initializer
    return sum(w.data_type == onnx.TensorProto.INT8 and len(w.dims) > 1 for w in weights)


def held_bytes(path: Path) -> int:
    """Bytes of an ONNX graph's constants."""
    onnx = imported("onnx", "onnx")
    constants = onnx.load(path, load_external_data=False).graph.initializer
    return sum(
        int(np.prod(c.dims)) * onnx.helper.tensor_dtype_to_np_dtype(c.data_type).itemsize
        for c in constants
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Exporters and calibration tell of every step; errors still come."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)

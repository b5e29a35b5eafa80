"""The denoiser's linear layers in 8 or 4 bits, by torchao."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from harness.errors import ConfigError
from harness.packages import imported

__all__ = ["Quantised"]

FORMATS = (("int8", "none"), ("int8", "dynamic"), ("int4", "none"))
GROUPS = (32, 64, 128)
LANES = 16  # rows that torch's kernel for packed weights takes at once


class Quantised:
    """Holds weights in fewer bits; `activations: dynamic` multiplies in 8 bits too.

    int8 has a scale a row of a weight, and for activations one a token, found as they come. int4
    has a scale a `group` of a row's weights: a byte each, or with `packed` two a byte in the layout
    of torch's own kernel for processors, which takes bfloat16 and adds a zero a group. Linear
    layers narrower than `width` stay as they are, and so do rows that are no whole groups.
    """

    def __init__(
        self,
        *,
        weights: str,
        activations: str = "none",
        group: int = 32,
        packed: bool = False,
        width: int = 128,
    ) -> None:
        """Raises ConfigError for a format that torchao has no kernel of for processors."""
        if (weights, activations) not in FORMATS:
            raise ConfigError(
                f"weights={weights} with activations={activations}; int8 goes with none or "
                "dynamic, int4 with none."
            )
        if group not in GROUPS:
            raise ConfigError(f"group={group}; it is 32, 64 or 128.")
        if packed and weights != "int4":
            raise ConfigError(f"packed=true with weights={weights}; it is for int4.")
        self.weights, self.activations = weights, activations
        self.group, self.packed, self.width = group, packed, width

    def apply(self, pipeline: Any, draw: Callable[[Sequence[str]], object]) -> dict[str, Any]:
        """Notes layers, formats and bytes. Raises ConfigError where no layer fits."""
        denoiser = pipeline.transformer if hasattr(pipeline, "transformer") else pipeline.unet
        here = (denoiser.device.type, denoiser.dtype)
        if self.packed and here != ("cpu", torch.bfloat16):
            raise ConfigError(
                f"packed=true on {here[0]} in {str(here[1]).removeprefix('torch.')}; its kernel "
                "is for device=cpu, dtype=bfloat16."
            )
        linear = [module for module in denoiser.modules() if isinstance(module, nn.Linear)]
        fitting = {module for module in linear if self._fits(module)}
        if not fitting:
            raise ConfigError(
                f"None of the denoiser's {len(linear)} linear layers is {self.width} wide"
                + (f" in groups of {self.group}" if self.weights == "int4" else "")
                + "; lower width."
            )
        quantization = imported("torchao.quantization")
        quantization.quantize_(
            denoiser, self._config(quantization), filter_fn=lambda module, name: module in fitting
        )
        return {
            "weights": self.weights,
            "activations": self.activations,
            "layers": len(fitting),
            "left": len(linear) - len(fitting),
            "parameter_bytes": _parameter_bytes(pipeline),
        }

    def _fits(self, module: nn.Linear) -> bool:
        whole = self.weights == "int8" or module.in_features % self.group == 0
        whole &= not self.packed or module.out_features % LANES == 0
        return whole and min(module.in_features, module.out_features) >= self.width

    def _config(self, quantization: Any) -> Any:
        """Weights alone are widened before they multiply, which inductor fuses.

        torchao's own Int8WeightOnlyConfig is compiled to a kernel for few rows.
        """
        if self.activations == "dynamic":
            return quantization.Int8DynamicActivationInt8WeightConfig(set_inductor_config=False)
        if self.packed:
            opaque = imported("torchao.prototype.quantization.int4")
            return opaque.PrototypeInt4WeightOnlyConfig(
                group_size=self.group, set_inductor_config=False
            )
        each_row, group = quantization.PerAxis(0), quantization.PerGroup(self.group)
        return quantization.IntxWeightOnlyConfig(
            weight_dtype=getattr(torch, self.weights),
            granularity=each_row if self.weights == "int8" else group,
        )


def _parameter_bytes(pipeline: Any) -> int:
    """Bytes of the whole pipeline as it is stored, scales and zeros included."""
    modules = [m for m in pipeline.components.values() if isinstance(m, nn.Module)]
    return sum(_bytes(parameter) for module in modules for parameter in module.parameters())


def _bytes(tensor: Tensor) -> int:
    """A quantised tensor is made of plain ones, which it names."""
    if hasattr(tensor, "__tensor_flatten__"):
        names, _ = tensor.__tensor_flatten__()
        return sum(_bytes(getattr(tensor, name)) for name in names)
    return tensor.numel() * tensor.element_size()

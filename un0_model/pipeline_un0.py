"""Un0 as a diffusers pipeline: the call, the outputs and the generators of any other."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline, ImagePipelineOutput
from diffusers.image_processor import VaeImageProcessor
from torch import Tensor

from harness.errors import ConfigError
from un0_model.pipeline import WEIGHTS, Un0

__all__ = ["Un0Pipeline"]

SIZE = 64
OUTPUTS = ("pil", "np", "pt")


class Un0Pipeline(DiffusionPipeline):
    """Pictures of 64 x 64 pixels from captions in the suite's words, in one pass.

        pipe = Un0Pipeline.from_pretrained("un0_model/weights/un0")
        pipe("a red circle on white", generator=torch.Generator().manual_seed(1)).images[0]

    A generator gives each picture its seed; with a list, generator i seeds picture i alone.
    There are no steps and no guidance: both arguments are taken and change nothing. A folder
    holds config.json and the weights, and no model_index.json.
    """

    def __init__(self, un0: Un0) -> None:
        super().__init__()
        self.register_modules(un0=un0)

    @classmethod
    def from_pretrained(cls, path: str | Path, device: str = "cpu", **unused: Any) -> Un0Pipeline:
        """Reads a folder of `un0bench train un0`; AssetError says what is wrong with it."""
        return cls(Un0.from_pretrained(path, device))

    def save_pretrained(self, path: str | Path, **unused: Any) -> None:
        """Copies config.json and the weights into a folder."""
        Path(path).mkdir(parents=True, exist_ok=True)
        for name in ("config.json", WEIGHTS):
            source, target = self.un0.folder / name, Path(path) / name
            if source.resolve() != target.resolve():
                shutil.copyfile(source, target)

    def to(
        self, *where: Any, device: str | torch.device | None = None, **unused: Any
    ) -> Un0Pipeline:
        """The pipeline on another device, where other kernels serve it; a dtype changes nothing."""
        named = [w for w in (device, *where) if isinstance(w, str | torch.device)]
        if named and torch.device(named[0]) != self.device:
            self.register_modules(un0=Un0.from_pretrained(self.un0.folder, named[0]))
        return self

    @property
    def device(self) -> torch.device:
        return torch.device(self.un0.device)

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | Sequence[str],
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int = 1,
        guidance_scale: float = 1.0,
        num_images_per_prompt: int = 1,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        temperature: float | None = None,
    ) -> ImagePipelineOutput | tuple[Any]:
        """Draws the images of one prompt after the other.

        output_type: "pil", "np" (float [n, 64, 64, 3]) or "pt" (float [n, 3, 64, 64]), in [0, 1].
        Raises ConfigError on no prompt, another size, an unknown output type, a temperature of 0
        or less, or a list of generators that is not one an image.
        """
        if {height, width} - {None, SIZE}:
            raise ConfigError(f"height={height}, width={width}; Un0 draws {SIZE} x {SIZE} pixels.")
        if output_type not in OUTPUTS:
            raise ConfigError(f"output_type={output_type!r}; choose one of {', '.join(OUTPUTS)}.")
        if temperature is not None and not temperature > 0:
            raise ConfigError(f"temperature={temperature!r}; it is a number above 0.")
        prompts = [prompt] if isinstance(prompt, str) else list(prompt or ())
        if not prompts or num_images_per_prompt < 1:
            raise ConfigError("no image is asked for; give a prompt, or a list of them.")
        texts = [text for text in prompts for _ in range(num_images_per_prompt)]
        images = self.un0.generate(texts, _seeds(generator, len(texts)), temperature)
        found: Any = images.astype(np.float32) / 255
        if output_type == "pil":
            found = VaeImageProcessor.numpy_to_pil(found)
        elif output_type == "pt":
            found = VaeImageProcessor.numpy_to_pt(found)
        return ImagePipelineOutput(images=found) if return_dict else (found,)


def _seeds(generator: torch.Generator | Sequence[torch.Generator] | None, count: int) -> list[int]:
    """One seed of 62 bits an image."""

    def draw(one: torch.Generator | None, n: int) -> list[int]:
        device = "cpu" if one is None else one.device
        drawn: Tensor = torch.randint(2**62, (n,), generator=one, device=device)
        return [int(seed) for seed in drawn]

    if generator is None or isinstance(generator, torch.Generator):
        return draw(generator, count)
    if len(generator) != count:
        raise ConfigError(f"{len(generator)} generators for {count} images; give one an image.")
    return [seed for one in generator for seed in draw(one, 1)]

"""What people would prefer, as a reward model guesses it: PickScore, or another CLIP trained so.

Imports torch and transformers where they are used, so that the parent can name this class.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness import assets
from harness.errors import AssetError, ConfigError
from harness.records import Request

__all__ = ["Preference"]

FILES = ["*.json", "model*.safetensors", "*.txt"]  # a CLIPModel and its processor
UNITS = 100.0  # a score of 21.5 is kept as 0.215, so that a claim's points are the model's own
BATCH = 16


class Preference:
    """Extractor of a reward, float64 [n, 1]: exp(logit scale) times the cosine, over 100.

    model: a transformers CLIPModel as assets.resolve names it, safetensors alone; processor: where
    its processor lies, null: beside it. PickScore by default (Kirstain et al., Pick-a-Pic, 2023).
    """

    def __init__(
        self,
        *,
        model: str = "hub:yuvalkirstain/PickScore_v1",
        processor: str | None = None,
        name: str = "pickscore",
        device: str = "cpu",
    ) -> None:
        if name in ("verified", "clip", "frechet", "recall"):
            raise ConfigError(f"name={name} of a preference model; that metric is built in.")
        self.name, self.device = name, device
        self._names = model, processor or model
        self._model: Any = None

    def ready(self) -> None:
        """Fetches what is not there. Raises AssetError where it cannot be had."""
        self._folders()

    def rows(self, images: Sequence[np.ndarray], requests: Sequence[Request]) -> np.ndarray:
        """Rewards of uint8 images [H, W, 3], each for its own prompt."""
        self._load()
        found = []
        for first in range(0, len(images), BATCH):
            last = first + BATCH
            texts = [request.prompt.text for request in requests[first:last]]
            found.append(self._rewards(images[first:last], texts))
        return np.concatenate(found).reshape(-1, 1)

    def _rewards(self, images: Sequence[np.ndarray], texts: Sequence[str]) -> np.ndarray:
        import torch
        from PIL import Image

        asked = self._processor(
            images=[Image.fromarray(image) for image in images],
            text=list(texts),
            padding=True,
            truncation=True,
            max_length=self._model.config.text_config.max_position_embeddings,
            return_tensors="pt",
        )
        with torch.inference_mode():
            out = self._model(**asked.to(self.device))
        return out.logits_per_image.diagonal().double().cpu().numpy() / UNITS

    def _load(self) -> None:
        """Loads the network once. Raises AssetError where the folder holds none."""
        if self._model is not None:
            return
        from safetensors import SafetensorError
        from transformers import AutoProcessor, CLIPModel

        folder, beside = self._folders()
        try:
            self._processor = AutoProcessor.from_pretrained(beside)
            model = CLIPModel.from_pretrained(folder, use_safetensors=True)
        except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
            told = " ".join(str(error).split())[:200]
            raise AssetError(
                f"No CLIPModel with its processor loads from {folder} ({told}). Name a folder that "
                "transformers saved with both, or the processor's own with processor=..."
            ) from None
        self._model = model.to(self.device).eval().requires_grad_(False)

    def _folders(self) -> tuple[Path, Path]:
        folder, beside = (assets.resolve(name, FILES) for name in self._names)
        if not list(folder.glob("model*.safetensors")):
            raise AssetError(
                f"No model.safetensors in {folder}. Name a CLIPModel as transformers saves one; "
                "pickles are not read."
            )
        return folder, beside

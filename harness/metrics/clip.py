"""The judge network: image features and agreement with the caption, by open_clip.

torch and open_clip are imported where they are used, so that the parent can name these classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import AssetError
from harness.metrics.reference import extractor_sha256
from harness.records import Request

__all__ = ["Clip", "Features", "Judge"]


class Judge:
    """An open_clip model in a folder (`open_clip_config.json`, `open_clip_model.safetensors`).

    Runs in float32 on the CPU unless told otherwise; the same rows for any batch size to 1e-5.
    """

    def __init__(self, path: str | Path, device: str = "cpu") -> None:
        self.path = Path(path)
        self.device = device
        self._model: Any = None

    @property
    def sha256(self) -> str:
        """Hash of the folder's files, as published beside reference features."""
        return extractor_sha256(self.path)

    def load(self) -> None:
        """Loads the network once. Raises AssetError where the folder holds no such model."""
        if self._model is not None:
            return
        import open_clip
        from safetensors import SafetensorError

        name = f"local-dir:{self.path}"
        if not (self.path / "open_clip_model.safetensors").is_file():
            raise AssetError(
                f"No open_clip_model.safetensors in {self.path}. Name a folder with a judge "
                "network, or train it with: un0bench train judge"
            )
        try:
            model = open_clip.create_model(name, precision="fp32", device=self.device)
            config = open_clip.get_model_config(name)
            # open_clip takes a relative bpe_path from the current folder; ours is the model's.
            tokenizer = config["text_cfg"].get("tokenizer_kwargs", {})
            inside = {"bpe_path": str(self.path / tokenizer["bpe_path"])} if tokenizer else {}
            self._tokenizer = open_clip.get_tokenizer(name, **inside)
        except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
            raise AssetError(
                f"The judge network in {self.path} does not load ({error}). Reinstall un0bench, "
                "or train it again with: un0bench train judge"
            ) from error
        self._model = model.eval().requires_grad_(False)
        self._preprocess = open_clip.get_model_preprocess_cfg(model)

    def features(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Embeds uint8 images [H, W, 3] as float32 [n, d], L2-normalised."""
        self.load()
        import torch

        with torch.inference_mode():
            pixels = self._pixels(images).to(self.device)
            return self._model.encode_image(pixels, normalize=True).float().cpu().numpy()

    def captions(self, texts: Sequence[str]) -> np.ndarray:
        """Embeds captions as float32 [n, d], L2-normalised."""
        self.load()
        import torch

        with torch.inference_mode():
            tokens = self._tokenizer(list(texts)).to(self.device)
            return self._model.encode_text(tokens, normalize=True).float().cpu().numpy()

    def score(
        self, images: Sequence[np.ndarray], requests: Sequence[Request]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns features float32 [n, d] and the cosine with each caption, float32 [n]."""
        rows = self.features(images)
        texts = self.captions([request.prompt.text for request in requests])
        return rows, (rows * texts).sum(axis=1)

    def _pixels(self, images: Sequence[np.ndarray]) -> Any:
        """Stacks images as float32 [n, 3, H, W]; pictures of the model's own size unresized."""
        import torch

        size = self._preprocess["size"]
        height, width = (size, size) if isinstance(size, int) else tuple(size)
        if any(image.shape[:2] != (height, width) for image in images):
            return self._resized(images)
        mean = np.asarray(self._preprocess["mean"], np.float32)
        std = np.asarray(self._preprocess["std"], np.float32)
        stack = np.stack([np.asarray(image) for image in images]).astype(np.float32)
        stack = (stack / np.float32(255) - mean) / std
        return torch.from_numpy(np.ascontiguousarray(stack.transpose(0, 3, 1, 2)))

    def _resized(self, images: Sequence[np.ndarray]) -> Any:
        import torch
        from open_clip.transform import PreprocessCfg, image_transform_v2
        from PIL import Image

        transform = image_transform_v2(PreprocessCfg(**self._preprocess), is_train=False)
        return torch.stack([transform(Image.fromarray(image)) for image in images])


class Features:
    """Extractor of the judge's image embedding, float32 [n, d]."""

    name = "features"

    def __init__(self, judge: Judge) -> None:
        self.judge = judge

    def rows(self, images: Sequence[np.ndarray], requests: Sequence[Request]) -> np.ndarray:
        return self.judge.features(images)


class Clip:
    """Extractor of the cosine between image and caption, float32 [n, 1]."""

    name = "clip"

    def __init__(self, judge: Judge) -> None:
        self.judge = judge

    def rows(self, images: Sequence[np.ndarray], requests: Sequence[Request]) -> np.ndarray:
        return self.judge.score(images, requests)[1][:, None]

"""The judge network: image features and agreement with the caption, by open_clip.

torch and open_clip are imported where they are used, so that the parent can name these classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import AssetError
from harness.metrics.reference import extractor_sha256
from harness.records import Request
from harness.state import processors

__all__ = ["Clip", "Features", "Judge"]

CHUNK = 16  # rows a thread takes at once: what a small network makes of them stays in the caches


class Judge:
    """An open_clip model in a folder (`open_clip_config.json`, `open_clip_model.safetensors`).

    Runs in float32 on the CPU unless told otherwise; the same rows for any batch size to 1e-5.
    There each processor takes rows of its own: threads that share one row wait for each other at
    every layer, and for anything else that runs on their processors.
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
        import torch
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
        threads = processors() if self.device == "cpu" else 1
        self._threads = ThreadPoolExecutor(threads, "judge", torch.set_num_threads, (1,))
        scale = open_clip.get_model_preprocess_cfg(model)
        size = scale["size"]
        sides = (size, size) if isinstance(size, int) else tuple(size)
        self._preprocess = {**scale, "size": sides}

    def network(self) -> tuple[Any, Mapping[str, Any]]:
        """The open_clip model, and how pixels are scaled (`size` of [H, W], `mean`, `std`)."""
        self.load()
        return self._model, self._preprocess

    def features(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Embeds uint8 images [H, W, 3] as float32 [n, d], L2-normalised."""
        return self._in_chunks(self._embedded, images)

    def captions(self, texts: Sequence[str]) -> np.ndarray:
        """Embeds captions as float32 [n, d], L2-normalised."""
        return self._in_chunks(self._read, texts)

    def score(
        self, images: Sequence[np.ndarray], requests: Sequence[Request]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns features float32 [n, d] and the cosine with each caption, float32 [n]."""
        rows = self.features(images)
        texts = self.captions([request.prompt.text for request in requests])
        return rows, (rows * texts).sum(axis=1)

    def _in_chunks(self, rows_of: Callable[[Sequence[Any]], np.ndarray], of: Any) -> np.ndarray:
        self.load()
        size = CHUNK if self.device == "cpu" else len(of)
        chunks = [of[at : at + size] for at in range(0, len(of), size)]
        return np.concatenate(list(self._threads.map(rows_of, chunks)))

    def _embedded(self, images: Sequence[np.ndarray]) -> np.ndarray:
        import torch

        with torch.inference_mode():
            pixels = self._pixels(images).to(self.device)
            return self._model.encode_image(pixels, normalize=True).float().cpu().numpy()

    def _read(self, texts: Sequence[str]) -> np.ndarray:
        import torch

        with torch.inference_mode():
            tokens = self._tokenizer(list(texts)).to(self.device)
            return self._model.encode_text(tokens, normalize=True).float().cpu().numpy()

    def _pixels(self, images: Sequence[np.ndarray]) -> Any:
        """Stacks images as float32 [n, 3, H, W]; pictures of the model's own size unresized."""
        import torch

        if any(image.shape[:2] != self._preprocess["size"] for image in images):
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

"""Inception's 2,048 features by clean-fid, and the Frechet distance's other side.

clean-fid resizes and runs the network; `mode` is its own: `clean` (PIL, bicubic, antialiased) or
`legacy_pytorch` (as pytorch-fid, and MLPerf after it). It fetches its network itself. Imports torch
where it is used, so that the parent can name this class.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness import assets
from harness.errors import AssetError, ConfigError
from harness.records import Request
from suites.captioned import PICTURES, pictures_in, read_picture

__all__ = ["Inception"]

MODES = ("clean", "legacy_pytorch")
SCRIPT = "inception-2015-12-05.pt"  # as clean-fid's downloads_helper names it
WEIGHTS = "pt_inception-2015-12-05-6726825d.pth"  # as its inception_pytorch does
BATCH = 16
FEWEST = 2  # pictures that have a covariance


class Inception:
    """Extractor of features kept whole, float32 [n, 2048]; judged by their distance alone.

    reference: a folder of pictures, or an .npz with `mu` [d] and `sigma` [d, d], as clean-fid and
    pytorch-fid write it, of the same mode; named as assets.resolve names things. weights: the
    folder in which mode clean finds or puts its network; null: un0bench's cache. The other's lies
    where torch.hub keeps such files.
    """

    name = "inception"

    def __init__(
        self,
        *,
        reference: str,
        mode: str = "clean",
        weights: str | None = None,
        device: str = "cpu",
    ) -> None:
        if mode not in MODES:
            raise ConfigError(f"mode {mode!r} of Inception; it is one of {', '.join(MODES)}.")
        if weights is not None and mode != "clean":
            raise ConfigError(f"weights={weights} with mode {mode}, which torch.hub keeps itself.")
        self.mode, self.device, self.named = mode, device, str(reference)
        self._folder = None if weights is None else Path(weights)
        self._network: Callable[[Any], Any] | None = None

    def ready(self) -> None:
        """Raises AssetError where the reference is missing, before minutes of measuring."""
        path = assets.resolve(self.named)
        if path.is_dir() and len(pictures_in(path)) < FEWEST:
            raise AssetError(
                f"{path} holds {len(pictures_in(path))} pictures ({', '.join(PICTURES)}); a "
                f"reference needs {FEWEST} or more."
            )

    def rows(self, images: Sequence[np.ndarray], requests: Sequence[Request]) -> np.ndarray:
        """Features of uint8 images [H, W, 3] of any size, float32 [n, 2048]."""
        return self.features(images)

    def features(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """The same without requests."""
        network = self._loaded()
        import torch
        from cleanfid.resize import build_resizer

        with warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter("ignore")  # as clean-fid does, for the whole process
            resize = build_resizer(self.mode)
            found = []
            for first in range(0, len(images), BATCH):
                pixels = [resize(np.array(image)) for image in images[first : first + BATCH]]
                stack = torch.from_numpy(np.stack(pixels).transpose(0, 3, 1, 2)).float()
                found.append(network(stack.to(self.device)).float().cpu().numpy())
        return np.concatenate(found)

    def reference(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean [d] and covariance [d, d] of the reference, float64. Raises AssetError."""
        path = assets.resolve(self.named)
        if path.is_dir():
            paths = pictures_in(path)
            rows = np.concatenate(
                [
                    self.features([read_picture(one) for one in paths[first : first + BATCH]])
                    for first in range(0, len(paths), BATCH)
                ]
            ).astype(np.float64)
            return rows.mean(axis=0), np.cov(rows, rowvar=False)
        try:
            with np.load(path, allow_pickle=False) as told:
                mean, covariance = (np.asarray(told[key], np.float64) for key in ("mu", "sigma"))
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise AssetError(
                f"{path} is no .npz with mu and sigma ({error}). Name one as clean-fid or "
                "pytorch-fid writes it, or a folder of pictures."
            ) from None
        if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)):
            raise AssetError(
                f"{path}: mu has shape {mean.shape} and sigma {covariance.shape}; they are [d] and "
                "[d, d]. Is it of another network?"
            )
        return mean, covariance

    def facts(self) -> Mapping[str, Any]:
        """What stands beside the distance: resize mode, hash of the network, and the reference."""
        self._loaded()
        path = assets.resolve(self.named)
        told = len(pictures_in(path)) if path.is_dir() else _sha256(path)
        return {"mode": self.mode, "network_sha256": _sha256(self._file()), "reference": told}

    def _file(self) -> Path:
        """Where clean-fid, or torch for it, looks for the network, and puts what it fetches."""
        if self.mode == "clean":
            return (self._folder or assets.cache_folder() / "clean-fid") / SCRIPT
        import torch

        return Path(torch.hub.get_dir()) / "checkpoints" / WEIGHTS

    def _loaded(self) -> Callable[[Any], Any]:
        """clean-fid's network, as its build_feature_extractor has it. Raises AssetError."""
        if self._network is not None:
            return self._network
        from cleanfid.features import feature_extractor
        from cleanfid.inception_torchscript import InceptionV3W

        path = self._file()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of torch and torchvision, about clean-fid
                if self.mode == "clean":
                    found = InceptionV3W(os.fspath(path.parent)).to(self.device).eval()
                else:
                    found = feature_extractor("pytorch_inception", self.device, False, False)
        except (OSError, RuntimeError, ValueError, LookupError, pickle.UnpicklingError) as error:
            told = " ".join(str(error).split())[:200]
            raise AssetError(
                f"clean-fid's network cannot be had ({told}). Offline? Put {path.name} at {path} "
                "and run again; if a broken one lies there, delete it."
            ) from None
        self._network = found
        return found


def _sha256(path: Path) -> str:
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()

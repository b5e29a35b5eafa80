"""Parts of a pipeline taken from another place: a student ships only its denoiser."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import diffusers
from accelerate import init_empty_weights
from diffusers import SchedulerMixin
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from harness import assets
from harness.errors import AssetError, ConfigError, InputError
from harness.techniques.packed import unpack

__all__ = ["Replaced"]


class Replaced:
    """Puts another denoiser, another scheduler, or both into a pipeline.

    `transformer` names a folder as diffusers saves a part (config.json, safetensors), of the class
    the pipeline has; weights may be packed (harness/techniques/packed.py), also as what is to be
    added to the pipeline's own, and are unpacked when read. `scheduler` names a folder with a
    scheduler_config.json, or holds settings that differ from the pipeline's, `_class_name` among
    them where the class does.
    """

    def __init__(
        self, *, transformer: str = "", scheduler: str | Mapping[str, Any] | None = None
    ) -> None:
        if not transformer and not scheduler:
            raise ConfigError("Replaced replaces nothing; name a transformer, a scheduler or both.")
        self.transformer, self.scheduler = transformer, scheduler

    def apply(self, pipeline: Any, draw: Callable[[Sequence[str]], object]) -> Mapping[str, Any]:
        """Raises AssetError: a part that is missing, corrupt, or of another class."""
        told: dict[str, Any] = {}
        if self.transformer:
            told |= {"transformer": self.transformer, **_denoiser(pipeline, self.transformer)}
        if self.scheduler:
            new = _scheduler(pipeline.scheduler, self.scheduler)
            pipeline.register_modules(scheduler=new)
            told["scheduler"] = type(new).__name__
        return told


def _denoiser(pipeline: Any, name: str) -> dict[str, Any]:
    """Replaces the transformer; the SHA-256 of the new weights, and the bytes of their files."""
    old = getattr(pipeline, "transformer", None)
    if old is None:
        raise ConfigError(f"{type(pipeline).__name__} has no transformer that could be replaced.")
    folder = assets.resolve(name)
    config = _config(folder / "config.json")
    if config.get("_class_name") != type(old).__name__:
        raise AssetError(
            f"{folder} holds a {config.get('_class_name')}, but the pipeline's transformer is a "
            f"{type(old).__name__}. Name a folder with one of that class."
        )
    files = sorted(folder.glob("*.safetensors"))
    try:
        weights = {
            key: tensor.to(old.device, old.dtype if tensor.is_floating_point() else None)
            for key, tensor in unpack(_tensors(folder, files), old.state_dict()).items()
        }
        with init_empty_weights(include_buffers=False):
            new = type(old).from_config(config)
        new.load_state_dict(weights, strict=True, assign=True)
    except (ValueError, TypeError, RuntimeError) as error:
        raise AssetError(
            f"The weights and config.json of {folder} do not fit each other "
            f"({_line(error)}). Copy or save both again."
        ) from error
    pipeline.register_modules(transformer=new.to(old.device).eval())
    return {
        "weights_sha256": {f"transformer/{path.name}": _sha256(path) for path in files},
        "file_bytes": sum(path.stat().st_size for path in files),
    }


def _tensors(folder: Path, files: Sequence[Path]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for path in files:
        try:
            some = load_file(path)
        except (SafetensorError, OSError) as error:
            raise AssetError(
                f"{path} is corrupt ({_line(error)}). Copy or download it again."
            ) from error
        if twice := sorted(found.keys() & some.keys()):
            raise AssetError(
                f"{path} holds {twice[0]}, which another file of {folder} holds too. Keep one "
                "variant of the weights."
            )
        found |= some
    if not found:
        raise AssetError(f"{folder} holds no .safetensors files, the only format read here.")
    return found


def _scheduler(old: Any, asked: str | Mapping[str, Any]) -> SchedulerMixin:
    """A folder's scheduler as it was saved; of settings, the old one with these changed."""
    fault: type[InputError]
    if isinstance(asked, str):
        path, fault = assets.resolve(asked) / "scheduler_config.json", AssetError
        place, config, changed = str(path), _config(path), {}
    else:
        place, fault, changed = "scheduler", ConfigError, dict(asked)
        config = {**old.config, "_class_name": type(old).__name__, **changed}
    name = str(config.get("_class_name"))
    kind: Any = getattr(diffusers, name, None)
    if not _is_scheduler(kind):
        raise fault(f"{place}: _class_name {name} is no scheduler's.")
    for key in changed.keys() - {"_class_name", *inspect.signature(kind).parameters}:
        raise ConfigError(f"{place}: {kind.__name__} takes no '{key}'.")
    try:
        return kind.from_config(config)
    except (ValueError, TypeError, RuntimeError) as error:  # what diffusers does not know
        raise fault(f"{place} gives no {kind.__name__} ({_line(error)}).") from error


def _is_scheduler(kind: object) -> bool:
    return inspect.isclass(kind) and issubclass(kind, SchedulerMixin)


def _config(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise AssetError(
            f"No {path.name} in {path.parent.absolute()}. Name the folder that the part's "
            "save_pretrained wrote."
        ) from error
    except (OSError, ValueError) as error:
        raise AssetError(f"{path} cannot be read ({_line(error)}). Copy it again.") from error
    if not isinstance(found, dict):
        raise AssetError(f"{path} holds no settings by name. Copy it again.")
    return found


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _sha256(path: Path) -> str:
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()

"""Any text-to-image pipeline of diffusers, by hub id or by folder."""

from __future__ import annotations

import hashlib
import inspect
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError
from safetensors import SafetensorError, safe_open

from harness import assets
from harness.errors import AssetError, ConfigError
from harness.protocols import Technique
from harness.records import Failure, Prompt, Request, SystemCard
from harness.runtimes import on_openvino

__all__ = ["DiffusersSystem"]


class DiffusersSystem:
    """Loads with `DiffusionPipeline.from_pretrained`, safetensors only; one generator a request.

    `dtype` "auto" is bfloat16 where the device computes it natively, else float32. `compile` has
    "openvino" or "torch" make the denoiser and the decoder faster; "auto" takes the first of these
    that serves on a processor, and no other device (ADR 0022). `call`
    holds further keyword arguments of the pipeline's own call. `cheaper` names a variant that draws
    as well for less; it is told with every factor against this one. `techniques` change the loaded
    pipeline one after another, before it is compiled. A request's image depends on its text and
    seed, not on the batch it came in (up to rounding).
    """

    def __init__(
        self,
        *,
        model: str,
        steps: int = 50,
        guidance: float = 7.5,
        height: int | None = None,
        width: int | None = None,
        dtype: str = "float32",
        device: str = "cpu",
        threads: int | None = None,
        compile: bool | str = False,
        call: Mapping[str, Any] | None = None,
        cheaper: str = "",
        techniques: Sequence[Technique] = (),
    ) -> None:
        self.model, self.steps, self.guidance = model, steps, guidance
        self.size = {"height": height, "width": width}
        self.dtype, self.device, self.threads = dtype, device, threads
        self.compile, self.call, self.cheaper = compile, dict(call or {}), cheaper
        self.techniques, self.applied = techniques, list[dict[str, Any]]()
        self.declined: dict[str, str] = {}  # compilers, and why not

    def load(self) -> None:
        """Raises AssetError: a folder or repository that is missing, gated, or cannot be read."""
        if self.threads:
            torch.set_num_threads(self.threads)
        if self.dtype == "auto":
            self.dtype = _native_dtype(self.device)
        if self.compile is not False and self.compile not in ("auto", *COMPILERS):
            raise ConfigError(f"compile={self.compile!r}; it is false, auto, openvino or torch.")
        if self.compile == "auto" and self.device != "cpu":
            self.compile = False
        dtype = getattr(torch, self.dtype, None)
        if not isinstance(dtype, torch.dtype):
            raise ConfigError(
                f"dtype={self.dtype} is none of torch's; use float32, bfloat16, auto."
            )
        if self.device.startswith("cuda") and not torch.cuda.is_available():
            raise ConfigError(
                f"device={self.device}, but torch sees no GPU. Use systems.<its name>.device=cpu."
            )
        self.pipeline, self.weights_sha256 = self._read(dtype)
        self.pipeline.to(self.device)
        self.pipeline.set_progress_bar_config(disable=True)
        for technique in self.techniques:
            told = dict(technique.apply(self.pipeline, self._draw))
            self.weights_sha256 |= told.pop("weights_sha256", {})
            self.applied.append({"name": type(technique).__name__, **told})
        if self.compile:
            self.compile = self._compiled()

    def _read(self, dtype: torch.dtype) -> tuple[Any, dict[str, str]]:
        """The pipeline of a folder, and the SHA-256 of its files of weights."""
        folder = _folder(self.model)
        _check_weights(folder)
        try:
            pipeline = DiffusionPipeline.from_pretrained(
                folder, dtype=dtype, use_safetensors=True, local_files_only=True
            )
        except (OSError, ValueError, RuntimeError, SafetensorError, AttributeError) as error:
            raise AssetError(
                f"{folder} does not load as a diffusers pipeline ({_line(error)}). "
                "Save it again with save_pretrained(..., safe_serialization=True)."
            ) from error
        files = sorted(folder.rglob("*.safetensors"))
        return pipeline, {path.relative_to(folder).as_posix(): _sha256(path) for path in files}

    def _compiled(self) -> str | bool:
        """What compiled the denoiser and the decoder, for any batch; False for nothing.

        Three pictures of two steps are to be the same as before, up to rounding. Raises ConfigError
        where it was told to compile and does not; "auto" then goes on with the next.
        """
        steps, asked = self.steps, self.compile
        self.steps = min(2, steps)
        owners = [(self.pipeline, self._denoiser)]
        if hasattr(getattr(self.pipeline, "vae", None), "decoder"):
            owners.append((self.pipeline.vae, "decoder"))
        plain = [(owner, part, getattr(owner, part)) for owner, part in owners]
        try:
            before = self._draw(CHECKED)
            for name in COMPILERS if asked == "auto" else (str(asked),):
                try:
                    for owner, part in owners:
                        COMPILERS[name](owner, part, lambda: self._draw(CHECKED[:2]))
                    _same(before, self._draw(CHECKED))
                except Exception as error:  # compilers fail in ways of their own
                    for owner, part, module in plain:
                        setattr(owner, part, module)
                    if asked != "auto":
                        raise ConfigError(
                            f"compile={asked} fails ({_line(error)}); use false."
                        ) from error
                    self.declined[name] = _line(error)
                else:
                    return name
        finally:
            self.steps = steps
        return False

    def _draw(self, texts: Sequence[str]) -> list[np.ndarray | Failure]:
        prompts = [Prompt(id="", text=text, category="") for text in texts]
        return self.generate([Request(id=i, prompt=p, seed=i) for i, p in enumerate(prompts)])

    @torch.inference_mode()
    def generate(self, requests: Sequence[Request]) -> list[np.ndarray | Failure]:
        """Generates uint8 images [H, W, 3], sRGB, on the host."""
        generators = [torch.Generator("cpu").manual_seed(request.seed) for request in requests]
        arguments = {key: value for key, value in self.size.items() if value is not None}
        images = self.pipeline(
            prompt=[request.prompt.text for request in requests],
            num_inference_steps=self.steps,
            guidance_scale=self.guidance,
            generator=generators,
            output_type="np",
            **arguments,
            **self.call,
        ).images
        return [
            np.ascontiguousarray((image * 255).round().astype(np.uint8))
            if np.isfinite(image).all()
            else Failure(reason="the pipeline returned values that are not finite")
            for image in images
        ]

    @property
    def _denoiser(self) -> str:
        """The name of the part that is evaluated at each step."""
        return "transformer" if hasattr(self.pipeline, "transformer") else "unet"

    def _denoiser_bytes(self, changed: int) -> int:
        """Of its parameters; techniques tell by how much they `changed` them."""
        part = getattr(self.pipeline, self._denoiser, None)
        own = part.parameters() if isinstance(part, torch.nn.Module) else ()
        return sum(p.numel() * p.element_size() for p in own) + changed

    def _guided(self) -> bool:
        """Whether each step is evaluated twice; a guidance that was distilled into it is not."""
        known = inspect.signature(self.pipeline.__call__).parameters
        if "true_cfg_scale" in known:
            return float(self.call.get("true_cfg_scale", 1.0)) > 1
        return self.guidance > 1

    def card(self) -> SystemCard:
        """The pipeline's figures; a size that was left to the pipeline is 0."""
        modules = [m for m in self.pipeline.components.values() if isinstance(m, torch.nn.Module)]
        parameters = [p for module in modules for p in module.parameters()]
        read = sum(p.numel() * p.element_size() for p in parameters)
        told = [one["parameter_bytes"] for one in self.applied if "parameter_bytes" in one]
        return SystemCard(
            name=self.pipeline.__class__.__name__,
            height=self.size["height"] or 0,
            width=self.size["width"] or 0,
            parameters=sum(p.numel() for p in parameters),
            parameter_bytes=told[-1] if told else read,
            precision=self.dtype,
            steps=self.steps,
            evaluations=self.steps * (2 if self._guided() else 1),
            weights_sha256=self.weights_sha256,
            notes={
                "model": self.model,
                "guidance": self.guidance,
                "scheduler": type(self.pipeline.scheduler).__name__,
                "compiled": self.compile,
                **({"not_compiled_by": self.declined} if self.declined else {}),
                "device": self.device,
                "denoiser_bytes": self._denoiser_bytes(told[-1] - read if told else 0),
                **({"cheaper": self.cheaper} if self.cheaper else {}),
                **({"techniques": self.applied} if self.applied else {}),
            },
        )


def _same(before: Sequence[np.ndarray | Failure], after: Sequence[np.ndarray | Failure]) -> None:
    """Raises ConfigError where pictures differ by more than roundings."""
    for one, other in zip(before, after, strict=True):
        if isinstance(one, Failure) or isinstance(other, Failure):
            raise ConfigError("its pictures hold values that are not finite")
        apart = float(np.abs(one.astype(float) - other.astype(float)).mean())
        if apart > ROUNDING:
            raise ConfigError(f"its pictures are others, by {apart:.1f} of 255 levels on average")


def _with_torch(owner: Any, part: str, draw: Callable[[], object]) -> None:
    """torch's own compiler, for any batch; on a processor it packs weights as kernels want them."""
    if next(getattr(owner, part).parameters()).device.type == "cpu":
        if not shutil.which("g++"):
            raise ConfigError("no C++ compiler is here: install g++")
        torch._inductor.config.freezing = True
    torch._inductor.config.compile_threads = 1  # in this process: nothing is left running
    setattr(owner, part, torch.compile(getattr(owner, part), dynamic=True))


CHECKED = ("a", "two red circles beside a blue star", "the letters a b")  # of unlike lengths
ROUNDING = 4.0  # levels of 255, on average, that bfloat16 in another order may change
COMPILERS = {"openvino": on_openvino, "torch": _with_torch}  # the cheapest first


def _native_dtype(device: str) -> str:
    """The fastest precision a device has; emulated bfloat16 would be slower than float32."""
    if not device.startswith("cpu"):
        return "bfloat16"
    known: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    native = any(known.get(flag) for flag in ("avx512_bf16", "amx_bf16", "arm_bf16"))
    return "bfloat16" if native else "float32"


def _folder(model: str) -> Path:
    """The folder of a pipeline; a hub id is downloaded into the hub's own cache."""
    looks_like_id = model.count("/") == 1 and not model.startswith((".", "/", "~", "package:"))
    if Path(model).exists() or not looks_like_id:
        folder = assets.resolve(model)
    else:
        folder = Path(_downloaded(model))
    if not (folder / "model_index.json").is_file():
        raise AssetError(
            f"{folder} holds no model_index.json, so it is no diffusers pipeline. Name the folder "
            "that save_pretrained wrote."
        )
    return folder


def _downloaded(model: str) -> str:
    try:
        return DiffusionPipeline.download(model, use_safetensors=True)
    except GatedRepoError as error:
        raise AssetError(
            f"{model} is gated. Accept its terms on its page, log in with `hf auth login`, "
            "and run again."
        ) from error
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise AssetError(
            f"There is no folder {model} here, and the hub did not give it ({_line(error)}). Check "
            "the name; offline, name a folder that save_pretrained wrote."
        ) from error


def _check_weights(folder: Path) -> None:
    """Reads every file's header, so that a cut or broken file is named."""
    files = sorted(folder.rglob("*.safetensors"))
    if not files:
        raise AssetError(
            f"{folder} holds no .safetensors files, the only format read here. Save the pipeline "
            "again with save_pretrained(..., safe_serialization=True)."
        )
    for path in files:
        try:
            with safe_open(path, framework="pt") as weights:
                weights.keys()
        except (SafetensorError, OSError) as error:
            raise AssetError(
                f"{path} is corrupt ({_line(error)}). Copy or download it again."
            ) from error


def _line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else text[:300] + " ..."


def _sha256(path: Path) -> str:
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()

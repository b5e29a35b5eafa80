"""Any Python callable or class as a system: `module:object` is called with a batch of requests.

What it does is its own; what it returns is checked, and told with a remedy where it is no picture.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import hashlib
import importlib
import inspect
import operator
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from harness import assets
from harness.errors import ConfigError
from harness.records import Failure, Request, SystemCard

__all__ = ["CallableSystem"]

HALF_A_LEVEL = 1 / 510  # of 255: what rounding forgives beyond [0, 1]
ACCEPTED = (
    "Return a picture a prompt: uint8 [B, H, W, 3], floats in [0, 1] of that shape, a torch "
    "tensor of either with its 3 colours first or last, or a list of such pictures or PIL images."
)


class CallableSystem:
    """Calls `target`, "module:object", with prompts and seeds: two lists of one length.

    A class is instantiated with `arguments` and its instance called; a function gets them with
    every call. `path` is a folder that modules are also sought in. With `condition` "class" the
    prompts are class numbers: of the name in `classes` that is the prompt, or the one name that
    stands in it as a word; a prompt without one is a failure. `device` says what the callable works
    on ("cpu", "cuda:1"); it is stated and not handed on. An attribute or method `card` of the
    object gives fields of the card.
    """

    def __init__(
        self,
        *,
        target: str,
        arguments: Mapping[str, Any] | None = None,
        path: str | None = None,
        condition: str = "text",
        classes: Mapping[str, int] | None = None,
        device: str | None = None,
    ) -> None:
        if condition not in ("text", "class"):
            raise ConfigError(f"condition={condition!r}; it is text or class.")
        if (condition == "class") != bool(classes):
            raise ConfigError(
                f"condition={condition} with {len(classes or {})} classes. Name the classes of "
                "condition=class, as in classes={cat: 3, dog: 5}, and of no other."
            )
        for name, index in (classes or {}).items():
            if not isinstance(index, int) or isinstance(index, bool) or index < 0:
                raise ConfigError(f"classes: {name!r} is {index!r}; it is a number from 0 on.")
        self.target, self.arguments, self.path = target, dict(arguments or {}), path
        self.classes = {str(name).strip().casefold(): n for name, n in (classes or {}).items()}
        self.device = device

    def load(self) -> None:
        """Raises ConfigError for what is not there, AssetError where `path` is none."""
        if self.path is not None:
            sys.path.insert(0, str(assets.resolve(self.path).absolute()))
        found, self._source = _found(self.target)
        self._object: Any = found
        if inspect.isclass(found):
            _check(self.target, found, self.arguments)
            self._object = found(**self.arguments)
        if not callable(self._object):
            raise ConfigError(
                f"target={self.target} is a {type(self._object).__name__} that cannot be called. "
                "Name a function, or a class with a method __call__(prompts, seeds)."
            )
        self._draw: Callable[..., Any] = self._object
        if self.arguments and not inspect.isclass(found):
            self._draw = functools.partial(self._object, **self.arguments)

    def generate(self, requests: Sequence[Request]) -> list[np.ndarray | Failure]:
        """Generates uint8 images [H, W, 3], sRGB. Raises ConfigError for what is no picture."""
        answers: list[Any] = [request.prompt.text for request in requests]
        if self.classes:
            answers = [self._class(text) for text in answers]
        asked = [i for i, one in enumerate(answers) if not isinstance(one, Failure)]
        if asked:
            drawn = self._draw([answers[i] for i in asked], [requests[i].seed for i in asked])
            for i, picture in zip(asked, _pictures(drawn, len(asked)), strict=True):
                answers[i] = picture
        return answers

    def card(self) -> SystemCard:
        """What the object tells of itself, beside where it comes from; a size untold is 0."""
        told = getattr(self._object, "card", {})
        told = told() if callable(told) else told
        if isinstance(told, SystemCard):
            told = dataclasses.asdict(told)
        if not isinstance(told, Mapping):
            raise ConfigError(f"The card of {self.target} is a {type(told).__name__}, no mapping.")
        fields = {field.name for field in dataclasses.fields(SystemCard)}
        for key in told:
            if key not in fields:
                near = difflib.get_close_matches(str(key), fields, n=1, cutoff=0.0)[0]
                raise ConfigError(f"The card of {self.target} has no '{key}'; nearest is '{near}'.")
        notes: dict[str, Any] = {"target": self.target, "arguments": self.arguments}
        notes |= {"source_sha256": self._source, "device": self.device}
        if self.classes:
            notes["classes"] = len(self.classes)
        kind = "class-to-image" if self.classes else "text-to-image"
        known = {"name": self.target, "modality": kind, "height": 0, "width": 0, **told}
        return SystemCard(**{**known, "notes": {**notes, **dict(told.get("notes") or {})}})

    def _class(self, text: str) -> int | Failure:
        whole = text.strip().casefold()
        if whole in self.classes:
            return self.classes[whole]
        named = [
            name for name in self.classes if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", whole)
        ]
        if len(named) != 1:
            told = " and ".join(named) or "no"
            return Failure(reason=f"{told} class is named in {text!r}; exactly one is asked for")
        return self.classes[named[0]]


def _found(target: str) -> tuple[Any, str | None]:
    """What a target names, and the SHA-256 of its module's file."""
    name, colon, inside = target.partition(":")
    if not (name and colon and inside):
        raise ConfigError(f"target={target!r}; write module:object, as in mygen:Generator.")
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"target={target}: {name} cannot be imported ({error}). Install it, or name the folder "
            "it lies in with path=..."
        ) from error
    try:
        found = operator.attrgetter(inside)(module)
    except AttributeError:
        public = [one for one in vars(module) if not one.startswith("_")]
        near = difflib.get_close_matches(inside, public, n=1, cutoff=0.0)
        hint = f" Did you mean {name}:{near[0]}?" if near else ""
        raise ConfigError(f"target={target}: {name} has no {inside}.{hint}") from None
    file = getattr(module, "__file__", None)
    return found, hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else None


def _check(target: str, kind: Any, arguments: Mapping[str, Any]) -> None:
    try:
        inspect.signature(kind).bind(**arguments)
    except TypeError as error:
        raise ConfigError(
            f"target={target} with arguments {', '.join(arguments) or 'none'}: {error}. "
            "Give them as arguments={name: value}."
        ) from None
    except ValueError:  # a class of an extension tells no signature
        return


# Pictures --------------------------------------------------------------------------------------


def _pictures(answer: Any, count: int) -> list[np.ndarray | Failure]:
    """An answer as uint8 pictures [H, W, 3]; ConfigError where it is not as many pictures."""
    stacked = isinstance(answer, np.ndarray) or _is_tensor(answer)
    if not (isinstance(answer, list | tuple) or (stacked and len(answer.shape) == 4)):
        raise ConfigError(f"The callable returned {_shown(answer)}. {ACCEPTED}")
    if len(answer) != count:
        raise ConfigError(
            f"The callable returned {len(answer)} pictures for {count} prompts. {ACCEPTED}"
        )
    return [one if isinstance(one, Failure) else _picture(one) for one in answer]


def _picture(one: Any) -> np.ndarray | Failure:
    if isinstance(one, Image.Image):
        return np.asarray(one.convert("RGB"))
    pixels = _host(one) if _is_tensor(one) else one
    if not isinstance(pixels, np.ndarray) or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ConfigError(f"A picture that was returned is {_shown(one)}. {ACCEPTED}")
    if pixels.dtype == np.uint8:
        return np.ascontiguousarray(pixels)
    if not np.issubdtype(pixels.dtype, np.floating):
        raise ConfigError(f"A picture that was returned is {_shown(one)}. {ACCEPTED}")
    if not np.isfinite(pixels).all():
        return Failure(reason="the callable returned values that are not finite")
    low, high = float(pixels.min()), float(pixels.max())
    if low < -HALF_A_LEVEL or high > 1 + HALF_A_LEVEL:
        raise ConfigError(
            f"A picture that was returned has values from {low:.3g} to {high:.3g}; floats are in "
            "[0, 1]. Return x / 2 + 0.5 for [-1, 1], or uint8 for 0 to 255."
        )
    return (pixels.clip(0, 1) * 255).round().astype(np.uint8)


def _is_tensor(one: Any) -> bool:
    """Whether it is torch's, which is not imported for that."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(one, torch.Tensor)


def _host(tensor: Any) -> np.ndarray:
    """A tensor [3, H, W] or [H, W, 3] as an array [H, W, 3]; ConfigError where it may be both."""
    shape = tuple(tensor.shape)
    if len(shape) == 3 and shape[0] == 3 and shape[2] == 3:
        raise ConfigError(
            f"A tensor {list(shape)} may have its colours first or last. Return a numpy array "
            "[B, H, W, 3]."
        )
    tensor = tensor.detach().cpu()
    if tensor.is_floating_point():
        tensor = tensor.float()  # numpy has no bfloat16
    array = np.asarray(tensor.numpy())
    return array.transpose(1, 2, 0) if len(shape) == 3 and shape[0] == 3 else array


def _shown(one: Any) -> str:
    if isinstance(one, np.ndarray) or _is_tensor(one):
        return f"{str(one.dtype).removeprefix('torch.')} {list(one.shape)}"
    return f"a {type(one).__name__}"

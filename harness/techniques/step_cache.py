"""Reuse from one denoising step to the next, by the cache hooks of diffusers.

first-block         what the other blocks added last, where the first one's share has changed by
                    less than `threshold` (First Block Cache of ParaAttention)
pyramid-attention   each attention's last output, for so many steps (Zhao et al. 2024)
taylorseer          outputs extrapolated from those of the steps before (Liu et al. 2025)
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from diffusers import CacheMixin
from diffusers.hooks import (
    FirstBlockCacheConfig,
    HookRegistry,
    PyramidAttentionBroadcastConfig,
    TaylorSeerCacheConfig,
    apply_first_block_cache,
    apply_pyramid_attention_broadcast,
    apply_taylorseer_cache,
)
from torch import Tensor, nn

from harness.errors import ConfigError
from suites.proc.train import draw_batch

__all__ = ["StepCache"]

KINDS: dict[str, tuple[Any, Callable[[nn.Module, Any], None]]] = {
    "first-block": (FirstBlockCacheConfig, apply_first_block_cache),
    "pyramid-attention": (PyramidAttentionBroadcastConfig, apply_pyramid_attention_broadcast),
    "taylorseer": (TaylorSeerCacheConfig, apply_taylorseer_cache),
}
OURS = {"current_timestep_callback", "taylor_factors_dtype"}  # which no YAML can say


class StepCache:
    """Skips work of the denoiser's blocks; `parameters` are those of diffusers' own configuration.

    A picture depends neither on what was drawn before nor on its batch: what is kept is dropped
    when the pipeline is called again, and all three go by the number of the step. First-block would
    decide by the mean over a batch; here it decides once, by a trial draw of `trial` captions of
    the training split, and every call then computes the blocks at the same steps as the trial did.
    For a pipeline that evaluates its transformer once a step, guided or not; not to be compiled,
    as what is kept from step to step would be compiled anew at each.
    """

    def __init__(self, *, kind: str, trial: int = 16, **parameters: Any) -> None:
        self.kind, self.trial, self.parameters = kind, trial, parameters

    def apply(self, pipeline: Any, draw: Callable[[Sequence[str]], object]) -> Mapping[str, Any]:
        """Raises ConfigError: a kind or parameter that is not, or that finds nothing to skip.

        `skipped` is the share of the trial's multiply-adds in the blocks' linear layers that were
        not done, and so of block evaluations where whole blocks are; `whole_steps` had them all.
        """
        denoiser = getattr(pipeline, "transformer", None)
        if denoiser is None:
            raise ConfigError(f"StepCache needs a transformer; {type(pipeline).__name__} has none.")
        loop = _Loop(pipeline, denoiser)
        self._hook(denoiser, loop)
        captions = draw_batch(np.random.default_rng(0), self.trial)[1]
        try:
            work = loop.watched(lambda: draw(captions))
        except (ArithmeticError, TypeError, ValueError) as error:  # as an interval of 0
            raise ConfigError(
                f"StepCache {self.kind} cannot draw with {self.parameters} ({error})."
            ) from error
        if len(work) != len(pipeline.scheduler.timesteps):
            raise ConfigError(
                f"StepCache is for pipelines that evaluate their transformer once a step; "
                f"{type(pipeline).__name__} did {len(work)} times in "
                f"{len(pipeline.scheduler.timesteps)} steps."
            )
        whole = [step for step, done in enumerate(work) if done == work[0]]
        if self.kind == "first-block":
            loop.decide(whole)
        skipped = round(1 - sum(work) / (len(work) * work[0]), 4)
        told = {"kind": self.kind, **self.parameters}
        return {**told, "trial": self.trial, "skipped": skipped, "whole_steps": whole}

    def _hook(self, denoiser: nn.Module, loop: _Loop) -> None:
        if self.kind not in KINDS:
            raise ConfigError(f"StepCache kind={self.kind}; it is one of {', '.join(KINDS)}.")
        kind, hook = KINDS[self.kind]
        known = {field.name for field in dataclasses.fields(kind)}
        for key in self.parameters.keys() - (known - OURS):
            near = difflib.get_close_matches(key, known - OURS, n=1, cutoff=0.0)
            raise ConfigError(f"StepCache {self.kind} takes no '{key}'; did you mean '{near[0]}'?")
        ours = {"current_timestep_callback": loop.time, "taylor_factors_dtype": torch.float32}
        config = kind(**self.parameters, **{key: ours[key] for key in OURS & known})
        try:
            hook(denoiser, config)
        except IndexError as error:  # of a list of blocks that is too short
            raise ConfigError(f"{type(denoiser).__name__} has too few blocks to cache.") from error
        if not _hooks(denoiser):
            raise ConfigError(
                f"StepCache {self.kind} finds nothing to cache in {type(denoiser).__name__}. Name "
                "its modules by the *_identifiers; taylorseer takes use_lite_mode: true too."
            )


class _Loop:
    """The denoising of one call of a pipeline: which evaluation it is at, and what is kept."""

    def __init__(self, pipeline: Any, denoiser: nn.Module) -> None:
        self.denoiser, self.evaluation = denoiser, 0
        self.given = torch.zeros(1)
        self.whole: Sequence[int] | None = None
        kind = type(pipeline)

        @functools.wraps(kind.__call__)
        def call(this: Any, *arguments: Any, **keywords: Any) -> Any:
            HookRegistry.check_if_exists_or_initialize(denoiser).reset_stateful_hooks()
            self.evaluation = -1
            with CacheMixin.cache_context(denoiser, "guided and not"):
                return kind.__call__(this, *arguments, **keywords)

        pipeline.__class__ = type(kind.__name__, (kind,), {"__call__": call})
        denoiser.register_forward_pre_hook(self._step, with_kwargs=True)

    def _step(self, _: nn.Module, arguments: Any, keywords: Mapping[str, Any]) -> None:
        self.evaluation += 1
        self.given = keywords["timestep"]
        if self.whole is not None:
            self.head.threshold = -1.0 if self.evaluation in self.whole else float("inf")

    def time(self) -> float:
        """The timestep of the evaluation."""
        return float(self.given.flatten()[0])

    def decide(self, whole: Sequence[int]) -> None:
        """From now on the first block's hook lets the others run at these evaluations alone."""
        self.whole = whole
        (self.head,) = (hook for hook in _hooks(self.denoiser) if hasattr(hook, "threshold"))

    def watched(self, draw: Callable[[], object]) -> list[int]:
        """Multiply-adds of the linear layers of the blocks while drawing, by evaluation."""
        work: list[int] = []

        def count(layer: nn.Module, given: tuple[Tensor], _: Tensor) -> None:
            work.extend([0] * (self.evaluation + 1 - len(work)))
            work[self.evaluation] += given[0].numel() * layer.out_features

        lists = [part for part in self.denoiser.children() if isinstance(part, nn.ModuleList)]
        layers = [m for part in lists for m in part.modules() if isinstance(m, nn.Linear)]
        handles = [layer.register_forward_hook(count) for layer in layers]
        draw()
        for handle in handles:
            handle.remove()
        return work + [0] * (self.evaluation + 1 - len(work))


def _hooks(denoiser: nn.Module) -> list[Any]:
    registries = (getattr(part, "_diffusers_hook", None) for part in denoiser.modules())
    return [hook for registry in registries if registry for hook in registry.hooks.values()]

"""The training loop that every recipe shares: resumable, seeded by step, its own cost recorded."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from harness.errors import ConfigError
from harness.meters.all import All
from harness.records import Span
from un0_model.recipes.leg import Leg

__all__ = [
    "Stage",
    "fingerprint",
    "kept",
    "save_weights",
    "take_weights",
]

STATE = "state.safetensors"
MOMENTS = ("exp_avg", "exp_avg_sq", "momentum_buffer")  # of AdamW, AdamW and Muon
MUON_LR = 2e-3


def save_weights(path: Path, tensors: Mapping[str, Tensor], **words: str) -> None:
    """Writes safetensors beside and renames, so that a killed run leaves the old file whole."""
    beside = path.with_suffix(".part")
    save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, beside, words)
    beside.rename(path)


def kept(path: Path, make: Callable[[], np.ndarray]) -> np.ndarray:
    """The array of a file, or one made now and kept there, whole or not at all."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(f".{os.getpid()}.npy")
        np.save(beside, make())
        beside.rename(path)
    return np.load(path)


def fingerprint(module: nn.Module) -> str:
    """Eight digits that change with any weight: names what was made by these weights."""
    digest = hashlib.sha256()
    for value in module.state_dict().values():
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:8]


def take_weights(module: nn.Module, tensors: Mapping[str, Tensor], prefix: str = "") -> None:
    """Loads the tensors under a prefix into a module."""
    own = {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
    module.load_state_dict({k: own[k] for k in module.state_dict()})


def _flat(values: Tensor, weight: Tensor) -> Tensor:
    """Values laid out as the matrix [out, rest] that shares a weight's memory, whatever its format.

    Of a convolution in channels_last the rest is (height, width, in), else (in, height, width).
    """
    if weight.ndim == 4 and not weight.is_contiguous():
        values = values.permute(0, 2, 3, 1)
    return values.reshape(len(values), -1)


@dataclass(kw_only=True)
class Stage:
    """One resumable training run.

    loss(rng, progress) draws its own batch from rng and returns the loss; progress in [0, 1].
    Learning rate: 200 steps of warm-up, constant, linear decay over the last `decay` of the steps.
    Matrices and convolutions whose names hold a part named in `hidden` learn by Muon (Jordan et
    al. 2024), whose steps have AdamW's size; everything else by AdamW.
    """

    name: str
    leg: Leg
    modules: dict[str, nn.Module]
    loss: Callable[[np.random.Generator, float], Tensor]
    steps: int
    lr: float
    rates: Mapping[str, float] = field(default_factory=dict)
    hidden: tuple[str, ...] = ()
    model: str = ""  # what else a run that goes on must share: the shape, in words
    ema: float = 0.0
    decay: float = 0.25
    log_every: int = 100
    save_every_s: float = 120.0
    sample: Callable[[Path], None] | None = None
    _matrices: dict[str, nn.Parameter] = field(default_factory=dict, init=False)

    def run(self) -> bool:
        """Trains to the last step; False if `limit_s` ended this leg first (run again to go on)."""
        folder = self.leg.out / self.name
        folder.mkdir(parents=True, exist_ok=True)
        for module in self.modules.values():
            module.to(self.leg.device).train()
        optimisers = self._optimisers()
        average = {k: v.detach().clone() for k, v in self._named()} if self.ema else {}
        step = self._resume(folder / STATE, optimisers, average)
        if step >= self.steps:
            self._use(average)
            return True
        meter = All()
        meter.start()
        meter.mark()
        began, cpu = time.perf_counter_ns(), time.process_time()
        first, saved, losses = step, time.monotonic(), []
        while step < self.steps:
            with self._attention():
                losses.append(self._step(step, optimisers, average))
            step += 1
            spent = (time.perf_counter_ns() - began) / 1e9
            if step % self.log_every == 0 or step == self.steps:
                row = {"step": step, "loss": float(np.mean(losses)), "seconds": round(spent, 1)}
                losses.clear()
                with (folder / "curve.jsonl").open("a") as f:
                    f.write(json.dumps(row) + "\n")
                left_s = (self.steps - step) * spent / (step - first)
                print(
                    f"{self.name} {step}/{self.steps} loss {row['loss']:.4f} {left_s:.0f} s left",
                    flush=True,
                )
            over = self.leg.over
            if time.monotonic() - saved > self.save_every_s or step == self.steps or over:
                self._save(folder / STATE, optimisers, average, step)
                self._record(folder, first, step, began, meter, time.process_time() - cpu)
                saved = time.monotonic()
            if over:
                break
        meter.stop()
        self._use(average)
        if self.sample is not None:
            for module in self.modules.values():
                module.eval()
            self.sample(folder / f"grid-{step:07d}.png")
        return step >= self.steps

    def _attention(self) -> AbstractContextManager[None]:
        """Plain attention on a processor: torch's flash backward took half of a 64-token step."""
        return sdpa_kernel(SDPBackend.MATH) if self.leg.device == "cpu" else nullcontext()

    def _identity(self) -> dict[str, str]:
        """What a run that goes on must have in common with the one that began."""
        rates = {key: str(value) for key, value in sorted(self.rates.items())}
        return {
            "seed": str(self.leg.seed),
            "steps": str(self.steps),
            "lr": str(self.lr),
            "rates": json.dumps(rates),
            "hidden": ",".join(self.hidden),
            "model": self.model,
            "base": str(self.leg.base or ""),
        }

    def _named(self) -> list[tuple[str, Tensor]]:
        return [
            (f"{m}.{k}", p)
            for m, module in self.modules.items()
            for k, p in module.named_parameters()
        ]

    def _optimisers(self) -> list[torch.optim.Optimizer]:
        groups: dict[tuple[float, float], list[Tensor]] = {}
        for name, p in self._named():
            if p.ndim in (2, 4) and min(p.shape[:2]) >= 16 and any(h in name for h in self.hidden):
                self._matrices[name] = nn.Parameter(_flat(p.detach(), p))
                continue
            rate = next((r for part, r in self.rates.items() if part in name), 1.0)
            pool = rate != 1.0 or p.ndim < 2
            groups.setdefault((rate, 0.0 if pool else 0.01), []).append(p)
        found: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(
                [
                    {"params": ps, "lr": self.lr * rate, "full": self.lr * rate, "weight_decay": d}
                    for (rate, d), ps in groups.items()
                ],
                betas=(0.9, 0.98),
                fused=True,
            )
        ]
        if self._matrices:
            matrices = list(self._matrices.values())
            group = {"params": matrices, "lr": MUON_LR, "full": MUON_LR, "weight_decay": 0.01}
            found.append(torch.optim.Muon([group], adjust_lr_fn="match_rms_adamw"))
        return found

    def _step(
        self, step: int, optimisers: list[torch.optim.Optimizer], average: dict[str, Tensor]
    ) -> float:
        progress = step / self.steps
        factor = min(1.0, (step + 1) / 200, (1 - progress) / self.decay)
        for optimiser in optimisers:
            for group in optimiser.param_groups:
                group["lr"] = group["full"] * factor
        torch.manual_seed(self.leg.seed * 1_000_003 + step)
        loss = self.loss(np.random.default_rng([self.leg.seed, step]), progress)
        for module in self.modules.values():
            module.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_([p for _, p in self._named()], 1.0)
        for name, p in self._named():
            if name in self._matrices:
                self._matrices[name].grad = None if p.grad is None else _flat(p.grad, p)
        for optimiser in optimisers:
            optimiser.step()
        if average and step % 10 == 9:
            weight = min(self.ema**10, (step + 1) / (step + 100))
            with torch.no_grad():
                for name, p in self._named():
                    average[name].lerp_(p, 1 - weight)
        return loss.item()

    def _save(
        self,
        path: Path,
        optimisers: list[torch.optim.Optimizer],
        average: dict[str, Tensor],
        step: int,
    ) -> None:
        tensors = {f"now/{k}": v for k, v in self._named()}
        tensors |= {f"average/{k}": v for k, v in average.items()}
        held = {p: state for optimiser in optimisers for p, state in optimiser.state.items()}
        for name, p in self._named():
            parts = held.get(self._matrices.get(name, p), {})
            tensors |= {f"{part}/{name}": parts[part] for part in MOMENTS if part in parts}
        save_weights(path, tensors, step=str(step), **self._identity())

    def _resume(
        self, path: Path, optimisers: list[torch.optim.Optimizer], average: dict[str, Tensor]
    ) -> int:
        if not path.exists():
            return 0
        with safe_open(path, "pt") as f:
            known = f.metadata()
        step = int(known.pop("step"))
        if known != self._identity():
            raise ConfigError(
                f"{path} is of a run with {known}, this one has {self._identity()}; "
                "choose another out=..., or delete the folder."
            )
        tensors = load_file(path)
        names = {self._matrices.get(name, p): name for name, p in self._named()}
        with torch.no_grad():
            for name, p in self._named():
                p.copy_(tensors[f"now/{name}"])
                if average:
                    average[name].copy_(tensors[f"average/{name}"])
            for optimiser in optimisers:
                for p in (p for group in optimiser.param_groups for p in group["params"]):
                    # in the weights' own memory format, which the fused update walks
                    optimiser.state[p] = {
                        part: torch.empty_like(p).copy_(tensors[f"{part}/{names[p]}"])
                        for part in MOMENTS
                        if f"{part}/{names[p]}" in tensors
                    }
                    if "exp_avg" in optimiser.state[p]:
                        optimiser.state[p]["step"] = torch.tensor(float(step), device=p.device)
        return step

    def _use(self, average: dict[str, Tensor]) -> None:
        """The averaged weights are the ones that are sampled and shipped."""
        with torch.no_grad():
            for name, p in self._named():
                if average:
                    p.copy_(average[name])
        for module in self.modules.values():
            module.eval()

    def _record(
        self, folder: Path, first: int, step: int, began_ns: int, meter: All, cpu_s: float
    ) -> None:
        """One file a leg, written with its state: seconds, joules by domain and their method."""
        span = Span(id=f"{first}-{step}", start_ns=began_ns, end_ns=time.perf_counter_ns())
        meter.mark()
        row = {
            "steps": [first, step],
            "duration_s": round(span.duration_s, 1),
            "cpu_s": round(cpu_s, 1),
            "threads": torch.get_num_threads(),
            "energy": [
                {"domain": r.domain, "energy_j": r.energy_j, "method": r.method, "reason": r.reason}
                for r in meter.readings([span])
            ],
        }
        (folder / f"leg-{first:07d}.json").write_text(json.dumps(row, indent=1))

"""A generator of coupled oscillators with random weights: what its graph takes, not what it draws.

Phases start at random, and turn under what they pull each other by (Kuramoto 1975) and under a few
drivers, which a class couples to them in its own way:

    d theta_i / dt = omega_i + sum_j K_ji sin(theta_j - theta_i) + sum_d D_di sin(phi_d - theta_i)

Cosine and sine of the phases against the first one's, laid out as a grid, are drawn up to a picture
by convolutions. Rebuilt from public descriptions of Un-0 of Unconventional AI (June 2026), none of
whose code or weights is here: docs/oscillator.md.

Letters: B pictures, N oscillators, D drivers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

__all__ = ["Oscillators"]

GRID = 8  # side of the grid that convolutions begin from
Pair = tuple[torch.Tensor, torch.Tensor]  # of oscillators and of drivers


class Oscillators(nn.Module):
    """Called with class numbers and seeds; generates uint8 images [B, side, side, 3].

    `steps` of `method` ("euler", "rk4") reach `time`. At each of 8, 16, ... `side` rows stand
    `convs` convolutions of 2 `oscillators` / 64 channels.
    """

    def __init__(
        self,
        oscillators: int = 1024,
        *,
        drivers: int = 8,
        classes: int = 10,
        side: int = 32,
        convs: int = 5,
        steps: int = 10,
        time: float = 1.0,
        method: str = "euler",
        seed: int = 0,
        threads: int = 1,
        device: str = "cpu",
    ) -> None:
        super().__init__()
        levels = round(math.log2(max(side, GRID) / GRID))
        width = 2 * oscillators // GRID**2
        if method not in ("euler", "rk4") or side != GRID << levels:
            raise ValueError(f"method={method}, side={side}: euler or rk4, and 8, 16, 32, 64, ...")
        if 2 * oscillators % GRID**2 or width % 4:
            raise ValueError(f"oscillators={oscillators}: a multiple of 128")
        torch.set_num_threads(threads)
        torch.manual_seed(seed)
        self.drivers, self.classes, self.side, self.convs = drivers, classes, side, convs
        self.steps, self.time, self.method = steps, time, method
        with torch.device(device):
            self.coupling = nn.Parameter(torch.randn(oscillators, oscillators) / oscillators**0.5)
            self.drive = nn.Parameter(torch.randn(classes, drivers, oscillators) / drivers**0.5)
            self.among = nn.Parameter(torch.randn(drivers, drivers) / drivers**0.5)
            self.omega = nn.Parameter(torch.randn(oscillators))
            self.omega_drivers = nn.Parameter(torch.randn(drivers))
            self.decoder = nn.ModuleList(_block(width) for _ in range((levels + 1) * convs))
            self.pixels = nn.Conv2d(width, 3, 3, padding=1)
        self.requires_grad_(False)

    @torch.inference_mode()
    def forward(self, classes: Sequence[int], seeds: Sequence[int]) -> np.ndarray:
        """One picture a class number and seed, whatever batch they come in, up to rounding."""
        count = len(self.omega) + self.drivers
        starts = [torch.rand(count, generator=torch.Generator().manual_seed(s)) for s in seeds]
        phases = (2 * math.pi * torch.stack(starts)).to(self.omega.device)
        theta_BN, phi_BD = phases[:, : len(self.omega)], phases[:, len(self.omega) :]
        theta_BN, _ = self.settle(theta_BN, phi_BD, self.drive[list(classes)])
        return self.decode(theta_BN).cpu().numpy()

    def settle(self, theta_BN: torch.Tensor, phi_BD: torch.Tensor, drive_BDN: torch.Tensor) -> Pair:
        """Phases after `time`."""
        dt, x = self.time / self.steps, (theta_BN, phi_BD)
        for _ in range(self.steps):
            v = self._velocity(x, drive_BDN)
            if self.method == "rk4":
                b = self._velocity(_moved(x, v, dt / 2), drive_BDN)
                c = self._velocity(_moved(x, b, dt / 2), drive_BDN)
                d = self._velocity(_moved(x, c, dt), drive_BDN)
                weighed = [v[i] + 2 * b[i] + 2 * c[i] + d[i] for i in (0, 1)]
                v = weighed[0] / 6, weighed[1] / 6
            x = _moved(x, v, dt)
        return x

    def decode(self, theta_BN: torch.Tensor) -> torch.Tensor:
        """Pictures uint8 [B, side, side, 3] of phases."""
        turned = theta_BN - theta_BN[:, :1]
        x = torch.cat([turned.cos(), turned.sin()], 1).unflatten(1, (-1, GRID, GRID))
        for at, block in enumerate(self.decoder):
            if at and at % self.convs == 0:
                x = F.interpolate(x, scale_factor=2.0)
            x = x + block(x)
        return (self.pixels(x).sigmoid() * 255).round().byte().permute(0, 2, 3, 1)

    def card(self) -> dict[str, Any]:
        sizes = {name: p.numel() for name, p in self.named_parameters()}
        decoder = sum(n for name, n in sizes.items() if name.startswith(("decoder", "pixels")))
        return {
            "name": f"oscillators, {len(self.omega):,}, random weights",
            "height": self.side,
            "width": self.side,
            "parameters": sum(sizes.values()),
            "parameter_bytes": sum(p.nbytes for p in self.parameters()),
            "precision": "float32",
            "steps": self.steps,
            "evaluations": self.steps * (4 if self.method == "rk4" else 1),
            "notes": {
                "what": "random weights in a graph rebuilt from descriptions; it serves for energy "
                "and time alone, and its pictures show nothing",
                "method": self.method,
                "drivers": self.drivers,
                "decoder_parameters": decoder,
            },
        }

    def _velocity(self, phases: Pair, drive_BDN: torch.Tensor) -> Pair:
        """How fast phases turn; sin(a - b) is taken apart, so that pulls are products."""
        theta_BN, phi_BD = phases
        sin_BN, cos_BN = theta_BN.sin(), theta_BN.cos()
        sin_BD, cos_BD = phi_BD.sin(), phi_BD.cos()
        up_BN, right_BN = (torch.cat([sin_BN, cos_BN]) @ self.coupling).chunk(2)
        up_BN = up_BN + torch.einsum("bd,bdn->bn", sin_BD, drive_BDN)
        right_BN = right_BN + torch.einsum("bd,bdn->bn", cos_BD, drive_BDN)
        turning_BD = cos_BD * (sin_BD @ self.among) - sin_BD * (cos_BD @ self.among)
        return (
            self.omega + cos_BN * up_BN - sin_BN * right_BN,
            self.omega_drivers + turning_BD,
        )


def _block(width: int) -> nn.Module:
    return nn.Sequential(nn.GroupNorm(4, width), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1))


def _moved(x: Pair, v: Pair, dt: float) -> Pair:
    return x[0] + dt * v[0], x[1] + dt * v[1]

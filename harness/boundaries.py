"""Which domains a boundary holds; "a|b" stands for the first alternative that is read.

device    the accelerators if a system uses one, else processor and memory
node      processor, memory, and the accelerators if a system uses one
facility  node x PUE, a factor that is stated, never measured here
"""

from __future__ import annotations

from collections.abc import Iterable

from harness.records import Boundary

__all__ = ["boundaries_of"]

HOST = ("psys|package|cpu", "psys|dram|ram")
ACCELERATORS = ("gpu",)


def boundaries_of(*, devices: Iterable[str], pue: float) -> tuple[Boundary, ...]:
    """Boundaries as patterns of domains; `devices` are the systems' own ("cpu", "cuda:1")."""
    accelerated = any(not str(device).startswith("cpu") for device in devices)
    device = ACCELERATORS if accelerated else HOST
    node = (*HOST, *ACCELERATORS) if accelerated else HOST
    return (
        Boundary(name="device", patterns=device),
        Boundary(name="node", patterns=node),
        Boundary(name="facility", patterns=node, pue=pue),
    )

"""Which domains a boundary holds; "a|b" stands for the first alternative that is read.

device    the accelerators if both systems use one, processor and memory if neither does, else the
          whole node: a system off the accelerator would otherwise go unmetered
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
    accelerated = [not str(device).startswith("cpu") for device in devices]
    node = (*HOST, *ACCELERATORS) if any(accelerated) else HOST
    device = ACCELERATORS if accelerated and all(accelerated) else node
    return (
        Boundary(name="device", patterns=device),
        Boundary(name="node", patterns=node),
        Boundary(name="facility", patterns=node, pue=pue),
    )

"""Which domains a boundary holds; "a|b" stands for the first alternative that is read.

device    the accelerators if both systems use one, processor and memory if neither does, else the
          whole node: a system off the accelerator would otherwise go unmetered
node      processor, memory, and the accelerators if one is here, whatever the systems say; or what
          a wall meter reads of all of them
facility  node x PUE, a factor that is stated, never measured here
"""

from __future__ import annotations

from collections.abc import Iterable

from harness.records import Boundary

__all__ = ["boundaries_of", "on_processors"]

WALL = "wall"  # everything behind one plug
HOST = ("psys|package|cpu", "psys|dram|ram")


def boundaries_of(
    *, devices: Iterable[str | None], pue: float, accelerated: bool = False
) -> tuple[Boundary, ...]:
    """Boundaries as patterns of domains.

    `devices` are what the systems state ("cpu", "cuda:1", None: nothing); `accelerated` whether
    this machine has accelerators. Every board that a system names must be read.
    """
    boards = [None if on_processors(d, accelerated) else _board(str(d)) for d in devices]
    named = tuple(dict.fromkeys(board for board in boards if board))
    boards_of_node = ("gpu", *(n for n in named if n != "gpu")) if accelerated or named else ()
    device = (*HOST, *boards_of_node)
    node = tuple(f"{WALL}|{part}" for part in device)
    if boards and all(boards):
        device = boards_of_node
    elif not named:
        device = HOST
    return (
        Boundary(name="device", patterns=device),
        Boundary(name="node", patterns=node),
        Boundary(name="facility", patterns=node, pue=pue),
    )


def on_processors(device: str | None, accelerated: bool) -> bool:
    """Whether all the work runs on local processors: stated, or nothing else is here."""
    return not accelerated if device is None else str(device).startswith("cpu")


def _board(device: str) -> str:
    """The domain of a device: "cuda:1" is gpu:1; without a number any board."""
    _, colon, number = device.partition(":")
    return f"gpu:{number}" if colon else "gpu"

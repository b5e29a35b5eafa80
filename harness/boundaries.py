"""Which domains a boundary holds; "a|b" stands for the first alternative that is read.

device    the accelerators if both systems use one, processor and memory if neither does, else the
          whole node: a system off the accelerator would otherwise go unmetered
node      processor, memory, and the accelerators if one is here, whatever the systems say; or what
          a wall meter reads of all of them
facility  node x PUE, a factor that is stated, never measured here

A system whose device is `remote` is served elsewhere: of it only the domain `remote` tells, a meter
at the server's plug, which tells of nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from harness.records import Boundary, EnergyReading

__all__ = ["boundaries_of", "on_processors", "readings_of", "served_elsewhere"]

WALL = "wall"  # everything behind one plug
REMOTE = "remote"  # everything behind the plug of a server; and the device of what it serves
ELSEWHERE = (
    "served elsewhere, where this machine's meters do not reach: they see it wait; meter=external "
    "with meter.of=remote reads the server's own log"
)
HERE = "the log is of a server, and this system works here"
HOST = ("psys|package|cpu", "psys|dram|ram")


def boundaries_of(
    *, devices: Iterable[str | None], pue: float, accelerated: bool = False
) -> tuple[Boundary, ...]:
    """Boundaries as patterns of domains.

    `devices` are what the systems state ("cpu", "cuda:1", None: nothing); `accelerated` whether
    this machine has accelerators. Every board that a system names must be read.
    """
    stated = list(devices)
    here = [d for d in stated if not served_elsewhere(d)]
    boards = [None if on_processors(d, accelerated) else _board(str(d)) for d in here]
    named = tuple(dict.fromkeys(board for board in boards if board))
    boards_of_node = ("gpu", *(n for n in named if n != "gpu")) if accelerated or named else ()
    device = (*HOST, *boards_of_node)
    plugs = WALL if len(here) == len(stated) else f"{REMOTE}|{WALL}"
    node = tuple(f"{plugs}|{part}" for part in device)
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


def served_elsewhere(device: str | None) -> bool:
    """Whether a system says that another machine does its work."""
    return str(device).partition(":")[0] == REMOTE


def readings_of(device: str | None, readings: Sequence[EnergyReading]) -> list[EnergyReading]:
    """A window's readings, those without joules that are not of the machine its system works on."""
    away = served_elsewhere(device)
    return [
        one
        if (one.domain == REMOTE) == away
        else replace(one, energy_j=None, reason=ELSEWHERE if away else HERE)
        for one in readings
    ]


def _board(device: str) -> str:
    """The domain of a device: "cuda:1" is gpu:1; without a number any board."""
    _, colon, number = device.partition(":")
    return f"gpu:{number}" if colon else "gpu"

"""Which nodes of a Ray cluster measure an audit, and whether they are the same machine."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from harness import environment
from harness.errors import ConfigError, InputError

__all__ = ["alike", "apart", "chosen"]


def chosen(nodes: Sequence[Mapping[str, Any]], wanted: Sequence[str] | None) -> dict[str, Any]:
    """Nodes that are alive, by a name that can name a folder; equal names are numbered."""
    found: dict[str, Any] = {}
    for node in sorted((n for n in nodes if n["Alive"]), key=lambda n: (_name(n), n["NodeID"])):
        name, copies = _name(node), 1
        while name in found:
            copies += 1
            name = f"{_name(node)}-{copies}"
        found[name] = node
    if wanted is None:
        return found
    if not isinstance(wanted, list | tuple) or not wanted:
        raise ConfigError(f"executor.nodes={wanted!r}; name nodes, as in executor.nodes=[a,b].")
    if missing := [name for name in wanted if name not in found]:
        raise ConfigError(
            f"executor.nodes names {missing[0]}; the cluster has {', '.join(found) or 'no nodes'}."
        )
    return {name: found[name] for name in wanted}


def alike(machines: Mapping[str, Mapping[str, Any]]) -> None:
    """Raises InputError, with both values, where nodes are not the same machine and software."""
    first = next(iter(machines))
    for name, machine in machines.items():
        if unlike := environment.unlike(machines[first], machine, environment.MUST_STAY):
            raise InputError(
                f"Nodes {first} and {name} are not alike ({'; '.join(unlike)}). Name those that "
                "are: executor.nodes=[...]."
            )


def apart(machine: Mapping[str, Any], first: Mapping[str, Any]) -> dict[str, Any]:
    """What a machine says otherwise than the first, and its kernel."""
    told = {key: value for key, value in machine.items() if value != first.get(key)}
    return {"kernel": machine["kernel"], **told}


def _name(node: Mapping[str, Any]) -> str:
    return re.sub(r"[^\w.-]", "-", str(node.get("NodeName") or node["NodeManagerAddress"]))

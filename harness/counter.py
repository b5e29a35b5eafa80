"""Counts what torch's operations do while a system serves a batch; runs in the worker.

One counter for every system: multiply-adds by number format, bytes read and written by operations,
and bytes of weights and inputs, each once. It sees operations before a compiler fuses them, and
nothing of a system's own kernels or of other threads: those a system tells of by its `profile`, and
both are kept. Operations that multiply and have no formula are named, and then it is a part.
"""

from __future__ import annotations

import dataclasses
import re
import sys
from collections import Counter as Tally
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.protocols import System
from harness.records import Request

__all__ = ["work_of"]

GATHERS = ("embedding", "index", "index_select", "gather")  # read no more of a table than they give
MULTIPLIES = re.compile("mm|mv|dot|lstm|gru|rnn|linear|conv|attention|bilinear|transformer")
KNOWN = ("aten", "prim", "prims", "profiler")
UNWRITTEN = ("empty", "empty_like", "empty_strided", "new_empty")


def work_of(system: System, requests: Sequence[Request]) -> dict[str, Any]:
    """What a batch took: as `counted` here and as `told` by the system; either may be None."""
    counted, reason = _counted(system, requests)
    profile = getattr(system, "profile", None)
    told = dataclasses.asdict(profile(requests)) if profile else None
    return {"batch": len(requests), "counted": counted, "told": told, "reason": reason}


def _counted(system: System, requests: Sequence[Request]) -> tuple[dict[str, Any] | None, str]:
    torch = sys.modules.get("torch")
    if torch is None:
        return None, "the system does not run torch"
    counter = _counter()
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # whose one operation hides its products
    try:
        with torch.compiler.set_stance("force_eager"), counter:
            system.generate(requests)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    if not counter.operations:
        return None, "no operation of torch was seen in the worker's own thread"
    return {
        "operations": counter.operations,
        "multiply_adds": dict(counter.multiply_adds),
        "unique_bytes": sum(counter.found.values()),
        "moved_bytes": counter.moved_bytes,
        "without": sorted(counter.without),
    }, ""


def _counter() -> Any:
    """A dispatch mode; made here because the parent, which imports this module, has no torch."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils.flop_counter import flop_registry

    class Counter(TorchDispatchMode):
        """Tallies every operation that reaches a kernel; what is made of others is taken apart."""

        def __init__(self) -> None:
            super().__init__()
            self.operations = 0
            self.multiply_adds: Tally[str] = Tally()
            self.moved_bytes = 0
            self.without: set[str] = set()  # operations that multiply, and have no formula
            self.found: dict[int, int] = {}  # by address: bytes read of what no operation made
            self._made: set[int] = set()

        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            kwargs = kwargs or {}
            if func._overloadpacket not in flop_registry:
                with self:
                    parts = func.decompose(*args, **kwargs)
                if parts is not NotImplemented:
                    return parts
            out = func(*args, **kwargs)
            read = list(_tensors(torch, [args, kwargs]))
            self._note(func, read, list(_tensors(torch, [out])))
            if formula := flop_registry.get(func._overloadpacket):
                told = str(read[0].dtype).removeprefix("torch.")
                self.multiply_adds[told] += formula(*args, **kwargs, out_val=out) // 2
            elif MULTIPLIES.search(func._overloadpacket.__name__) or func.namespace not in KNOWN:
                self.without.add(str(func._overloadpacket))
            return out

        def _note(self, func: Any, read: list[Any], made: list[Any]) -> None:
            places = {_place(tensor) for tensor in read}
            if not func._schema.is_mutable:
                made = [tensor for tensor in made if _place(tensor) not in places]
                if not made:
                    return  # a view of what was there
            name = func._overloadpacket.__name__
            made_bytes = sum(_bytes(tensor) for tensor in made)
            self.operations += 1
            for tensor in read:
                taken = _bytes(tensor)
                if name in GATHERS:
                    taken = min(taken, made_bytes)
                self.moved_bytes += taken
                if (place := _place(tensor)) not in self._made:
                    whole = tensor.untyped_storage().nbytes()
                    self.found[place] = min(whole, self.found.get(place, 0) + taken)
            if name not in UNWRITTEN:
                self.moved_bytes += made_bytes
            self._made |= {place for t in made if (place := _place(t)) not in self.found}

    return Counter()


def _tensors(torch: Any, value: Any) -> Iterator[Any]:
    """Every tensor in nested arguments, in order."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from _tensors(torch, list(value.values()))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _tensors(torch, inner)


def _place(tensor: Any) -> int:
    return int(tensor.untyped_storage().data_ptr())


def _bytes(tensor: Any) -> int:
    """What a pass over a tensor touches; an expanded one repeats what it has."""
    return min(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())

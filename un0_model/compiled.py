"""Compiles the kernels, and keeps the machine code in a folder named after all sources here.

Numba's own cache looks at a function's file alone and would go on with old code of the functions it
calls in other files. What rounds is inlined where it is called, which makes the token kernel a
seventh faster; what does not may stay `apart`, which compiles sooner.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

__all__ = ["apart", "compiled"]


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles on the first call, without Python's lock; sums keep their order (ADR 0029)."""
    return _jit(function, forceinline=True)


def apart(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same, not inlined: for functions that round nothing."""
    return _jit(function)


def _jit(function: Callable[..., Any], **how: bool) -> Callable[..., Any]:
    before, numba.config.CACHE_DIR = numba.config.CACHE_DIR, _folder(numba.config.CACHE_DIR)
    try:
        return numba.njit(cache=True, error_model="numpy", nogil=True, **how)(function)
    finally:
        numba.config.CACHE_DIR = before


@functools.cache
def _digest(sources: Path) -> str:
    found = hashlib.sha256()
    for path in sorted(sources.glob("*.py")):
        found.update(path.name.encode() + path.read_bytes())
    return found.hexdigest()[:16]


def _folder(given: str, here: Path = Path(__file__).parent) -> str:
    """Under NUMBA_CACHE_DIR where it is set, else beside the sources or in the user's cache."""
    base = here / "__pycache__"
    if given:
        base = Path(given)
    elif not os.access(here, os.W_OK):
        base = Path.home() / ".cache" / "un0bench"
    return str(base / f"kernels-{_digest(here)}")

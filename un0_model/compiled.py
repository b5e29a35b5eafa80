"""Compiles the kernels, and keeps the machine code in a folder named after all of their sources.

Numba's own cache looks at a function's file alone and would go on with old code of the functions it
calls in other files.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

__all__ = ["compiled"]

SOURCES = ("compiled", "decode", "dictionary", "integer", "kernel", "vnni")


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles on the first call, without Python's lock; sums may run in any order."""
    before, numba.config.CACHE_DIR = numba.config.CACHE_DIR, _folder(numba.config.CACHE_DIR)
    try:
        return numba.njit(fastmath=True, cache=True, error_model="numpy", nogil=True)(function)
    finally:
        numba.config.CACHE_DIR = before


def _folder(given: str) -> str:
    """Under NUMBA_CACHE_DIR where it is set, else beside the sources or in the user's cache."""
    here = Path(__file__).parent
    digest = hashlib.sha256()
    for name in SOURCES:
        digest.update((here / f"{name}.py").read_bytes())
    base = here / "__pycache__"
    if given:
        base = Path(given)
    elif not os.access(here, os.W_OK):
        base = Path.home() / ".cache" / "un0bench"
    return str(base / f"kernels-{digest.hexdigest()[:16]}")

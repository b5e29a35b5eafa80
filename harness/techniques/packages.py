"""Packages that techniques need and un0bench does not."""

from __future__ import annotations

import importlib
from typing import Any

from harness.errors import ConfigError

__all__ = ["imported"]


def imported(name: str, extra: str = "techniques") -> Any:
    """The module. Raises ConfigError naming the extra that brings it."""
    try:
        return importlib.import_module(name)
    except ImportError:
        package = name.partition(".")[0]
        raise ConfigError(
            f"{package} is not installed, or lacks {name}: uv pip install 'un0bench[{extra}]'."
        ) from None

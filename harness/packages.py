"""Packages that techniques need and un0bench does not."""

from __future__ import annotations

import importlib
from typing import Any

from harness.errors import ConfigError

__all__ = ["imported"]


def imported(name: str, extra: str = "techniques") -> Any:
    """The module. Raises ConfigError naming the extra that brings it, if one does."""
    try:
        return importlib.import_module(name)
    except ImportError:
        package = name.partition(".")[0]
        wanted = f"un0bench[{extra}]" if extra else package
        raise ConfigError(
            f"{package} is not installed, or lacks {name}: uv pip install '{wanted}'."
        ) from None

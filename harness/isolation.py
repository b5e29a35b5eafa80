"""A process without network, where the kernel allows one: a namespace of its own."""

from __future__ import annotations

import functools
import subprocess

__all__ = ["without_network"]

WAYS = (("-n",), ("-r", "-n"))  # as root; by a user namespace, where those are allowed


@functools.cache
def without_network() -> tuple[str, ...]:
    """What stands before a command that shall run without network; () where nothing helps here."""
    for flags in WAYS:
        prefix = ("unshare", *flags, "--")
        try:
            subprocess.run([*prefix, "true"], check=True, capture_output=True, timeout=10)
        except (OSError, subprocess.SubprocessError):
            continue
        return prefix
    return ()

"""Everything that can go wrong, as a tree; each class carries the exit code of the command.

Un0BenchError
├── InputError          2   configuration, prompt file, weights, claim: what, where, the remedy
│   ├── ConfigError         unknown key, group or choice
│   ├── AssetError          a named file is missing, or is not the file that was named
│   └── MeterUnavailable    a meter that was asked for by name cannot read here
├── CheckFailed         1   a gate or a verification found a difference
└── AuditStopped        3   the audit could not finish; what is kept and how to resume
    ├── SystemFailed        a system raised, hung, died or returned the wrong thing
    └── Interrupted         Ctrl-C; a sweep ends with it
"""

import re
import sys
from collections.abc import Callable

__all__ = [
    "AssetError",
    "AuditStopped",
    "CheckFailed",
    "ConfigError",
    "InputError",
    "Interrupted",
    "MeterUnavailable",
    "SystemFailed",
    "Un0BenchError",
    "in_one_line",
    "one_line",
    "plain",
]

ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07]*\x07|[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Un0BenchError(Exception):
    """Base of every error a user sees as one line; `exit_code` is what the command returns."""

    exit_code = 3


class InputError(Un0BenchError):
    """The input is wrong: says what, where, and the remedy."""

    exit_code = 2


class ConfigError(InputError):
    """The configuration names a key, group or choice that does not exist."""


class AssetError(InputError):
    """A named file is missing, or differs from the hash it was named with."""


class MeterUnavailable(InputError):
    """A meter that was asked for by name cannot read on this machine."""


class CheckFailed(Un0BenchError):
    """A gate or a verification found a difference."""

    exit_code = 1


class AuditStopped(Un0BenchError):
    """The audit could not finish: says what is kept and how to resume."""


class SystemFailed(AuditStopped):
    """A system raised, hung, died, or returned images of the wrong type or shape."""


class Interrupted(AuditStopped):
    """The user broke the audit off: says what is kept and how to resume."""


def plain(text: str) -> str:
    """Strips terminal escape sequences and control characters from what others wrote."""
    return ESCAPES.sub("", text)


def one_line(text: str) -> str:
    """As `plain`, and on one line, whose lines others can read commands from."""
    return " ".join(plain(text).split())


def in_one_line(run: Callable[[], int]) -> int:
    """Runs a program; the exit code, an error that a user is to see told in one line."""
    try:
        return run()
    except Un0BenchError as error:
        print(f"un0bench: {one_line(str(error))}", file=sys.stderr)
        return error.exit_code

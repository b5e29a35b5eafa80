"""A process shut in: no network, and no writing but under folders of its own, where Linux allows.

The network is taken by user and network namespaces; a network namespace alone would not do, because
root outside a user namespace enters another one at will. Writing is taken by Landlock (kernel 5.13,
`landlock(7)`), which children inherit and nobody sheds; it also keeps a process from tracing others
and, from kernel 6.12, from sending signals out. It is done by this module run as a program, before
anything else is imported: a thread that is there already would stay free.
"""

from __future__ import annotations

import ctypes
import functools
import os
import subprocess
import sys
from collections.abc import Sequence
from glob import glob
from pathlib import Path

__all__ = ["main", "without_network", "writing_only_under"]

PREFIX = ("unshare", "--map-root-user", "--net", "--")

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # system calls, the same everywhere
NO_NEW_PRIVILEGES = 38  # of prctl
WRITE_FILE, TRUNCATE = 1 << 1, 1 << 14
MAKING = sum(1 << bit for bit in range(4, 13))  # and removing: files, folders, links, sockets
MOVING = 1 << 13  # between folders
SCOPES = 0b11  # abstract sockets and signals
DEVICES = ("null", "zero", "full", "tty", "nvidia*", "dri/*", "kfd")


@functools.cache
def without_network() -> tuple[str, ...]:
    """What stands before a command that shall run without network; () where nothing helps here."""
    try:
        subprocess.run([*PREFIX, "true"], check=True, capture_output=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return ()
    return PREFIX


def writing_only_under(folders: Sequence[Path]) -> tuple[str, ...]:
    """What stands before a command that shall write nowhere else; () where the kernel cannot."""
    if _version() < 1:
        return ()
    return (sys.executable, "-m", "harness.isolation", *map(str, folders), "--")


def main(arguments: Sequence[str]) -> None:
    """Shuts this process in and becomes the command: folders, `--`, command."""
    at = arguments.index("--")
    _shut_in([*arguments[:at], *(path for name in DEVICES for path in glob(f"/dev/{name}"))])
    command = arguments[at + 1 :]
    os.execvp(command[0], command)


def _shut_in(paths: Sequence[str]) -> None:
    """Raises OSError where the kernel refuses; what it does not know yet is left out."""
    version = _version()
    files = WRITE_FILE | (TRUNCATE if version >= 3 else 0)
    whole = files | MAKING | (MOVING if version >= 2 else 0)
    scopes = SCOPES if version >= 6 else 0
    known = (whole, 0, scopes)[: 1 if version < 4 else 2 if version < 6 else 3]
    rules = (ctypes.c_uint64 * len(known))(*known)
    ruleset = _call(CREATE_RULESET, rules, ctypes.sizeof(rules), 0)
    for path in paths:
        folder = os.path.isdir(path)
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
        allowed = (whole if folder else files).to_bytes(8, sys.byteorder)
        _call(ADD_RULE, ruleset, 1, allowed + opened.to_bytes(4, sys.byteorder), 0)
        os.close(opened)
    if ctypes.CDLL(None).prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0):
        raise OSError("no_new_privs was refused")
    _call(RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)


@functools.cache
def _version() -> int:
    """Landlock's version here; 0 without it."""
    try:
        return _call(CREATE_RULESET, None, 0, 1) if sys.platform == "linux" else 0
    except OSError:
        return 0


def _call(number: int, *arguments: object) -> int:
    found: int = ctypes.CDLL(None, use_errno=True).syscall(number, *arguments)
    if found < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"landlock: {os.strerror(code)}")
    return found


if __name__ == "__main__":
    main(sys.argv[1:])

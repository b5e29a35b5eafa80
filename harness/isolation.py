"""A process shut in, where Linux allows: no network, no writing but in its own folders, one hidden.

The network is taken by user and network namespaces; a network namespace alone would not do, because
root outside a user namespace enters another one at will. In a mount namespace of its own an empty
folder lies over the hidden one. Writing is taken by Landlock (kernel 5.13, `landlock(7)`), which
children inherit and nobody sheds; it also forbids to mount, to trace others and, from kernel 6.12,
to send signals out. It is done by this module run as a program, before anything else is imported: a
thread that is there already would stay free.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import subprocess
import sys
from collections.abc import Sequence
from glob import glob
from pathlib import Path

__all__ = ["HIDES", "main", "without_network", "writing_only_under"]

PREFIX = ("unshare", "--map-root-user", "--net")
HIDES = "--mount"  # in what stands before a command: its mounts are its own
BIND = 4096  # of mount

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
    for prefix, tried in (
        ((*PREFIX, HIDES, "--"), ("mount", "-t", "tmpfs", "none", "/tmp")),
        ((*PREFIX, "--"), ("true",)),
    ):
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            subprocess.run([*prefix, *tried], check=True, capture_output=True, timeout=10)
            return prefix
    return ()


def writing_only_under(folders: Sequence[Path], *, hidden: Path | None = None) -> tuple[str, ...]:
    """What stands before a command that shall write nowhere else; () where the kernel cannot.

    What else lies in the folder `hidden` is not there for it: only after `without_network` that
    `HIDES`, or the whole machine would lose sight of it.
    """
    if _version() < 1:
        return ()
    over = ("--hide", str(hidden)) if hidden else ()
    return (sys.executable, "-m", "harness.isolation", *over, *map(str, folders), "--")


def main(arguments: Sequence[str]) -> None:
    """Shuts this process in and becomes the command: [--hide folder] folders -- command."""
    at = arguments.index("--")
    folders, command = list(arguments[:at]), list(arguments[at + 1 :])
    if folders[0] == "--hide":
        hidden, folders = folders[1], folders[2:]
        _hide(hidden, [path for path in folders if Path(path).is_relative_to(hidden)])
    _write_only([*folders, *(path for name in DEVICES for path in glob(f"/dev/{name}"))])
    os.execvp(command[0], command)


def _hide(folder: str, but: Sequence[str]) -> None:
    """Lays an empty folder over this one, in which only these of its folders are."""
    opened = [os.open(path, os.O_PATH) for path in but]
    _mount("none", folder, "tmpfs", 0)
    for path, found in zip(but, opened, strict=True):
        os.makedirs(path)
        _mount(f"/proc/self/fd/{found}", path, None, BIND)
        os.close(found)


def _mount(what: str, where: str, kind: str | None, flags: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(what.encode(), where.encode(), kind and kind.encode(), flags, None):
        raise OSError(ctypes.get_errno(), f"mount: {os.strerror(ctypes.get_errno())}", where)


def _write_only(paths: Sequence[str]) -> None:
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

"""A process shut in, as far as Linux allows: what it can neither reach, see, write nor disturb.

Namespaces of its own (user, network, mount, process) leave it no network, no process but its own
and, where a folder is hidden, an empty one in its place. Landlock (kernel 5.13, `landlock(7)`),
which children inherit and nobody sheds, leaves it its own folders to write in, and takes the right
to mount. Both are set by this module run as a program, before anything else is imported: a thread
that is there already would stay free.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from glob import glob
from pathlib import Path

__all__ = ["Walls", "main", "walls"]

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # system calls, the same everywhere
WRITE_FILE, TRUNCATE = 1 << 1, 1 << 14
MAKING = sum(1 << bit for bit in range(4, 13))  # and removing: files, folders, links, sockets
MOVING = 1 << 13  # between folders
SCOPES = 0b11  # abstract sockets and signals
SHARED = "/dev/shm"
DEVICES = ("null", "zero", "full", "tty", "nvidia*", "dri/*", "kfd")

NEW_MOUNTS, NEW_USER, NEW_PROCESSES, NEW_NETWORK = 1 << 17, 1 << 28, 1 << 29, 1 << 30
BIND = 4096  # of mount
DIE_WITH_PARENT, NO_NEW_PRIVILEGES = 1, 38  # of prctl


@dataclass(frozen=True, slots=True)
class Walls:
    """What stands before a command, and whether it then is alone and writes in its folders only."""

    prefix: tuple[str, ...] = ()
    alone: bool = False
    confined: bool = False


def walls(folders: Sequence[Path], hidden: Path | None = None) -> Walls:
    """What shuts a command in here: it writes under `folders`, and sees of `hidden` only those."""
    alone, confined = _alone(), _version() >= 1
    if not (alone or confined):
        return Walls()
    flags = [*(["--alone"] if alone else []), *(["--confined"] if confined else [])]
    over = ["--hide", str(hidden)] if hidden and alone and confined else []
    prefix = (sys.executable, "-m", "harness.isolation", *flags, *over, *map(str, folders), "--")
    return Walls(prefix, alone, confined)


@functools.cache
def _alone() -> bool:
    """Whether a process can have namespaces of its own here, and mount in them."""
    command = [sys.executable, "-m", "harness.isolation", "--alone", "--hide", "/tmp", "--", "true"]
    path = os.pathsep.join(p for p in sys.path if p)
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=20, env={**os.environ, "PYTHONPATH": path}
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0


def main(arguments: Sequence[str]) -> None:
    """Shuts this process in and becomes the command.

    Arguments: [--alone] [--confined] [--hide folder] folders -- command.
    """
    at = arguments.index("--")
    given, command = list(arguments[:at]), list(arguments[at + 1 :])
    flags = {flag for flag in ("--alone", "--confined") if flag in given}
    given = [word for word in given if word not in flags]
    hidden = given[1] if given[:1] == ["--hide"] else None
    folders = given[2:] if hidden else given
    own = list(folders)
    if "--alone" in flags:
        own += _be_alone()
    if hidden:
        _hide(hidden, [path for path in folders if Path(path).is_relative_to(hidden)])
    if "--confined" in flags:
        _confine([*own, *(path for name in DEVICES for path in glob(f"/dev/{name}"))])
    os.execvp(command[0], command)


# Namespaces ------------------------------------------------------------------------------------


def _be_alone() -> list[str]:
    """Goes on as the first process of new namespaces; this one waits, and ends as that one does.

    Returns folders that are its own now: shared memory, for locks and arrays between its children.
    """
    users = (os.geteuid(), os.getegid())
    _libc("unshare", NEW_USER | NEW_MOUNTS | NEW_PROCESSES | NEW_NETWORK)
    Path("/proc/self/setgroups").write_text("deny")
    for kind, own in zip(("uid", "gid"), users, strict=True):
        Path(f"/proc/self/{kind}_map").write_text(f"0 {own} 1")
    _libc("prctl", DIE_WITH_PARENT, signal.SIGKILL)
    child = os.fork()
    if child:
        os.closerange(3, 1 << 16)  # or the worker's pipes would outlive it
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            os.kill(os.getpid(), os.WTERMSIG(status))
        os._exit(os.waitstatus_to_exitcode(status))
    _libc("prctl", DIE_WITH_PARENT, signal.SIGKILL)
    with contextlib.suppress(OSError):  # a container that hides parts of /proc forbids another
        _mount("proc", "/proc", "proc", 0)
    if not os.path.isdir(SHARED):
        return []
    _mount("none", SHARED, "tmpfs", 0)
    return [SHARED]


def _hide(folder: str, but: Sequence[str]) -> None:
    """Lays an empty folder over this one, in which only these of its folders are."""
    opened = [os.open(path, os.O_PATH) for path in but]
    _mount("none", folder, "tmpfs", 0)
    for path, found in zip(but, opened, strict=True):
        os.makedirs(path)
        _mount(f"/proc/self/fd/{found}", path, None, BIND)
        os.close(found)


def _mount(what: str, where: str, kind: str | None, flags: int) -> None:
    _libc("mount", what.encode(), where.encode(), kind and kind.encode(), flags, None)


# Landlock --------------------------------------------------------------------------------------


def _confine(paths: Sequence[str]) -> None:
    """Raises OSError where the kernel refuses; what it does not know yet is left out."""
    version = _version()
    files = WRITE_FILE | (TRUNCATE if version >= 3 else 0)
    whole = files | MAKING | (MOVING if version >= 2 else 0)
    scopes = SCOPES if version >= 6 else 0
    known = (whole, 0, scopes)[: 1 if version < 4 else 2 if version < 6 else 3]
    rules = (ctypes.c_uint64 * len(known))(*known)
    ruleset = _libc("syscall", CREATE_RULESET, rules, ctypes.sizeof(rules), 0)
    for path in paths:
        folder = os.path.isdir(path)
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
        allowed = (whole if folder else files).to_bytes(8, sys.byteorder)
        rule = allowed + opened.to_bytes(4, sys.byteorder)
        _libc("syscall", ADD_RULE, ruleset, 1, rule, 0)
        os.close(opened)
    _libc("prctl", NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    _libc("syscall", RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)


@functools.cache
def _version() -> int:
    """Landlock's version here; 0 without it."""
    try:
        return _libc("syscall", CREATE_RULESET, None, 0, 1) if sys.platform == "linux" else 0
    except OSError:
        return 0


def _libc(function: str, *arguments: object) -> int:
    """Calls the C library; OSError where it says -1."""
    found: int = getattr(ctypes.CDLL(None, use_errno=True), function)(*arguments)
    if found < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{function}: {os.strerror(code)}")
    return found


if __name__ == "__main__":
    main(sys.argv[1:])

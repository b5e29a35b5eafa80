"""A process shut in, as far as Linux allows: what it can neither reach, see, write nor disturb.

Namespaces of its own (user, network, mount, process, IPC) leave it no network, no process but its
own, a file system that is read-only but for its own folders and, where one is hidden, an empty one
in its place; a second user namespace inside keeps its root from lifting that. Landlock (kernel
5.13, `landlock(7)`), which children inherit and nobody sheds, leaves it its own folders to write
in, and takes the right to mount. All is set by this module run as a program, before anything else
is imported: a thread that is there already would stay free.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import functools
import os
import signal
import socket
import struct
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
SIGNALLED = 128  # and more: the exit code of what a signal ended
DEVICES = (
    *("null", "zero", "full", "tty", "nvidia*", "dri/*", "kfd", "accel*", "accel/*"),
    *("dxg", "nvmap", "nvhost*"),  # of Windows' Linux, and of Jetson boards
)

NEW_MOUNTS, NEW_IPC, NEW_USER = 1 << 17, 1 << 27, 1 << 28
NEW_PROCESSES, NEW_NETWORK = 1 << 29, 1 << 30
BIND = 4096  # of mount
MOUNT_SETATTR, HERE, RECURSIVE, READ_ONLY = 442, -100, 0x8000, 1
KEYCTL = {"x86_64": 250, "aarch64": 219}  # another number on each
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
        _be_alone()
        own += _own_memory(folders)
        if hidden:
            _hide(hidden, [path for path in folders if Path(path).is_relative_to(hidden)])
        _read_only([*own, "/proc"])
        _step_in()
    if "--confined" in flags:
        _confine([*own, *(path for name in DEVICES for path in glob(f"/dev/{name}"))])
    os.execvp(command[0], command)


# Namespaces ------------------------------------------------------------------------------------


def _be_alone() -> None:
    """Goes on as the first process of new namespaces; this one waits, and ends as that one does."""
    users = os.geteuid(), os.getegid()
    _libc("unshare", NEW_USER | NEW_MOUNTS | NEW_PROCESSES | NEW_NETWORK | NEW_IPC)
    _be_root(*users)
    _libc("prctl", DIE_WITH_PARENT, signal.SIGKILL)  # after the change of rights, which clears it
    if child := os.fork():
        os.closerange(3, 1 << 16)  # or the worker's pipes would outlive it
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code > SIGNALLED:
            os.kill(os.getpid(), code - SIGNALLED)
        os._exit(code if code >= 0 else 1)
    _libc("prctl", DIE_WITH_PARENT, signal.SIGKILL)
    with contextlib.suppress(OSError):  # a container that hides parts of /proc forbids another
        _mount("proc", "/proc", "proc", 0)
    with contextlib.suppress(OSError, KeyError):  # nor shares it a keyring with the next
        _libc("syscall", KEYCTL[os.uname().machine], 1, None)
    with contextlib.suppress(OSError), socket.socket() as any_socket:  # local servers work
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sH14x", b"lo", 1))


def _be_root(uid: int, gid: int) -> None:
    """In a new user namespace: this user is root there, and nobody else is anybody."""
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
    Path("/proc/self/gid_map").write_text(f"0 {gid} 1")


def _own_memory(folders: Sequence[str]) -> list[str]:
    """Shared memory of its own, for locks and arrays between its children."""
    if not os.path.isdir(SHARED) or any(Path(path).is_relative_to(SHARED) for path in folders):
        return []
    _mount("none", SHARED, "tmpfs", 0)
    return [SHARED]


def _read_only(but: Sequence[str]) -> None:
    """Everything is read-only but these; left to Landlock where the kernel is older than 5.12."""
    with contextlib.suppress(OSError):
        for path in but:
            _mount(path, path, None, BIND)
        _set_read_only("/", RECURSIVE, True)
        for path in but:
            _set_read_only(path, 0, False)


def _set_read_only(path: str, flags: int, on: bool) -> None:
    attributes = (ctypes.c_uint64 * 4)(READ_ONLY if on else 0, 0 if on else READ_ONLY, 0, 0)
    _libc("syscall", MOUNT_SETATTR, HERE, path.encode(), flags, attributes, 32)


def _step_in() -> None:
    """Goes on as a child of the first process, with no right over its namespaces.

    The first one ends when this one does, and everything in its namespaces with it.
    """
    if child := os.fork():
        os.closerange(3, 1 << 16)
        while True:
            pid, status = os.wait()  # of orphans too
            if pid == child:
                code = os.waitstatus_to_exitcode(status)
                os._exit(code if code >= 0 else SIGNALLED - code)
    _libc("unshare", NEW_USER | NEW_MOUNTS)
    _be_root(0, 0)
    try:
        os.chdir(os.getcwd())  # as it is seen from here
    except OSError:
        os.chdir("/")


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

"""Files that others may have touched: read without waiting, within limits, and what to say of them.

A path may lead to a pipe that nobody writes, to a device without an end, or to a file that someone
else can change. Nothing here waits for longer than it is told, or reads more than it is told.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import sys
import time
from pathlib import Path

__all__ = ["is_trusted", "read", "refuse_odd", "risks"]

_AT_ONCE = 64 * 1024
_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a directory",
    stat.S_IFSOCK: "a socket",
}


def read(
    path: str | os.PathLike[str], largest: int, *, seconds: float | None = None
) -> tuple[bytes, os.stat_result]:
    """Return what a file holds, and its status.

    Args:
        path: the file.
        largest: bytes it may have.
        seconds: how long a pipe may take until it is closed at the other end; None refuses pipes.

    Raises:
        OSError: there is no such file, it is not one, or it is too large; its `strerror` says so.
    """
    may_be_pipe = seconds is not None and sys.platform != "win32"
    # Before it is opened, for to open a device may do something.
    refuse_odd(path, Path(path).stat(), may_be_pipe=may_be_pipe)
    # Without O_NONBLOCK, to open a pipe waits until someone writes to it.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
    descriptor = os.open(path, flags | getattr(os, "O_BINARY", 0))
    try:
        status = os.fstat(descriptor)
        refuse_odd(path, status, may_be_pipe=may_be_pipe)
        until = time.monotonic() + seconds if seconds and stat.S_ISFIFO(status.st_mode) else None
        content = _content(descriptor, largest, until)
    finally:
        os.close(descriptor)
    if content is None:
        raise TimeoutError(errno.ETIMEDOUT, "nobody has finished writing to this pipe", str(path))
    if len(content) > largest:
        content = b""  # it may hold a key
        raise OSError(errno.EFBIG, f"is larger than {largest // 1024} KB", str(path))
    return content, status


def _content(descriptor: int, largest: int, until: float | None) -> bytes | None:
    """Return up to a byte more than is allowed; None where the other end took too long."""
    chunks: list[bytes] = []
    left = largest + 1
    while left > 0:
        if until is not None:
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            if not poll.poll(max(0.0, until - time.monotonic()) * 1_000):
                return None
        try:
            chunk = os.read(descriptor, min(left, _AT_ONCE))
        except BlockingIOError:
            continue
        if not chunk:
            break
        chunks.append(chunk)
        left -= len(chunk)
    return b"".join(chunks)


def refuse_odd(
    path: str | os.PathLike[str], status: os.stat_result, *, may_be_pipe: bool = False
) -> None:
    """Refuse what is not a file.

    Raises:
        OSError: it is a pipe, a device, a directory or a socket.
    """
    kind = stat.S_IFMT(status.st_mode)
    if kind == stat.S_IFREG or (may_be_pipe and kind == stat.S_IFIFO):
        return
    if kind == stat.S_IFDIR:
        raise IsADirectoryError(errno.EISDIR, "is a directory, not a file", str(path))
    told = _KINDS.get(kind, "something else")
    raise OSError(errno.EINVAL, f"is {told}, not a file", str(path))


def risks(path: str | os.PathLike[str], *, beside: bool = False) -> list[str]:
    """Return what others than this user and root can do to a file, beyond its own mode.

    `beside` is for files that have others beside them: where everybody may make files, as in /tmp,
    these could be anybody's.
    """
    if sys.platform == "win32":
        return []
    file, found = Path(path).absolute(), []
    try:
        if not is_trusted(file.lstat()):
            found.append("it belongs to another user")
        elif not is_trusted(file.stat()):
            found.append("it is a link to a file of another user")
        for directory in dict.fromkeys((file.parent, file.resolve().parent)):
            mode = directory.stat().st_mode
            if mode & stat.S_IWOTH and (beside or not mode & stat.S_ISVTX):
                found.append(f"others can replace it, for they can write to {directory}")
    except OSError:  # what cannot be looked at is told of where it is opened
        return found
    return found


def is_trusted(status: os.stat_result) -> bool:
    """Tell whether a file belongs to this user or to root."""
    return sys.platform == "win32" or status.st_uid in (os.geteuid(), 0)

"""Files and programs of the user's: read and run within limits, and what to warn of.

A path may lead to a pipe that nobody writes, to a device without an end, or to a file that someone
else can change; a program may print or wait for ever, and start others. Nothing here waits for
longer than it is told, or reads more than it is told.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import selectors
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from enum import Enum
from pathlib import Path

__all__ = [
    "Stop",
    "exposed",
    "exposed_programs",
    "is_trusted",
    "read",
    "refuse_odd",
    "risks",
    "run",
]

_AT_ONCE = 64 * 1024
_SHORTEST_LOOK, _LONGEST_LOOK = 0.001, 0.05
"""Seconds between two looks at a program that says nothing."""
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
    warnings = _KINDS.get(kind, "something else")
    raise OSError(errno.EINVAL, f"is {warnings}, not a file", str(path))


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


def exposed(path: str, status: os.stat_result, *, holds_key: bool) -> list[str]:
    """Return warnings about a file of accounts or keys that others can read, change or replace."""
    why = "it holds a key" if holds_key else "it says what is run to get the keys"
    warnings = [f"{path}: {risk}, and {why}" for risk in risks(path)]
    if _has_mode(status) and status.st_mode & (0o077 if holds_key else 0o022):
        acts = [act for bits, act in ((0o055, "read"), (0o022, "change")) if status.st_mode & bits]
        cure = f"run: chmod 600 {shlex.quote(path)}"
        warnings.append(f"{path}: others can {' and '.join(acts)} it, and {why}; {cure}")
    return warnings


def exposed_programs(words: Sequence[str], directory: Path) -> list[str]:
    """Return warnings about a program, and scripts among its arguments, that others can change."""
    program = shutil.which(words[0])
    warnings: list[str] = []
    for path in (*([program] if program else []), *(str(directory / word) for word in words)):
        try:
            status = Path(path).stat()
        except (OSError, ValueError):  # it is told of where it is started
            continue
        if _has_mode(status):
            dangers = risks(path)
            if status.st_mode & 0o022:
                dangers.append(f"others can change it; run: chmod go-w {shlex.quote(path)}")
            warnings += [f"{path}: it is run to get a key, and {danger}" for danger in dangers]
    return list(dict.fromkeys(warnings))


def _has_mode(status: os.stat_result) -> bool:
    """Tell whether a mode says who may use the file, as that of a pipe does not."""
    return sys.platform != "win32" and stat.S_ISREG(status.st_mode)


class Stop(Enum):
    """Why a program was ended before its time."""

    LATE = 1
    TOO_MUCH = 2


def run(words: Sequence[str], directory: Path, seconds: float, largest: int) -> bytes | int | Stop:
    """Return what a program prints, its exit code if it fails, or why it was ended.

    The program is the first of a group of processes, which is ended with it, whatever happens;
    only what leaves the group, as daemons do, stays. On Windows the program alone is ended.

    Raises:
        OSError: it cannot be started.
        ValueError: it cannot be named so.
    """
    is_windows = sys.platform == "win32"
    process = subprocess.Popen(  # noqa: S603 - the user's own file says what to run; never a shell
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # may hold the key as well
        cwd=directory,
        process_group=None if is_windows else 0,
    )
    try:
        with _in_the_foreground(process.pid):
            how = _read_from_windows if is_windows else _read
            printed = how(process, seconds, largest)
    finally:
        _end(process)
    if process.returncode == -signal.SIGINT:
        raise KeyboardInterrupt  # the terminal told the program in front, not this one
    return printed if isinstance(printed, Stop) else process.returncode or printed


def _read(process: subprocess.Popen[bytes], seconds: float, largest: int) -> bytes | Stop:
    """Return what the program prints until it ends, whoever else may have the pipe still."""
    printed, is_open, wait = bytearray(), True, _SHORTEST_LOOK
    until = time.monotonic() + seconds
    pipe = process.stdout.fileno() if process.stdout else -1
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while time.monotonic() < until:
            has_ended = _has_ended(process)  # before the last look at what it has printed
            if is_open and selector.select(0 if has_ended else wait):
                chunk = os.read(pipe, largest + 1 - len(printed))
                printed += chunk
                is_open = bool(chunk)
                if len(printed) > largest:
                    return Stop.TOO_MUCH
            elif has_ended:
                return bytes(printed)
            elif not is_open:
                time.sleep(wait)
            wait = min(2 * wait, _LONGEST_LOOK)
    return Stop.LATE


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Tell whether the program has ended. Its number stays taken, for its group has that, too."""
    options = os.WEXITED | os.WNOHANG | os.WNOWAIT
    return os.waitid(os.P_PID, process.pid, options) is not None


def _read_from_windows(
    process: subprocess.Popen[bytes], seconds: float, largest: int
) -> bytes | Stop:
    try:
        printed, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        return Stop.LATE
    return printed if len(printed) <= largest else Stop.TOO_MUCH


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the program and its group, which is nothing to one that has ended."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # it may be another user's now
        if sys.platform != "win32":
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
    if process.stdout is not None:
        process.stdout.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(1.0)


@contextlib.contextmanager
def _in_the_foreground(group: int) -> Iterator[None]:
    """Let a group of processes ask at the terminal, if this process may: for a passphrase, say."""
    if sys.platform == "win32":
        yield
        return
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        yield
        return
    try:
        own = os.getpgrp()
        if os.tcgetpgrp(terminal) != own:
            yield
            return
        _hand_over(terminal, group)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGCONT)  # it was stopped if it has asked already
        try:
            yield
        finally:
            _hand_over(terminal, own)
    finally:
        os.close(terminal)


def _hand_over(terminal: int, group: int) -> None:
    """Make a group the one that reads from the terminal and is told of Ctrl-C."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTTOU])
    try:
        with contextlib.suppress(OSError):
            os.tcsetpgrp(terminal, group)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

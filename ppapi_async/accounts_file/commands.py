"""One program run to its end: within its time, within bounds, and with all that it has started."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from enum import Enum
from pathlib import Path

__all__ = ["Stop", "run"]

_SHORTEST_LOOK, _LONGEST_LOOK = 0.001, 0.05
"""Seconds between two looks at a program that says nothing."""


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

"""Runs a program of the user's for each change."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import PurePath

from ppapi_async.cli.exits import CommandFailed, Exit
from ppapi_async.cli.output import plain
from ppapi_async.cli.watching.delivery import Parcel, Problem, Recipient

__all__ = ["HIDDEN", "Program", "words_of"]

HIDDEN = ("PPAPI_WEBHOOK", "PPAPI_WEBHOOK_SECRET")
"""Variables that programs do not get."""
_STDERR = 2


def words_of(text: str, *, shell: bool) -> list[str]:
    """Return the words of a command.

    Raises:
        CommandFailed: it is none, or there is no such program.
    """
    if shell:
        return ["/bin/sh", "-c", text]
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise CommandFailed(f"--exec: {error}", Exit.USAGE) from None
    if not words or shutil.which(words[0]) is None:
        name = plain(words[0]) if words else ""
        raise CommandFailed(f"--exec: there is no program {name!r}", Exit.USAGE)
    return words


class Program(Recipient):
    """A program that takes changes: JSON on its stdin, nothing of it in arguments.

    What it prints goes to stderr. One that takes too long is ended, with those that it started.

    Args:
        words: the program and its arguments.
        seconds: how long it may take.
    """

    def __init__(self, words: Sequence[str], *, seconds: float) -> None:
        self._words, self._seconds = words, seconds
        self.name = plain(PurePath(words[0]).name)

    async def take(self, parcel: Parcel) -> Problem | None:
        """Run the program, once; None: it has ended with 0."""
        environment = {name: one for name, one in os.environ.items() if name not in HIDDEN}
        try:
            process = await asyncio.create_subprocess_exec(
                *self._words,
                stdin=asyncio.subprocess.PIPE,
                stdout=_STDERR,
                env={**environment, "PPAPI_DELIVERY": parcel.id},
                # A group of its own, which is ended with it, and which Ctrl-C leaves to us.
                process_group=None if sys.platform == "win32" else 0,
            )
        except OSError as error:
            return Problem(f"could not be started ({error.strerror})")
        try:
            async with asyncio.timeout(self._seconds):
                await process.communicate(parcel.body + b"\n")
        except TimeoutError:
            return Problem(f"took more than {self._seconds:g} s, and was ended")
        finally:
            if process.returncode is None:
                await _end(process)
        return None if process.returncode == 0 else Problem(f"ended with {process.returncode}")


async def _end(process: asyncio.subprocess.Process) -> None:
    """End a program and those that it has started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
    await process.wait()

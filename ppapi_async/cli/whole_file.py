"""Files that are put in their place when they are whole, or not at all.

Accounts files have writers of their own, with other contracts: `editing/accounts_edit` (mode and
owner stay as they were, under a lock, and only if nobody has changed the file meanwhile; a new one
replaces nothing) and `sandboxes/sites` (mode 600 from the first byte on, and without `--overwrite`
only where nothing is). This one gives what the umask says, writes to devices and pipes, too, and
replaces whatever is there.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ppapi_async.cli.exits import CommandFailed
from ppapi_async.cli.output import plain

__all__ = ["whole_file"]


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Lend a file to write; it takes the place of `path` when the block ends well.

    Until then it stands beside it under a name of its own, and an error, Ctrl-C or SIGTERM removes
    it. What was at `path` stays as it was until then. Devices and pipes are written as they are.

    Raises:
        CommandFailed: it could not be written, for want of space, say.
    """
    from ppapi_async.errors import PPAPIError

    try:
        yield from _write(path)
    except OSError as error:
        if isinstance(error, PPAPIError | BrokenPipeError):
            raise
        reason = error.strerror or str(error)
        raise CommandFailed(f"{plain(str(path))}: {reason}; nothing was put there") from None


def _write(path: Path) -> Iterator[BinaryIO]:
    try:
        status = path.stat()
    except FileNotFoundError:
        status = None
    if status is not None and not stat.S_ISREG(status.st_mode):
        with path.open("wb") as file:
            yield file
        return
    target = path.resolve()  # where links lead to, so that they stay
    beside = target.with_name(f".{target.name[:100]}.{secrets.token_hex(6)}.part")
    # Not in text mode on Windows, and nobody else's file.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    descriptor = os.open(beside, flags, 0o666)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 - it is open already
            yield file
            file.flush()
            if status is not None:
                beside.chmod(stat.S_IMODE(status.st_mode))
            os.fsync(file.fileno())
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)
    _keep_name(target.parent)


def _keep_name(folder: Path) -> None:
    """Have the new name survive a crash of the machine, where folders can be written out."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

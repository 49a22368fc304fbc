"""What differs between the accounts of one call: where each begins, and where it keeps that."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TypeAlias

from ppapi_async._validation import Instant, instant
from ppapi_async.models import UnreadableRow
from ppapi_async.storage import Checkpoint, FileCheckpoint
from ppapi_async.storage.paths import CheckpointOrPath, checkpoint_of

__all__ = ["Checkpoints", "OnUnreadableOf", "Starts", "checkpoints_of", "starts_of"]

Starts: TypeAlias = Instant | Mapping[str, Instant]
"""One start for all accounts, or each one's by name; those without begin at the beginning."""
Checkpoints: TypeAlias = str | os.PathLike[str] | Mapping[str, CheckpointOrPath | None]
"""A directory with a file for each account, or each one's checkpoint, or its file, by name."""
OnUnreadableOf: TypeAlias = Callable[[str, UnreadableRow], object]
"""Takes an account's name and a row of it that cannot be read; may be `async def`."""
_ODD = re.compile(r"[^a-z0-9._]+")
_LONGEST = 40  # characters of an account's name in that of its file


def starts_of(start: Starts, end: Instant, names: Collection[str]) -> Mapping[str, Instant]:
    """Return where each account begins.

    Raises:
        ValueError: there is no such account, or it begins after the end.
        TypeError: it is no start.
    """
    if not isinstance(start, Mapping):
        return dict.fromkeys(names, instant(start, "start"))
    _check_names(start, names, "start")
    starts = {name: instant(one, f"start of {name!r}") for name, one in start.items()}
    last = instant(end, "end")
    for name, first in starts.items():
        if first is not None and last is not None and first >= last:
            raise ValueError(f"start of {name!r}: lies not before end")
    return starts


def checkpoints_of(
    checkpoints: Checkpoints | None, method: str, names: Collection[str]
) -> Mapping[str, Checkpoint | None]:
    """Return the checkpoint of each account that has one.

    Raises:
        ValueError: there is no such directory, or no such account.
        TypeError: it is neither a directory nor a mapping.
    """
    if checkpoints is None:
        return {}
    if isinstance(checkpoints, Mapping):
        _check_names(checkpoints, names, "checkpoints")
        return {name: checkpoint_of(one) for name, one in checkpoints.items()}
    if not isinstance(checkpoints, str | os.PathLike):
        raise TypeError("checkpoints: pass a directory, or a mapping from names to checkpoints")
    directory = Path(checkpoints)
    if not directory.is_dir():
        raise ValueError(f"checkpoints: there is no directory {str(directory)!r}; make it first")
    return {name: FileCheckpoint(directory / _file_name(name, method)) for name in names}


def _check_names(given: Mapping[str, object], names: Collection[str], argument: str) -> None:
    for name in given:
        if name not in names:
            raise ValueError(f"{argument}: the fleet has no account called {name!r}")


def _file_name(name: str, method: str) -> str:
    """Return a name that every file system takes, and that no other account's file has.

    Some know no capitals, some stumble over blanks, and `..` leads elsewhere: so the readable part
    is plain, and a digest of the whole name tells the accounts apart.
    """
    plain = _ODD.sub("-", name.casefold())[:_LONGEST].strip("-.")
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    return f"{plain or 'account'}-{digest}.{method}.json"

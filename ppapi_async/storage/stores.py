"""What a watch keeps its state in, and the store that keeps it in memory."""

from __future__ import annotations

import logging
import os
import shlex
import sys
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Protocol

from attrs import frozen

from ppapi_async.files import risks

__all__ = ["LONGEST_NAME", "MemoryState", "State", "StateChange", "check", "warn_of"]

_log = logging.getLogger("ppapi_async")
LONGEST_NAME = 400
"""Bytes of UTF-8 in the name of a watch or of an entry, at most.

An index of PostgreSQL takes 2,704 bytes, and a row of it has both names, the name of a group, and
two bytes for each U+0000.
"""


class State(Protocol):
    """Keeps, for each watch, named texts.

    A watch is named by its account's fingerprint and its method, as in
    `"7f6b2c5a90d1e834/get_exchanges"`. Its entries are small JSON texts: one is its position,
    another each row that it remembers, up to tens of thousands. No key ever gets in. The stores
    that come with this library take any text for a name that has no half of a surrogate pair, and
    400 bytes of UTF-8 at most.

    The methods are called for many watches at once. A store of your own raises `StateError` for
    failures that may pass.
    """

    async def load(self, watch: str) -> Mapping[str, str]:
        """Return all entries of a watch, none if nothing was saved.

        Raises:
            StateError: the store could not be read.
        """

    async def read(self, watch: str, name: str) -> str | None:
        """Return one entry, None if there is none of this name.

        Raises:
            StateError: the store could not be read.
        """

    async def save(self, watch: str, put: Mapping[str, str], drop: Collection[str] = ()) -> None:
        """Drop the named entries, whether or not they are there, then put these in.

        All or nothing, even if the process is killed meanwhile; and kept when it returns.

        Raises:
            StateError: nothing was saved.
        """


@frozen
class StateChange:
    """What one save changes, as it was when the save was called."""

    watch: str
    put: Mapping[str, str]
    drop: tuple[str, ...]

    @classmethod
    def of(cls, watch: str, put: Mapping[str, str], drop: Collection[str]) -> StateChange:
        """Return the change that the arguments of a save describe.

        Raises:
            TypeError: they are no texts.
            ValueError: a text cannot be kept, or a name is too long.
        """
        if isinstance(drop, str):
            raise TypeError("drop: pass a list of names, not one name")
        change = cls(watch, dict(put), tuple(drop))
        check(watch, *change.put, *change.drop)
        _check_texts(change.put.values())
        return change


def check(*names: str) -> None:
    """Refuse names that a file or a database could not keep, so that all stores accept the same.

    Raises:
        TypeError: one is no text.
        ValueError: one is longer than `LONGEST_NAME`, or has half of a surrogate pair, which has
            no bytes in UTF-8.
    """
    _check_texts(names)
    for name in names:
        # Most are so short that nobody has to count.
        if len(name) * 4 > LONGEST_NAME and len(name.encode()) > LONGEST_NAME:
            raise ValueError(
                f"state: a name of {len(name.encode())} bytes is too long; watches and entries have"
                f" names of {LONGEST_NAME} bytes of UTF-8 at most"
            )


def _check_texts(texts: Iterable[str]) -> None:
    try:
        "".join(texts).encode()
        return
    except TypeError:
        problem: TypeError | ValueError = TypeError("state: watches, names and entries are str")
    except UnicodeEncodeError:
        problem = ValueError("state: a text with half of a surrogate pair cannot be kept")
    raise problem  # outside, so that its context does not show the entries


def warn_of(path: Path, status: os.stat_result, *, beside: bool = False) -> None:
    """Log a warning about a file whose rows others can change: nobody would notice it otherwise."""
    found = risks(path, beside=beside)
    if sys.platform != "win32" and status.st_mode & 0o022:
        found.append(f"others can change it; run: chmod go-w {shlex.quote(str(path))}")
    for risk in found:
        _log.warning("%s: %s; what it says is believed", path, risk)


class MemoryState:
    """Keeps the entries in this object, and as long as this object.

    >>> state = MemoryState()
    """

    def __init__(self) -> None:
        self._watches: dict[str, dict[str, str]] = {}

    def __repr__(self) -> str:
        return f"<MemoryState of {len(self._watches)} watches>"

    async def load(self, watch: str) -> Mapping[str, str]:
        """Return all entries of a watch, as they are now.

        Raises:
            TypeError: the name is no text.
            ValueError: the name cannot be one of a watch.
        """
        check(watch)
        return dict(self._watches.get(watch, {}))

    async def read(self, watch: str, name: str) -> str | None:
        """Return one entry, None if there is none of this name.

        Raises:
            TypeError: a name is no text.
            ValueError: a name cannot be one.
        """
        check(watch, name)
        return self._watches.get(watch, {}).get(name)

    async def save(self, watch: str, put: Mapping[str, str], drop: Collection[str] = ()) -> None:
        """Drop the named entries, then put these in.

        Raises:
            TypeError: the arguments are no texts.
            ValueError: a text cannot be kept.
        """
        change = StateChange.of(watch, put, drop)
        entries = self._watches.setdefault(watch, {})
        for name in change.drop:
            entries.pop(name, None)
        entries.update(change.put)

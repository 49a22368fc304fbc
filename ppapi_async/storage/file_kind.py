"""What a SQLite file is: one of ours, or another application's. Told before anything is written."""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum

from ppapi_async.errors import StateError

__all__ = ["LIST_NAMES", "READ_APPLICATION", "FileKind"]

READ_APPLICATION = "PRAGMA application_id"
LIST_NAMES = "SELECT name FROM sqlite_master"


class FileKind(Enum):
    """A kind of SQLite file that this package makes.

    A file says in its `application_id` what it is. Journals and locks did not always; those are
    known by their tables, which are all that there is in them.
    """

    STATE = ("state of watches", b"ppas", ())
    MIRROR = ("mirror", b"ppam", ())
    JOURNAL = ("journal of payouts", b"ppaj", {"attempts", "owners"})
    LOCK = ("lock of a program that writes", b"ppal", {"holder"})

    def __init__(self, called: str, application: bytes, tables: Collection[str]) -> None:
        self.called = called
        self.application = int.from_bytes(application)
        self.tables = frozenset(tables)

    def is_empty(self, path: object, application: int, names: Collection[str]) -> bool:
        """Tell whether there is nothing in a file that is to be of this kind.

        Args:
            path: of the file, for the message.
            application: what `READ_APPLICATION` gives.
            names: what `LIST_NAMES` gives.

        Raises:
            StateError: the file is of another kind, or another application's.
        """
        if application == 0 and not names:
            return True
        for kind in FileKind:
            if application == kind.application or (application == 0 and kind.tables == {*names}):
                if kind is self:
                    return False
                text = f"{path} is a {kind.called}, no {self.called}: pass another path"
                raise StateError(text, may_pass=False)
        text = f"{path} is a database of another application: pass another path"
        raise StateError(text, may_pass=False)

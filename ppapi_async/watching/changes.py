"""What watches and fleets deliver of the rows of an account."""

from __future__ import annotations

from enum import StrEnum
from typing import Generic, TypeVar

from attrs import frozen

from ppapi_async.errors import DecodeError

__all__ = ["Change", "ChangeKind", "RowsUnreadable"]

RecordT_co = TypeVar("RecordT_co", covariant=True)


class ChangeKind(StrEnum):
    """What has happened to a row."""

    NEW = "new"
    CHANGED = "changed"
    GONE = "gone"
    """The site lists it no more: deleted, hidden, or in a basket. Only mirrors tell."""
    RETURNED = "returned"
    """The site lists again what was gone. Only mirrors tell."""


@frozen
class Change(Generic[RecordT_co]):
    """Something that happened at a site, as watches and fleets deliver it."""

    kind: ChangeKind
    record: RecordT_co
    """How it is now."""
    previous: RecordT_co | None = None
    """How it was when it was delivered last; None if it is new, if that was before `lookback`, or
    if the row is older than the watch: its first change is the first that is known of it."""
    fields: tuple[str, ...] = ()
    """The names of the fields that differ from `previous`."""
    account: str = ""
    """The account's name."""


@frozen
class RowsUnreadable:
    """Rows of an account cannot be read; all others are delivered, and polls go on.

    It comes once for each of these rows, and again when the row has changed.
    """

    account: str
    """The account's name."""
    error: DecodeError
    """Which rows, of which method, and what is wrong with them."""

"""What an answer has that the database has not, and the other way round. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Generic, TypeVar

from attrs import define, field, frozen

from ppapi_async.mirror.rows import Codec, RowRecord, Value, differing
from ppapi_async.watching.changes import ChangeKind

__all__ = ["Differences", "Incoming", "RowToWrite", "Stored"]

RowT = TypeVar("RowT", bound=RowRecord)
_AT_ONCE = 250


@frozen(eq=False)
class Incoming(Generic[RowT]):
    """A row of an answer."""

    record: RowT
    row: tuple[Value, ...]
    """As the database would have it."""


@frozen(eq=False)
class Stored:
    """A row of the database."""

    row: tuple[Value, ...]
    is_gone: bool
    in_window: bool
    """Whether the window that is compared holds its time, by what the database knows."""


@frozen(eq=False)
class RowToWrite(Generic[RowT]):
    """A row that is to be written."""

    kind: ChangeKind
    record: RowT
    row: tuple[Value, ...]
    previous: RowT | None = None
    """As it was stored, where it differs."""
    fields: tuple[str, ...] = ()
    """In which it differs from what was stored."""


@define(eq=False)
class Differences(Generic[RowT]):
    """What became of the rows of a window."""

    written: list[RowToWrite[RowT]] = field(factory=list)
    """In the order of the answer."""
    seen_elsewhere: list[int] = field(factory=list)
    """Rows that are as they were, although by their time the window does not hold them."""
    absent: list[int] = field(factory=list)
    """Rows that are not gone, and that the answer should have held."""
    seen_again: bool = False
    """Whether any row of the window is as it was."""

    def compare(
        self,
        codec: Codec[RowT],
        answer: Mapping[int, Incoming[RowT]],
        stored: Mapping[int, Stored],
        listed: Collection[int],
    ) -> Iterator[None]:
        """Compare; yields where others may run.

        Args:
            codec: of the rows.
            answer: the rows that the site lists, by id.
            stored: those of the database that are in the window or have one of these ids.
            listed: ids of rows that the site lists and that cannot be read.
        """
        for count, (row_id, incoming) in enumerate(answer.items()):
            if not count % _AT_ONCE:
                yield
            found = _difference(codec, incoming, stored.get(row_id))
            if found is None:
                self._see(row_id, stored[row_id])
            else:
                self.written.append(found)
        unmet = ((row_id, known) for row_id, known in stored.items() if row_id not in answer)
        for count, (row_id, known) in enumerate(unmet):
            if not count % _AT_ONCE:
                yield
            if row_id in listed and known.is_gone:
                record = codec.record_of(known.row)
                self.written.append(RowToWrite(ChangeKind.RETURNED, record, known.row))
            elif row_id in listed:
                self._see(row_id, known)
            elif not known.is_gone:
                self.absent.append(row_id)

    def _see(self, row_id: int, known: Stored) -> None:
        """Take a row as being there as it was."""
        if known.in_window:
            self.seen_again = True
        else:
            self.seen_elsewhere.append(row_id)


def _difference(
    codec: Codec[RowT], incoming: Incoming[RowT], known: Stored | None
) -> RowToWrite[RowT] | None:
    """Return how a row differs from what is stored, if anything; None if it does not."""
    if known is None:
        return RowToWrite(ChangeKind.NEW, incoming.record, incoming.row)
    fields: tuple[str, ...] = ()
    previous = None
    if incoming.row != known.row:  # 1.0 is not the text 1.00, but the same amount
        previous = codec.record_of(known.row)
        fields = differing(incoming.record, previous)
    if not fields and not known.is_gone:
        return None
    kind = ChangeKind.RETURNED if known.is_gone else ChangeKind.CHANGED
    return RowToWrite(kind, incoming.record, incoming.row, previous, fields)

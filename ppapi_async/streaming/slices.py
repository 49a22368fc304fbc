"""The rows of one proven window in the order of the stream, decoded a slice at a time.

A window may hold thousands of rows, most of them still bytes (see `protocol.heads`). They are
decoded only when their turn has come, and forgotten as soon as they were handed on. So a stream has
few records in memory, however many rows its windows hold: as many as two answers have.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from operator import attrgetter
from typing import Generic, TypeVar

from attrs import define, field

from ppapi_async.errors import PPAPIError
from ppapi_async.models import Row, UnreadableRow
from ppapi_async.protocol.page import Page
from ppapi_async.protocol.site_clock import SiteClock
from ppapi_async.streaming.counting import Key
from ppapi_async.transport.fairness import ITEMS_OF_TURN

__all__ = ["RowSlices"]

RowT = TypeVar("RowT", bound=Row)
_BY_TIME = attrgetter("time", "id")
_WEEK = 7 * 86_400
"""Seconds in which a clock is not set forward and back again."""


@define(eq=False)
class RowSlices(Generic[RowT]):
    """Hands out the rows of a window, each once.

    Nothing shows what is held as bytes: an answer may hold anything, the key among it.

    Args:
        rows: what is held of each row, by id; it is emptied.
        seconds: the wire second of each row.
        clock: the site's.
        decode: decodes what is held as bytes.
        newest_first: from new to old.
    """

    rows: dict[int, RowT | bytes] = field(repr=False)
    seconds: Mapping[int, int] = field(repr=False)
    clock: SiteClock
    decode: Callable[[bytes], Awaitable[Page[RowT] | PPAPIError]] = field(repr=False)
    newest_first: bool = False
    unreadable: dict[Key, UnreadableRow] = field(factory=dict)
    """Rows that turned out to be unreadable, of those slices that were handed out."""
    _decoded: dict[bytes, dict[int, RowT]] = field(factory=dict, repr=False)
    _left: Counter[bytes] = field(factory=Counter, repr=False)
    """How many rows of the window each piece still holds."""
    _next: bytes = field(default=b"", repr=False)

    async def slices(self) -> AsyncGenerator[list[RowT], None]:
        """Yield the rows.

        Raises:
            PPAPIError: what is held is no page after all.
        """
        self._left.update(held for held in self.rows.values() if isinstance(held, bytes))
        ids = deque(sorted(sorted(self.rows), key=self.seconds.__getitem__))
        if self.newest_first:
            ids.reverse()
        is_set, all_rows = self._is_set(), list[RowT]()
        while ids:
            if self._needs_piece(ids[0]):
                await self._decode_next()
            rows = self._take(ids)
            if is_set:
                all_rows += rows
            else:
                yield rows
        if is_set:
            yield sorted(all_rows, key=_BY_TIME, reverse=self.newest_first)

    def _is_set(self) -> bool:
        """Tell whether the site's clock is set within the window: instants may then run otherwise.

        In an hour that is skipped, rows of later wire seconds are of earlier instants.
        """
        if self.clock.is_utc:
            return False
        weeks = {self.seconds[row_id] // _WEEK for row_id in self.rows}
        ends = [week * _WEEK + end for week in weeks for end in (0, _WEEK)]
        return any(self.clock.ahead_at(end) != self.clock.ahead_at(ends[0]) for end in ends)

    def _needs_piece(self, row_id: int) -> bool:
        """Tell whether something must be decoded before this row can be taken: `_next`."""
        held = self.rows[row_id]
        if not isinstance(held, bytes) or held in self._decoded:
            return False
        self._next = held
        return True

    async def _decode_next(self) -> None:
        page = await self.decode(self._next)
        if isinstance(page, PPAPIError):
            raise page
        self._decoded[self._next] = {row.id: row for row in page.records}
        for odd in page.unreadable:
            if odd.id is None or self.rows.get(odd.id) == self._next:
                self.unreadable[(odd.digest, 1) if odd.id is None else odd.id] = odd

    def _take(self, ids: deque[int]) -> list[RowT]:
        """Take the next rows, up to one that has to be decoded: while it is, none are kept."""
        found: list[RowT] = []
        while ids and len(found) < ITEMS_OF_TURN:
            held = self.rows[ids[0]]
            if isinstance(held, bytes):
                if held not in self._decoded:
                    break
                row = self._decoded[held].pop(ids[0], None)  # None: it cannot be read
                self._left[held] -= 1
                if not self._left[held]:
                    del self._decoded[held], self._left[held]
            else:
                row = held
            del self.rows[ids.popleft()]
            if row is not None:
                found.append(row)
        return found

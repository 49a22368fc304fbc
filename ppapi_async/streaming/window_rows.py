"""What came of one window: its rows, where they lie in time, and what that tells of the server.

`rows` has what lies in the window and nothing else, of a row that was met twice the later answer.
`seconds` has all rows that came, those beside the window, too: counts are compared with it. Both
only grow while a window is read, but for what is asked for anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import compress
from typing import Generic, TypeVar

from attrs import Factory, define, field

from ppapi_async.models import UnreadableRow
from ppapi_async.protocol.evidence import Evidence
from ppapi_async.protocol.page import Placed, wire_second
from ppapi_async.streaming.counting import Key, Query, Span

__all__ = ["WindowRows"]

HeldT = TypeVar("HeldT")
"""In what form rows are held: as records, or as the bytes that will be decoded."""


@define
class WindowRows(Generic[HeldT]):
    """The rows of a window from `start` to `end`, inclusive wire seconds, None for open."""

    evidence: Evidence
    start: int | None
    end: int | None
    latest: int | None = None
    """Where the present may be at most: rows dated later are from a clock that was wrong."""
    second_of: Callable[[datetime], int] | None = None
    """Tells the wire second of a row that could be read no further than its time."""
    rows: dict[int, HeldT] = field(factory=dict, repr=False)
    places: dict[int, int] = field(factory=dict, repr=False)
    """The second of each of `rows`, as it is held: it may have moved out of the window since."""
    unreadable: dict[Key, UnreadableRow] = Factory(dict)
    """Rows that could not be read; which of them lie in the window, their time may tell."""
    seconds: dict[Key, int | None] = field(factory=dict, repr=False)
    """Where the rows lie that came; None where their time could not be read."""
    first_newest: int | None = None
    """The newest second of the first answer, up to `latest`; later rows came or moved since."""
    newest: int | None = None
    """The newest second of all answers."""

    def keep(self, page: Placed[HeldT], query: Query) -> tuple[list[Key], list[Key]]:
        """Keep the rows, of one met twice the later answer. Return their ids, and the new ones."""
        seconds = [wire_second(wall) for wall in page.walls]
        ids = page.ids
        if seconds:
            oldest, newest = min(seconds), max(seconds)
            self._look_at(oldest, newest, query)
            self._note_newest(seconds, newest)
            if self.is_inside(oldest) and self.is_inside(newest):
                self.rows.update(zip(ids, page.records, strict=True))
                self.places.update(zip(ids, seconds, strict=True))
            else:
                inside = list(map(self.is_inside, seconds))
                rows = compress(page.records, inside)
                self.rows.update(zip(compress(ids, inside), rows, strict=True))
                self.places.update(compress(zip(ids, seconds, strict=True), inside))
        keys: list[Key] = [*ids]
        times: dict[str, int] = {}
        for odd in page.unreadable:
            number = times[odd.digest] = times.get(odd.digest, 0) + 1
            key = (odd.digest, number) if odd.id is None else odd.id
            self.unreadable[key] = odd
            keys.append(key)
        new = [key for key in dict.fromkeys(keys) if key not in self.seconds]
        self.seconds.update(zip(keys, seconds, strict=False))
        for key, odd in zip(keys[len(seconds) :], page.unreadable, strict=True):
            self.seconds[key] = None
            if odd.time is not None and self.second_of is not None:
                self.seconds[key] = self.second_of(odd.time)
        return keys, new

    def _look_at(self, oldest: int, newest: int, query: Query) -> None:
        """Note what the seconds tell of how the server takes the bounds."""
        too_old = query.start is not None and oldest < query.start
        too_new = query.end is not None and newest > query.end
        if too_old or too_new:
            self.evidence.unfiltered = True
        if oldest == query.start:
            self.evidence.start_excluded = False
        if newest == query.end:
            self.evidence.end_excluded = False

    def _note_newest(self, seconds: Sequence[int], newest: int) -> None:
        self.newest = newest if self.newest is None else max(self.newest, newest)
        if self.first_newest is None:
            latest = self.latest
            if latest is not None and newest > latest:
                self.first_newest = max((s for s in seconds if s <= latest), default=None)
            else:
                self.first_newest = newest

    @property
    def newest_inside(self) -> int | None:
        """The newest second of the window's rows."""
        inside = (s for s in self.seconds.values() if s is not None and self.is_inside(s))
        return max(inside, default=None)

    def rows_at(self, second: int) -> int:
        """Return how many rows of this second came."""
        return sum(other == second for other in self.seconds.values())

    def is_inside(self, second: int) -> bool:
        """Tell whether a second lies in the window."""
        lo, hi = self.start, self.end
        return (lo is None or lo <= second) and (hi is None or second <= hi)

    @property
    def has_odd(self) -> bool:
        """Whether a row came of which the second is not known."""
        return None in self.seconds.values()

    def seconds_in(self, span: Span) -> list[int]:
        """Return the seconds of the known rows that the span selects."""
        start, end = span
        return [
            s
            for s in self.seconds.values()
            if s is not None and (start is None or s >= start) and (end is None or s <= end)
        ]

    def forget_second(self, second: int) -> None:
        """Count the rows of a second beside the window no more."""
        self.seconds = {key: s for key, s in self.seconds.items() if s != second}

    def forget_until(self, edge: int | None) -> None:
        """Forget the rows of this second and of those before it; they are read again."""
        for key, second in self.seconds.items():
            if second is not None and edge is not None and second <= edge:
                self.unreadable.pop(key, None)
                if isinstance(key, int):
                    self.rows.pop(key, None)

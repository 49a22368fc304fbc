"""Rows kept by id and found by time: the site's clock, a sorted index, and a shelf with both."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime, tzinfo
from functools import lru_cache
from itertools import groupby, islice
from typing import Generic, Literal, Protocol, TypeVar
from zoneinfo import ZoneInfo

from attrs import field, frozen

By = Literal["created", "edited"]

DAY = 86_400
# An index key is one 63-bit number: 33 bits of time (to the year 2242) above 30 bits of id.
_ID_BITS = 30
_LAST_ID = (1 << _ID_BITS) - 1
_LAST_TIME = (1 << 33) - 1
# No zone changes its offset inside a quarter of an hour.
_QUARTER = 900
ZERO_DATE = -62_169_984_000
"""The instant of a date that an operator left empty, `0000-00-00 00:00:00`, on any site's clock."""
NINES = 253_402_300_799
"""The instant of `9999-12-31 23:59:59`, on any site's clock."""
_ZERO_DAY = "-0001-11-30"  # as PHP writes it
_FIRST_DAY = -719_162
_EPOCHAL = range(-(1 << 33), _LAST_TIME)  # where zones have offsets


class StoredRow(Protocol):
    """What a shelf asks of a row."""

    @property
    def id(self) -> int:
        """A positive number below 2**30."""

    @property
    def created(self) -> int:
        """A true instant in unix seconds."""


R = TypeVar("R", bound=StoredRow)


@lru_cache(maxsize=1024)
def _day_text(day: int) -> str:
    return _ZERO_DAY if day < _FIRST_DAY else date.fromordinal(719_163 + day).isoformat()


def _zone(timezone: str) -> tzinfo:
    return UTC if timezone == "UTC" else ZoneInfo(timezone)


@frozen
class WallClock:
    """The site's wall clock, read as if it were UTC.

    That is how the servers report and filter time: a site at UTC+3 is three hours ahead, and a
    zone with daylight saving repeats an hour and skips one.
    """

    timezone: str = "UTC"
    _zone: tzinfo = field(init=False, eq=False, repr=False)
    _offsets: dict[int, int] = field(init=False, factory=dict, eq=False, repr=False)

    @_zone.default
    def _find_zone(self) -> tzinfo:
        return _zone(self.timezone)

    def wall(self, instant: int) -> int:
        """Turn a true instant into the time the site reports, both in unix seconds."""
        quarter = instant // _QUARTER
        offset = self._offsets.get(quarter)
        if offset is None:
            offset = self._offsets[quarter] = self._offset(instant)
        return instant + offset

    def _offset(self, instant: int) -> int:
        if instant not in _EPOCHAL:
            return 0
        offset = datetime.fromtimestamp(instant, self._zone).utcoffset()
        return 0 if offset is None else int(offset.total_seconds())

    @staticmethod
    def text(wall: int) -> str:
        """Write a wall time the way PHP's ``Y-m-d H:i:s`` does."""
        day, second = divmod(wall, DAY)
        return f"{_day_text(day)} {second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}"


UTC_CLOCK = WallClock()


def _key(time: int, row_id: int) -> int:
    # The id is stored upside down: read backwards, keys run newest first and, inside a second,
    # by rising id, which is how the recorded answers break ties.
    return max(-1, min(time, _LAST_TIME)) << _ID_BITS | _LAST_ID - row_id


class TimeIndex:
    """Row ids sorted by time, eight bytes a row."""

    def __init__(self, stamps: Iterable[tuple[int, int]] = ()) -> None:
        """Index ``(time, id)`` pairs."""
        self._keys = array("q", sorted(_key(time, row_id) for time, row_id in stamps))

    def add(self, time: int, row_id: int) -> None:
        """Enter a row."""
        insort(self._keys, _key(time, row_id))

    def discard(self, time: int, row_id: int) -> None:
        """Take a row out, if it is in."""
        at = bisect_left(self._keys, _key(time, row_id))
        if at < len(self._keys) and self._keys[at] == _key(time, row_id):
            del self._keys[at]

    def _span(self, first: int | None, last: int | None) -> tuple[int, int]:
        low, high = 0, len(self._keys)
        if first is not None:
            low = bisect_left(self._keys, min(first, _LAST_TIME) << _ID_BITS)
        if last is not None:
            high = bisect_right(self._keys, _key(min(last, _LAST_TIME), 0))
        return low, max(low, high)

    def count(self, first: int | None = None, last: int | None = None) -> int:
        """Count the rows between two inclusive bounds."""
        low, high = self._span(first, last)
        return high - low

    def ids(
        self,
        first: int | None = None,
        last: int | None = None,
        *,
        offset: int = 0,
        limit: int | None = None,
        rank: Callable[[int], int] | None = None,
        oldest_first: bool = False,
    ) -> Iterator[int]:
        """Yield the ids between two inclusive bounds, newest first.

        Rows of one second come by rising rank; without one by rising id.
        """
        least, most = self._span(first, last)
        count = most - least if limit is None else min(limit, most - least)
        if oldest_first:
            low = min(most, least + offset)
            high = min(most, low + count)
        else:
            high = max(least, most - offset)
            low = max(least, high - count)
        if rank is None and not oldest_first:
            return (_LAST_ID - (key & _LAST_ID) for key in reversed(self._keys[low:high]))
        if low == high:
            return iter(())
        # Whole seconds are ordered, of which the first and the last may be cut.
        start = max(least, bisect_left(self._keys, self._keys[low] >> _ID_BITS << _ID_BITS))
        end = min(most, bisect_right(self._keys, self._keys[high - 1] | _LAST_ID))
        found = _ordered(self._keys[start:end], rank, oldest_first=oldest_first)
        skipped = low - start if oldest_first else end - high
        return islice(found, skipped, skipped + high - low)


def _ordered(
    keys: array[int], rank: Callable[[int], int] | None, *, oldest_first: bool
) -> Iterator[int]:
    """Yield the ids of rising keys second by second, those of one second by rank."""
    for _, second in groupby(keys if oldest_first else reversed(keys), _ID_BITS.__rrshift__):
        ids = [_LAST_ID - (key & _LAST_ID) for key in second]
        if len(ids) > 1:
            ids.sort(key=rank)
        yield from ids


class Shelf(Generic[R]):
    """Rows by id, with a time index per field and clock, made when first asked for."""

    def __init__(self, rows: Iterable[R] = ()) -> None:
        """Put the rows on the shelf."""
        self._rows = {row.id: row for row in rows}
        self._indexes: dict[tuple[By, WallClock], TimeIndex] = {}
        self._last_id = max(self._rows, default=0)

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[R]:
        return iter(self._rows.values())

    def __getitem__(self, row_id: int) -> R:
        return self._rows[row_id]

    def get(self, row_id: int) -> R | None:
        """Return a row, or None."""
        return self._rows.get(row_id)

    @property
    def next_id(self) -> int:
        """The id that the next new row gets."""
        return self._last_id + 1

    def put(self, row: R) -> None:
        """Add a row, or replace the one with its id."""
        old = self._rows.get(row.id)
        for (by, clock), index in self._indexes.items():
            if old is not None:
                index.discard(clock.wall(getattr(old, by)), old.id)
            index.add(clock.wall(getattr(row, by)), row.id)
        self._rows[row.id] = row
        self._last_id = max(self._last_id, row.id)

    def remove(self, row_id: int) -> None:
        """Take a row off the shelf, if it is there; its id is not given out again."""
        old = self._rows.pop(row_id, None)
        if old is not None:
            for (by, clock), index in self._indexes.items():
                index.discard(clock.wall(getattr(old, by)), row_id)

    def index(self, by: By = "created", clock: WallClock = UTC_CLOCK) -> TimeIndex:
        """Return the index over a field as a clock shows it."""
        found = self._indexes.get((by, clock))
        if found is None:
            stamps = ((clock.wall(getattr(row, by)), row.id) for row in self)
            found = self._indexes[by, clock] = TimeIndex(stamps)
        return found

    def within(self, start: int | None, end: int | None, *, by: By = "created") -> list[R]:
        """Return the rows of the true half-open range, oldest first, ids rising inside a second."""
        last = None if end is None else end - 1
        found = [self._rows[row_id] for row_id in self.index(by).ids(start, last)]
        found.sort(key=lambda row: (getattr(row, by), row.id))
        return found

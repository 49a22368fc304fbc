"""The rows of one answer: what the codec makes and the windows judge."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from operator import ge
from typing import Generic, TypeVar

from attrs import Factory, define

from ppapi_async.account import Dialect
from ppapi_async.models import Row, UnreadableRow

__all__ = ["Page", "wire_second"]

RowT = TypeVar("RowT", bound=Row)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)


@define
class Page(Generic[RowT]):
    """The rows of one answer, as they came, and what the site's clock says of them."""

    records: list[RowT]
    walls: list[datetime]
    """The time of each record by the site's clock, before it was corrected."""
    dialect: Dialect | None = None
    unreadable: list[UnreadableRow] = Factory(list)
    """Rows of the same answer that could not be read. They count as positions of the page."""

    @property
    def size(self) -> int:
        """How many rows the answer held, readable or not."""
        return len(self.records) + len(self.unreadable)

    @property
    def falls(self) -> bool:
        """Whether the times run from new to old."""
        return all(map(ge, self.walls, islice(self.walls, 1, None)))

    @property
    def oldest(self) -> int:
        """The earliest wire second on the page, which must not be empty."""
        return wire_second(min(self.walls))


def wire_second(wall: datetime) -> int:
    """Return the number that the wire has for this reading of the site's clock."""
    return (wall - _EPOCH) // _SECOND

"""The rows of one answer: what the codec makes and the windows judge."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from operator import ge
from typing import Generic, Protocol, TypeVar

from attrs import Factory, define, field

from ppapi_async.account import Dialect
from ppapi_async.models import Row, UnreadableRow

__all__ = ["KeptPage", "Page", "Placed", "wire_second"]

RowT = TypeVar("RowT", bound=Row)
HeldT_co = TypeVar("HeldT_co", covariant=True)
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
    def ids(self) -> list[int]:
        """The id of each record."""
        return [row.id for row in self.records]

    @property
    def size(self) -> int:
        """How many rows the answer held, readable or not."""
        return len(self.records) + len(self.unreadable)

    @property
    def falls(self) -> bool:
        """Whether the times run from new to old."""
        return all(map(ge, self.walls, islice(self.walls, 1, None)))


@define
class KeptPage:
    """The rows of one answer of which only ids and times have been read."""

    records: list[bytes] = field(repr=False)
    """For each row the bytes that hold it, and others beside it: see `heads`."""
    walls: list[datetime]
    """The time of each row by the site's clock."""
    ids: list[int]
    unreadable: Sequence[UnreadableRow] = ()
    """None: what cannot be read of a row shows when it is decoded."""


class Placed(Protocol[HeldT_co]):
    """The rows of one answer in whatever form, and what places them: all that windows look at."""

    @property
    def records(self) -> Sequence[HeldT_co]:
        """The readable rows, as they came."""

    @property
    def ids(self) -> list[int]:
        """The id of each."""

    @property
    def walls(self) -> list[datetime]:
        """The time of each by the site's clock."""

    @property
    def unreadable(self) -> Sequence[UnreadableRow]:
        """The other rows."""


def wire_second(wall: datetime) -> int:
    """Return the number that the wire has for this reading of the site's clock."""
    return (wall - _EPOCH) // _SECOND

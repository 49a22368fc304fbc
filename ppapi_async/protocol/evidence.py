"""What the answers of one stream, or of one poll, have shown of the server.

What a dialect promises is only where to begin: pages show in which order a server lists rows, where
it cuts, and whether it honours `offset` and both bounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from itertools import pairwise
from operator import ge, le

from attrs import Factory, define

__all__ = ["Evidence", "Pace", "TimeOrder", "order_of"]


class TimeOrder(Enum):
    """How the times of a page run."""

    NONE = "neither way"
    ONE_SECOND = "all of one second"
    FALLING = "from new to old"
    RISING = "from old to new"


@define
class Pace:
    """How fast rows come at a method. It proves nothing, so streams may share it."""

    rate: float | None = None
    """Rows per second of recent windows: where the next stream begins to guess."""


@define
class Evidence:
    """What the answers of one stream, or of one poll, have shown of the server.

    It must not outlive them: a server may be another one tomorrow. See `fresh`.
    """

    capped: bool | None = None
    """Whether the server cuts answers, as its dialect has it; True once one has been cut."""
    promises_falling: bool = False
    """Whether the dialect promises answers from new to old."""
    page: int = 500
    """Rows of an answer that looks as if it had been cut. It is a guess, and proves nothing."""
    honours_offset: bool | None = None
    """Whether `offset` does what it should, as answers have shown."""
    holds_more: bool = False
    """Whether an answer held more than one row, so that one of a single row was not cut."""
    end_excluded: bool | None = None
    """Whether the server leaves out the second that is asked for as the end.

    True once a row of it did not come again, which may have moved; False for good once one came.
    """
    start_excluded: bool | None = None
    """The same of the start."""
    disordered: bool = False
    """Whether an answer was in no order of time."""
    unfiltered: bool = False
    """Whether an answer held rows outside the range that was asked for."""
    pace: Pace = Factory(Pace)
    _runs: set[tuple[bool, bool]] = Factory(set)
    """How time and id run from one row to the next, in pages that are in order of time."""

    def fresh(self) -> Evidence:
        """Return what the next stream or poll begins with: nothing but the pace."""
        return Evidence(pace=self.pace)

    @property
    def falls(self) -> bool:
        """Whether every answer so far was in order of time, from new to old."""
        return not self.disordered and all(falls for falls, _ in self._runs)

    @property
    def is_as_promised(self) -> bool:
        """Whether the dialect promises answers from new to old, and none showed anything else."""
        return self.promises_falling and self.falls

    @property
    def can_count(self) -> bool:
        """Whether rows can be counted by `offset`, as far as is known."""
        if self.honours_offset is None:
            return self.capped is not False
        return self.honours_offset

    @property
    def sorts_by_time(self) -> bool:
        """Whether answers were so where their ids were in no order."""
        return self.falls and len(self._runs) > 1

    @property
    def is_mixed(self) -> bool:
        """Whether answers ran both ways, or neither: rows may be left out anywhere."""
        return self.disordered or len({falls for falls, _ in self._runs}) > 1

    def looks_cut(self, rows: int) -> bool:
        """Tell whether it is likely that more rows follow an answer of so many."""
        return self.capped is not False and rows >= self.page

    def was_cut(self, rows: int) -> None:
        """Note that an answer of so many rows had been cut."""
        self.capped, self.page = True, max(2, min(self.page, rows))

    def learn_order(self, order: TimeOrder, ids: Sequence[int], seconds: Sequence[int]) -> None:
        """Note how the ids run in a page that is in order of time."""
        if order is TimeOrder.NONE:
            self.disordered = self.disordered or bool(ids)
        elif len(self._runs) < 4:
            for (one, second), (other, later) in pairwise(zip(ids, seconds, strict=True)):
                if second != later and one != other:
                    self._runs.add((second > later, one > other))


def order_of(seconds: Sequence[int]) -> TimeOrder:
    """Return how the seconds of a page run."""
    if not seconds:
        return TimeOrder.NONE
    if seconds[0] == seconds[-1] and min(seconds) == max(seconds):
        return TimeOrder.ONE_SECOND
    if all(map(ge, seconds, seconds[1:])):
        return TimeOrder.FALLING
    return TimeOrder.RISING if all(map(le, seconds, seconds[1:])) else TimeOrder.NONE

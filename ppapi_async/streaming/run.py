"""One run of a stream: what is being read, and how far its consumer has come."""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

from attrs import Factory, define, field

from ppapi_async.models import Row
from ppapi_async.storage import Checkpoint
from ppapi_async.streaming.planner import Plan, Segment
from ppapi_async.streaming.position import Identity, Position, Told

__all__ = ["Run"]

RowT = TypeVar("RowT", bound=Row)


@define(eq=False)
class Run(Generic[RowT]):
    """The state of a stream under way, resumed from its checkpoint if it has one."""

    identity: Identity
    checkpoint: Checkpoint | None
    now: int
    """The present by the site's clock when the stream first began, over all resumptions."""
    may_meet_again: bool
    """Whether rows move, so that one already handed out may come once more."""
    told: Told = Factory(Told)
    plan: Plan[RowT] = field(init=False)
    cursor: int | None = None
    rows: int = 0
    covered: int = 0
    """Seconds."""
    tasks: dict[Segment[RowT], asyncio.Task[None]] = Factory(dict)
    handing_out: list[RowT] = Factory(list)
    handed_out: int = 0
    _segment: Segment[RowT] | None = None
    _newest: int | None = None
    _resumed: bool = False

    def __attrs_post_init__(self) -> None:
        self.cursor = self.identity.start
        saved = None if self.checkpoint is None else self.checkpoint.load()
        if saved is None:
            return
        position = Position.parse(saved, self.identity)
        self.cursor, self.rows = position.cursor, position.rows
        self.now = min(self.now, position.now)
        self.told.unpack(position.told, position.rows)
        self._resumed = True

    def may_repeat(self, segment: Segment[RowT]) -> bool:
        """Whether rows of the segment may have been handed out already."""
        if self._resumed:
            return True
        # Another look begins at the newest row, however long ago that was; and an older window may
        # have been read before a row moved from it to a newer one, which is handed out first.
        again = segment.again or self.plan.newest_first
        return self.may_meet_again and (again or self.plan.is_live(segment))

    @property
    def fraction(self) -> float | None:
        """How much of the range is done, 0 to 1; None where its beginning is not known."""
        if self.identity.start is None:
            return None
        if self.plan.done:
            return 1.0
        end = self.now if self.identity.end is None else self.identity.end
        return min(1.0, self.covered / max(1, end - self.identity.start + 1))

    def begin_window(self, segment: Segment[RowT], newest: int | None) -> None:
        """Start to hand out a window; `newest` is the second of its latest row not dated ahead."""
        self._segment = segment
        width = segment.width
        if width is None and segment.start is not None:
            width = self.now - segment.start + 1
        if not segment.again:
            self.covered += max(0, width or 0)
        if newest is not None:
            self._newest = newest if self._newest is None else max(newest, self._newest)

    def end_window(self) -> None:
        """Count the window as handed out, and save the position."""
        self._count()
        self._segment = None
        self.save()

    def save(self) -> None:
        """Save the position, in the middle of a window or between two."""
        self._count()
        if self.checkpoint is None:
            return
        finished = self._segment is None and self.plan.done
        position = Position(self._next_second(), self.now, self.rows, self.told.pack(), finished)
        self.checkpoint.save(position.dump(self.identity))

    def leave(self, handed_out: int) -> None:
        """Save the position for the last time; from now on it is another stream's to save.

        Args:
            handed_out: how many rows of the window that is being handed out.
        """
        self.handed_out = handed_out
        try:
            self.save()
        finally:
            self.checkpoint = None

    def _count(self) -> None:
        """Count the rows that the consumer has got."""
        got = self.handing_out[: self.handed_out]
        if self.may_meet_again or self.checkpoint is not None:
            self.told.add(row.id for row in got)
        self.rows += len(got)
        self.handing_out, self.handed_out = self.handing_out[len(got) :], 0

    def _next_second(self) -> int | None:
        """Return where to go on: at the window being handed out, else at the one after it.

        What is dated ahead moves nothing: all that comes from now on lies before it.
        """
        if self._segment is not None and not self._segment.ahead:
            return self._segment.start
        if self._segment is None and not self.plan.done:
            head = self.plan.segments[0] if self.plan.segments else None
            if head is None or not head.ahead:
                return self.plan.next_second
        end = self.identity.end
        if end is not None and not self.plan.is_live(Segment(None, end)):
            return end + 1
        return self.cursor if self._newest is None else self._newest

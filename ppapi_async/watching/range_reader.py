"""Reads all rows from a second to the present: by a request or two if that is enough, as a stream.

The watch of an account and the mirror read in this way, poll after poll.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime
from typing import Generic, TypeVar

from attrs import define, evolve, field

from ppapi_async.models import Row, UnreadableRow, Window
from ppapi_async.protocol.evidence import Evidence
from ppapi_async.protocol.site_clock import ClockCheck
from ppapi_async.streaming.stream import Options, Request, Stream
from ppapi_async.transport.client import Transport
from ppapi_async.watching.fast_poll import FastPoll, Unchanged
from ppapi_async.watching.poll_slots import TakeSlot
from ppapi_async.watching.tracker import WRONG_ZONE

__all__ = ["RangeReader", "newest_of"]

RowT = TypeVar("RowT", bound=Row)
_log = logging.getLogger("ppapi_async")
_MOST_AHEAD = 2 * 86_400
"""Seconds by which a server's clock is believed to be ahead of this machine's."""


@define(eq=False, kw_only=True)
class RangeReader(Generic[RowT]):
    """Reads the rows of one method of one account, from a second on.

    Args:
        repeats: whether a row that is met again, changed, while a stream runs is handed out again.
        clock_check: sees whether rows are dated ahead of the server's own clock.
        take_slot: makes what is held while a window is read and delivered.
        on_unreadable: told of each row that cannot be read; the rows beside it come all the same.
    """

    transport: Transport
    evidence: Evidence
    request: Request[RowT]
    page_size: int
    clock_check: ClockCheck
    on_unreadable: Callable[[UnreadableRow], object]
    repeats: bool = False
    take_slot: TakeSlot = contextlib.nullcontext
    fast_poll: FastPoll[RowT] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.fast_poll = FastPoll(self.transport, self.evidence, self.request, self.page_size)

    def now(self) -> int:
        """Return the present by this machine's clock."""
        return int(self.transport.hooks.clock())

    def present(self) -> int:
        """Return the present as far as both clocks agree: what is later may not have been yet."""
        return int(min(self.transport.hooks.clock(), self.transport.server_time()))

    def end(self) -> datetime:
        """Return what no row of the present lies after, whatever is wrong with clocks and zone.

        A site that has rows of a hundred years to come would keep a poll going for ever.
        """
        ahead = min(max(0.0, self.transport.clock_ahead or 0.0), _MOST_AHEAD)
        return datetime.fromtimestamp(self.now() + ahead + WRONG_ZONE, UTC)

    async def read(self, start: int, depth: int) -> AsyncGenerator[Window[RowT] | Unchanged, None]:
        """Yield the rows from a second to `end()`; `Unchanged` where nothing has.

        The window of a fast poll has `requests` of 0, and no end.

        Args:
            start: from which second, true and by unix time.
            depth: how far back that is, in seconds.

        Raises:
            PPAPIError: as a stream does.
        """
        first, end = datetime.fromtimestamp(start, UTC), self.end()
        async with self.take_slot() as slot:
            found = await self.fast_poll.read(first, end, depth)
            if slot is not None:
                slot.end_reading()
            if isinstance(found, Unchanged):
                yield found
                return
            if found is not None:
                for row in found.unreadable:
                    self.on_unreadable(row)
                window = Window(first, None, found.rows, 0)
                self._check_clock(window)
                yield window
                return
        async with contextlib.aclosing(self.read_stream(first, end)) as windows:
            async for window in windows:
                yield window

    async def read_stream(
        self, start: datetime | None, end: datetime | None
    ) -> AsyncGenerator[Window[RowT], None]:
        """Yield the windows of a stream, each with a slot held.

        Raises:
            PPAPIError: as a stream does.
        """
        request = evolve(self.request, start=start, end=end)
        options = Options(on_unreadable=self.on_unreadable, repeats=self.repeats)
        stream = Stream(self.transport, self.evidence, request, self.page_size, options)
        async with contextlib.aclosing(stream.read()) as windows:
            while True:
                async with self.take_slot() as slot:
                    window = await anext(windows, None)
                    if window is None:
                        return
                    if slot is not None:
                        slot.end_reading()
                    self._check_clock(window)
                    yield window

    def _check_clock(self, window: Window[RowT]) -> None:
        """Warn if rows are dated ahead of the server's own clock: then the zone is wrong."""
        newest = newest_of(window)
        if newest is None or self.transport.clock_ahead is None:
            return
        warning = self.clock_check.see(newest, self.transport.server_time())
        if warning is not None:
            _log.warning("%s: %s", self.transport.account.name, warning)


def newest_of(window: Window[RowT]) -> int | None:
    """Return the second of the newest row, None without any."""
    return int(window.records[-1].time.timestamp()) if window.records else None

"""A whole range: which windows to read, in which order, and how wide.

The range is a row of segments. An *elastic* one is still to be cut into windows; windows are cut
off its near end, as wide as recent ones suggest. A window that turns out too large goes back, one
of which only the newer part was read keeps that part and returns the rest. Rows dated ahead of the
site's clock, by more than a wrong time zone can make, are a part of their own that is read last and
not for ever: a site may have one a second until the end of time. Pure: nothing waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from datetime import datetime
from itertools import takewhile
from typing import Generic, TypeVar

from attrs import Factory, define, evolve, field, frozen

from ppapi_async.models import UnreadableRow
from ppapi_async.protocol.evidence import Evidence
from ppapi_async.streaming.counting import Key, Query
from ppapi_async.streaming.window_reader import WindowRead

__all__ = ["LIVE", "BeingRead", "Complete", "Plan", "Segment", "Unread"]

HeldT = TypeVar("HeldT")
DAY = 86_400
LIVE = 26 * 3600
"""Seconds that a site's clock may be off: a wrong time zone, either way."""
_FIRST_REACH = 1024 * DAY  # how far back the search for the first row goes at first
_ROWS_OF_UNCAPPED = 2000  # aimed for in an answer: under a megabyte
_PAGES_OF_CAPPED = 13.6  # aimed for in a window: it ends with a part of a page, and a count
_MOST_PAGES = 16  # before a window that turned out large is cut where it stands
_FIRST_PAGES = 12  # the same, for the first look at the whole range
_TOO_MANY_PAGES = 32  # of a window that cannot be cut where it stands
_PAGES_AHEAD = 16  # of what is dated ahead
_ROWS_OF_OVERLAP = 3  # aimed for, with the window before; and the most
_MOST_KEPT = 4  # parts read ahead that wait for older ones
_FIRST_WINDOWS = 1  # how far back the search goes at first, once the density is known
_GROWTH = 4
_PIECES = 8  # that a window too large for one answer is cut into


@frozen
class Unread:
    """Still to be asked for, or to be cut into windows first."""

    searching: bool = False
    """Whether its rows begin nobody knows where: look far back first, not window by window."""
    seen: int | None = None
    """While searching: a second of which it is known that rows lie before it; else its end."""
    widest: int | None = None
    """Seconds that a window of this span may have, since a wider one was too large."""


@frozen
class BeingRead:
    """A window that is being read."""

    most_pages: int | None = None
    """Requests after which the reading stops where it is; None: reads to the end."""
    before: Unread = Unread()
    """What it was, and is again when it is given back."""


@define
class Complete(Generic[HeldT]):
    """A window that was read and proven."""

    rows: dict[int, HeldT] = field(repr=False)
    seconds: Mapping[int, int] = field(repr=False)
    """Where each of them lies."""
    unreadable: dict[Key, UnreadableRow]


@define(eq=False)
class Segment(Generic[HeldT]):
    """A span of inclusive wire seconds; None is an open end."""

    start: int | None
    end: int | None
    state: Unread | BeingRead | Complete[HeldT] = Unread()
    again: bool = False
    """Whether this is another look at the live edge."""
    ahead: bool = False
    """Whether it is what is dated ahead of the site's clock, if anything is."""
    requests: int = 0

    @property
    def complete(self) -> Complete[HeldT]:
        """What has come of it.

        Raises:
            TypeError: it is not complete.
        """
        if not isinstance(self.state, Complete):
            raise TypeError("segment: is not complete")
        return self.state

    @property
    def width(self) -> int | None:
        """Seconds; None with an open end."""
        if self.start is None or self.end is None:
            return None
        return self.end - self.start + 1


@define
class Plan(Generic[HeldT]):
    """Decides what to read; whoever drives it reports what came of it.

    Args:
        start, end: the range in inclusive wire seconds, None for open.
        now: the present by the site's clock, as far as we know it.
        evidence: what is known of the server.
        window: a fixed width in seconds; None adapts.
        newest_first: hand out from new to old.
        rows_move: whether rows may move to the present meanwhile.
        jump: seconds that the site's clock may be set back about now (daylight saving).
        horizon: the latest second that is no more ahead than a wrong zone can make.
        ahead: whether to read what is dated later than that.
        second_of: tells the wire second of a row that could be read no further than its time.
    """

    start: int | None
    end: int | None
    now: int = field(kw_only=True)
    evidence: Evidence = field(kw_only=True)
    window: int | None = field(default=None, kw_only=True)
    newest_first: bool = field(default=False, kw_only=True)
    rows_move: bool = field(default=True, kw_only=True)
    jump: int = field(default=0, kw_only=True)
    horizon: int = field(
        default=Factory(lambda self: self.now + LIVE, takes_self=True), kw_only=True
    )
    ahead: bool = field(default=True, kw_only=True)
    second_of: Callable[[datetime], int] | None = field(default=None, kw_only=True)
    segments: deque[Segment[HeldT]] = Factory(deque)
    """From old to new."""
    _width: int = DAY
    _reach: int = _FIRST_REACH
    _looked: bool = False
    """Whether the first look at the whole range is over."""
    _narrow: bool = False
    """Whether a window has been too large: from then on, none is asked for without bounds."""
    _relook: int | None = None
    _edge: int | None = None
    """Where the live edge is asked for with a bound, since rows are dated later than that."""
    _seam: tuple[int, int] | None = None
    """Where the last window ended that had rows, and the second of its newest one."""

    def __attrs_post_init__(self) -> None:
        if self.end is None or self.start is None or self.start <= self.end:
            self.segments.append(Segment(self.start, self.end))
        self._width = self.window or self._first_width()

    @property
    def done(self) -> bool:
        """Whether every window has been read and handed out."""
        return not self.segments and self._relook is None

    @property
    def next_second(self) -> int | None:
        """Where the part begins that has not been handed out (oldest first)."""
        return self.segments[0].start if self.segments else self._relook

    @property
    def waiting(self) -> int:
        """Complete windows that are held back only by such as are being read."""
        order = reversed(self.segments) if self.newest_first else self.segments
        planned = takewhile(lambda segment: not isinstance(segment.state, Unread), order)
        return sum(isinstance(segment.state, Complete) for segment in planned)

    def take(self) -> Segment[HeldT] | None:
        """Return the next window to read; None while it has to wait for those under way."""
        reading = any(isinstance(segment.state, BeingRead) for segment in self.segments)
        if not self.segments and self._relook is not None:
            end = self._edge if self.end is None else self.end
            self.segments.append(Segment(self._relook, end, again=True))
            self._relook = None
        order = reversed(self.segments) if self.newest_first else self.segments
        for segment in order:
            if isinstance(segment.state, Unread):
                window = self._cut(segment, segment.state)
                if reading and not self.newest_first and self.is_live(window):
                    # Rows may move from what is being read to the present: that is read last.
                    self._give_back(window)
                    return None
                return window
        return None

    def read(self, segment: Segment[HeldT]) -> WindowRead[HeldT]:
        """Return the reading of a window that was taken."""
        return WindowRead(
            self.evidence,
            segment.start,
            segment.end,
            reach=self._reach_of(segment),
            latest=self.horizon,
            second_of=self.second_of,
        )

    def _reach_of(self, segment: Segment[HeldT]) -> int | None:
        """Return where to begin to ask, so that a row older than the window is likely to come."""
        start, rate = segment.start, self.evidence.pace.rate
        if start is None:
            return None
        if self._seam is not None and self._seam[0] == start:
            return self._seam[1]
        # Where counting is possible it costs no more than what would be read twice.
        if self.evidence.capped is not False or not rate or self._narrow:
            return None
        return max(start - int(_ROWS_OF_OVERLAP / rate) - 1, start - DAY)

    def ask(self, segment: Segment[HeldT], read: WindowRead[HeldT]) -> Query | None:
        """Return what to ask next; None where the window is done with.

        Then it is complete, or cut where it stands, or given back, and the next one is to be
        taken; or `read.unproven` says what cannot be proven.
        """
        if self._reaches_ahead(segment, read):
            self._split_ahead(segment)
            return None
        if read.closed:
            self.part(segment, read)
            return None
        if segment.ahead and read.requests >= _PAGES_AHEAD and read.query is not None:
            read.give_up()
        if read.query is None:
            if not read.unproven:
                self.finish(segment, read)
            return None
        if self.is_enough(segment, read) and (not self._is_worth_keeping(segment) or read.close()):
            self.part(segment, read)
            return None
        may_shrink = _most_pages(segment) is not None and not self.evidence.unfiltered
        if read.pages > _TOO_MANY_PAGES and may_shrink and self.shrink(segment):
            return None
        return read.query

    def _reaches_ahead(self, segment: Segment[HeldT], read: WindowRead[HeldT]) -> bool:
        """Tell whether rows came that are dated ahead, where the present was asked for."""
        if segment.end is not None or segment.ahead or read.came.newest is None:
            return False
        return read.came.newest > self.horizon

    def _split_ahead(self, segment: Segment[HeldT]) -> None:
        """Give the window back, with an end; what is dated ahead is read last, and once."""
        first = self._edge is None
        self._edge = self.horizon
        if segment.start is not None and segment.start > self.horizon:
            segment.ahead = True  # it has a bound of its own
        else:
            segment.end = self.horizon
        segment.state = _before(segment)
        if first and self.ahead and not segment.ahead:
            beyond: Segment[HeldT] = Segment(self.horizon + 1, None, ahead=True)
            self.segments.insert(self.segments.index(segment) + 1, beyond)
        elif segment.ahead and not (first and self.ahead):
            self.segments.remove(segment)

    def is_live(self, segment: Segment[HeldT]) -> bool:
        """Whether rows may appear in the segment while it is being read."""
        return segment.end is None or segment.end >= self.now - LIVE

    def finish(self, segment: Segment[HeldT], read: WindowRead[HeldT]) -> None:
        """Take the window as complete."""
        self._adapt(segment, len(read.rows))
        self._settle(segment, read)
        may_have_moved = read.requests > 1 and not read.is_current
        if may_have_moved or (self.newest_first and len(self.segments) > 1):
            self._look_again(segment, read)

    def is_enough(self, segment: Segment[HeldT], read: WindowRead[HeldT]) -> bool:
        """Whether to leave the window where it stands, its newer part read: call `part` then."""
        most_pages = _most_pages(segment)
        if most_pages is None or read.rest is None:
            return False
        if read.pages >= most_pages:
            return True
        if segment.start is None or _before(segment).searching or self._can_keep:
            return False
        # What is read could not be kept: better to see early that there is far too much.
        edge = read.rest[1]
        pages = (edge - segment.start) * read.pages / max(1, self._top(segment) - edge)
        return pages > most_pages

    @property
    def _can_keep(self) -> bool:
        return (
            self.newest_first
            or not self._looked
            or sum(isinstance(s.state, Complete) for s in self.segments) < _MOST_KEPT
        )

    def part(self, segment: Segment[HeldT], read: WindowRead[HeldT]) -> None:
        """Take the newer part of the window as complete, if it was proven.

        Its `rest` is to be read again; or all of it, where the newer part is not worth keeping.
        """
        if read.rest is None:
            raise ValueError("read: has no rest that could be left")
        edge = read.rest[1]
        read.stop()
        self._follow_rate(len(read.rows), self._top(segment) - edge)
        if read.closed:
            state = Unread(searching=self.window is None and not self.newest_first)
            older: Segment[HeldT] = Segment(segment.start, edge, state, again=segment.again)
            self.segments.insert(self.segments.index(segment), older)
            segment.start = edge + 1
            self._reach = _FIRST_WINDOWS * self._width
            self._settle(segment, read)
            self._look_again(segment, read)
        else:
            width = None if _before(segment).searching else segment.width
            if self.window is None and width is not None and self._width > width // 2:
                self._width = max(1, width // _PIECES)  # or the same would be read again
            segment.requests += read.requests
            self._give_back(segment, seen=edge)
        self._looked = True

    def _is_worth_keeping(self, segment: Segment[HeldT]) -> bool:
        """Whether to hold the newer part in memory until the older one has been read."""
        in_search = segment.start is None or _before(segment).searching
        if in_search and self._looked and not self.newest_first:
            self._reach *= 2  # still in search of the first row: go back further
            return False
        return self._can_keep

    def _give_back(self, segment: Segment[HeldT], *, seen: int | None = None) -> None:
        """Leave a window unread, and make one segment of it and what it was cut off."""
        state, index = _before(segment), self.segments.index(segment) + 1
        if index < len(self.segments) and not self.segments[index].ahead:
            newer = self.segments[index]
            if isinstance(newer.state, Unread):
                segment.end = newer.end
                state = evolve(state, seen=newer.state.seen, widest=newer.state.widest)
                del self.segments[index]
        segment.state = state if seen is None else evolve(state, seen=seen)

    def shrink(self, segment: Segment[HeldT], times: int = 1) -> bool:
        """Give back a window that brings too much at once; False where it cannot be narrower.

        It is narrowed so many `times` over: a server that fails is not asked too often.
        """
        top, bottom = self._top(segment), 1 if segment.start is None else segment.start
        if top <= bottom:
            return False
        if segment.start is None:
            self._reach *= _GROWTH
        elif segment.end is None:  # what is narrowed has an end, or it would stay narrow for ever
            rest: Segment[HeldT] = Segment(self.now, None, again=segment.again)
            self.segments.insert(self.segments.index(segment) + 1, rest)
            segment.end = self.now - 1
        pieces = _PIECES**times
        widest = max(1, (top - bottom) // pieces)
        self._width = max(1, min(widest, self._width // pieces))
        self._looked = self._narrow = True
        self._seam = None  # what is read twice may be what is too much
        segment.state = evolve(_before(segment), widest=widest)
        return True

    def pop(self) -> Segment[HeldT] | None:
        """Return the next complete window in the order of the stream, None while it is not."""
        if not self.segments:
            return None
        index = -1 if self.newest_first else 0
        if not isinstance(self.segments[index].state, Complete):
            return None
        return self.segments.pop() if self.newest_first else self.segments.popleft()

    def _settle(self, segment: Segment[HeldT], read: WindowRead[HeldT]) -> None:
        if segment.end is not None:
            self._remember_seam(segment, read)
        segment.requests += read.requests
        segment.state = Complete(read.rows, read.came.places, read.unreadable)

    def _remember_seam(self, segment: Segment[HeldT], read: WindowRead[HeldT]) -> None:
        """Note a row that the next window can begin at."""
        second, seam = (segment.end or 0) + 1, self._seam
        self._seam = None
        if read.came.newest_inside is not None:
            if read.came.rows_at(read.came.newest_inside) <= _ROWS_OF_OVERLAP:
                self._seam = (second, read.came.newest_inside)
        elif seam is not None and seam[0] == segment.start:
            self._seam = (second, seam[1])

    def _look_again(self, segment: Segment[HeldT], read: WindowRead[HeldT]) -> None:
        """Ask once more, at the end, for what came or moved since the first answer."""
        newest = None if read.came.first_newest is None else read.came.first_newest - self.jump
        known = (second for second in (segment.start, newest) if second is not None)
        since = max(known, default=None)
        if segment.again and since == segment.start:
            return  # the second in which it ended before is still the newest
        if self.rows_move and self.is_live(segment) and since is not None:
            self._relook = since if self._relook is None else min(since, self._relook)

    # How wide

    def _first_width(self) -> int:
        if self.evidence.pace.rate:
            return max(3600, int(self._target() / self.evidence.pace.rate / 1.2))
        if self.start is None:
            return DAY
        return max(DAY, ((self.end or self.now) - self.start) // 64)

    def _target(self) -> int:
        """Rows to aim for in a window."""
        if self.evidence.capped:
            return int(_PAGES_OF_CAPPED * self.evidence.page)
        return _ROWS_OF_UNCAPPED

    def _adapt(self, segment: Segment[HeldT], rows: int) -> None:
        width = segment.width
        if self.window is not None:
            self._width = min(self.window, self._width * _GROWTH)  # it may have been narrowed
        if self.window is not None or width is None or _before(segment).searching:
            return
        # Too wide a window costs a capped server no more than a page.
        growth = _GROWTH if rows or not self.evidence.capped else _GROWTH * _GROWTH
        wanted = self._target() * width // rows if rows else width * growth
        wanted = max(width // _PIECES, 1, min(wanted, max(width, self._width) * growth))
        # A window cut short by the end of the range says nothing against wider ones.
        self._width = wanted if width >= self._width or wanted < self._width else self._width
        if rows:
            self.evidence.pace.rate = rows / width

    def _follow_rate(self, rows: int, seconds: int) -> None:
        """Size the next windows by the density of what was just read."""
        if rows and seconds > 0 and self.window is None:
            self.evidence.pace.rate = rows / seconds
            self._width = max(1, int(self._target() / self.evidence.pace.rate / 1.2))

    # Where to cut

    def _top(self, segment: Segment[HeldT]) -> int:
        return self.now if segment.end is None else segment.end

    def _cut(self, segment: Segment[HeldT], state: Unread) -> Segment[HeldT]:
        """Cut the next window off a segment that is not read; return it as being read."""
        if segment.ahead:
            return _begin(segment, None)
        if self._reads_on():
            return _begin(segment, _MOST_PAGES if self._looked else _FIRST_PAGES)
        if self.newest_first:
            return self._cut_newest(segment, state)
        start, end = segment.start, segment.end
        width = self._width if state.widest is None else min(self._width, state.widest)
        limit = self.now if end is None else end
        searching, last = self._search(segment, state, width)
        if start is not None:
            segment.state = evolve(state, searching=searching)
        most_pages = None if self.window else _MOST_PAGES
        if last >= limit or (not searching and limit - last < width // 4):
            return _begin(segment, most_pages if limit > 1 else None)
        at_bottom = start is None and not searching
        window: Segment[HeldT] = Segment(start, last, Unread(searching), again=segment.again)
        segment.start = last + 1
        self.segments.insert(self.segments.index(segment), window)
        return _begin(window, 1 if searching else None if at_bottom else most_pages)

    def _search(self, segment: Segment[HeldT], state: Unread, width: int) -> tuple[bool, int]:
        """Return whether the first row is still searched for, and where to cut.

        First ever further back from what is known to hold rows, then halving what is left.
        """
        start = segment.start
        seen = self._top(segment) if state.seen is None else state.seen
        if start is None:
            # Before second 1 nothing can be asked for: what lies there is read to its end.
            last = max(1, seen - self._reach)
            return last > 1, last
        if not state.searching or seen - start < 2 * width:
            return False, start + width - 1
        return True, max(seen - self._reach, (start + seen) // 2)

    def _reads_on(self) -> bool:
        """Whether to ask for all of the segment: where a capped server pages it down by itself."""
        if self.evidence.unfiltered:
            return True  # every answer is the same: one reading must do
        evidence = self.evidence
        pages_down = evidence.capped and evidence.promises_falling and not evidence.disordered
        pages_down = pages_down and not self._narrow
        if self.window is not None or not pages_down:
            return False
        return self.newest_first or not self._looked

    def _cut_newest(self, segment: Segment[HeldT], state: Unread) -> Segment[HeldT]:
        end = self._top(segment)
        width = self._width if state.widest is None else min(self._width, state.widest)
        first = end - width + 1
        floor = 0 if segment.start is None else segment.start
        if first - floor < width // 4:
            return _begin(segment, None)
        window: Segment[HeldT] = Segment(first, segment.end, again=segment.again)
        segment.end = first - 1
        self.segments.insert(self.segments.index(segment) + 1, window)
        return _begin(window, None)


def _begin(segment: Segment[HeldT], most_pages: int | None) -> Segment[HeldT]:
    segment.state = BeingRead(most_pages, _before(segment))
    return segment


def _before(segment: Segment[HeldT]) -> Unread:
    """Return what a segment is, or was before it was read."""
    state = segment.state
    if isinstance(state, Complete):
        raise TypeError("segment: is complete")
    return state.before if isinstance(state, BeingRead) else state


def _most_pages(segment: Segment[HeldT]) -> int | None:
    return segment.state.most_pages if isinstance(segment.state, BeingRead) else None

"""What a watch has delivered of one method of one account, and what the rows of a poll are then.

A poll reads from some second to the present. The tracker knows every row that was delivered since
`floor`, so a row it does not know is new, and one it knows otherwise has changed. What is left to
decide is how far back each poll reads.

The rule. A row of age A is read again at least every max(interval, A / 8), and at least every six
hours, back to `lookback`. Nothing that can change is taken for settled: not the exchanges of a
site whose filter goes by the last edit either, since an operator may set `accrued` and
`partner_reward` there without moving it. Only a click (`Link`) is settled once delivered: it is
read again for a little over an hour, and once a day, for such as come late.

How. There are levels. Level 0 is read by every poll, level k every `interval` times 2 to the power
of k, the last one every six hours and back to `lookback`. A poll reads back to the deepest level
that is due, in one go, and so serves all the levels above it. With regular polls that is the ruler
sequence: poll number n reads back by the highest power of two in n. A level is due by the time of
the last read that got as far and ended well, which is saved, and not by a count of polls: so
failed polls and restarts only put off what is due, and the first poll that works makes up for all
of it.

Why it holds. Let `gap` be the longest time from one poll to the next, jitter included. The periods
of a level lie on a fixed grid, and it is read by the first poll after half an interval before each
line of the grid. So from one read of level k to the next it takes less than period(k) + gap. Level
k serves the ages up to 8 * (period(k + 1) + gap), so what it leaves to level k + 1 is old enough
to wait for that. A row is a little older when it is read than it was when it changed, by period(k)
+ gap at the most, and so much further than the ages it serves a level reads back. How long polls
themselves take comes on top, and while polls fail, nothing is delivered.

What it costs. Each level reads about twice as far as the one before it and half as often, so all
of them read the same in a day, and their number is the logarithm of `lookback` over the interval.
The grid is shifted for each watch by a phase of its own, so that thousands of accounts do not read
far back at one time. What is known is a number for each row of `lookback`, and its text in the
store; of half a million rows at the most, the newest.

All numbers are true unix seconds, as far as the account's zone is right. Ages count from the
newest row or from the present, whichever is earlier, so that a wrong zone loses nothing and delays
nothing: the rows of a site whose clock seems five hours slow are counted from where its clock is.
Where the newest row is more than a day old no zone explains that, and ages count from a day ago.
Pure: nothing waits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import Enum, auto

from attrs import define, evolve, field, frozen
from attrs.validators import in_

from ppapi_async.models import Row
from ppapi_async.protocol.site_clock import SiteClock

__all__ = [
    "PERIOD",
    "WRONG_ZONE",
    "Level",
    "PollRange",
    "Schedule",
    "Tracker",
    "Verdict",
    "WatchPosition",
]

_VERSION = 2
_UNDERSTOOD = (1, _VERSION)
"""Version 1 had no `reads`: all of `lookback` is read at once, and then by the rule."""
_LATE = 70 * 60
"""Rows may come late (servers look countries up for half a minute, with the time of before), and a
clock that we take to be without daylight saving may go back an hour."""
WRONG_ZONE = 27 * 3600
"""Seconds by which all times may be off if the account's zone is wrong."""
_DAY = 86_400
PERIOD = 6 * 3600
"""Seconds after which all of `lookback` is read again."""
_SHARE = 8  # a change of a row of age A is delivered within A / 8
_JITTER = 1.1
"""Intervals from one poll to the next at the most, see `pacing.after_success`."""
_SAVED_FROM = 16
"""Intervals: times of reads at levels of shorter periods are not worth a write to the store."""
_MOST_KNOWN = 500_000
"""Rows: some 55 MB of memory, a quarter of a gigabyte in the store."""
_DIGEST = 61  # bits
_MASK = (1 << _DIGEST) - 1


def _digest(text: str) -> int:
    return hash(text) & _MASK | 1


@frozen
class Level:
    """How often polls read how far back."""

    period: float
    """Seconds from one such read to the next; 0: every poll."""
    depth: int
    """Seconds."""


@frozen
class Schedule:
    """Which level a poll reads; see the head of this module.

    Args:
        levels: from shallow to deep.
        interval: from one poll to the next, in seconds.
        phase: seconds by which the grid is shifted.
    """

    levels: tuple[Level, ...]
    interval: float
    phase: float = 0.0

    @classmethod
    def of_changing(cls, interval: float, lookback: float, phase: float = 0.0) -> Schedule:
        """Return the schedule for rows that may change until `lookback`."""
        gap = _JITTER * interval
        longest = PERIOD - gap
        levels: list[Level] = []
        period, between = 0.0, gap  # from one read of the level to the next
        following = min(2 * interval, longest)
        while following > interval and (serves := _SHARE * (following + gap)) < lookback:
            levels.append(Level(period, math.ceil(serves + between)))
            if following >= longest:
                period, between, following = longest, PERIOD, 0.0
            else:
                period, between = following, following + gap
                following = min(2 * following, longest)
        levels.append(Level(period, math.ceil(lookback + between)))
        return cls(tuple(levels), interval, phase)

    @classmethod
    def of_settled(cls, interval: float, lookback: float, phase: float = 0.0) -> Schedule:
        """Return the schedule for rows that never change: they may only come late."""
        deep = Level(float(_DAY), max(_LATE, math.ceil(lookback)))
        return cls((Level(0.0, _LATE), deep), interval, phase)

    def due(self, now: int, reads: Sequence[tuple[int, int]]) -> Level:
        """Return the deepest level that is due.

        Args:
            now: the present.
            reads: `(depth, time)` of what has been read.
        """
        for level in reversed(self.levels):
            last = max((time for depth, time in reads if depth >= level.depth), default=None)
            # A clock that was set back says nothing of how long ago that is.
            if last is None or last > now or self._cell(last, level) < self._cell(now, level):
                return level
        return self.levels[0]

    def _cell(self, now: int, level: Level) -> float:
        """Return the number of the grid's cell, one for each read of the level."""
        early = now + self.interval / 2 - self.phase
        return early // level.period if level.period else math.inf

    def keep(self, reads: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
        """Return those reads that are worth saving."""
        rare = (x.depth for x in self.levels if x.period >= _SAVED_FROM * self.interval)
        least = min(rare, default=self.levels[-1].depth)
        return tuple(read for read in reads if read[0] >= least)


class Verdict(Enum):
    """What a row of a poll is."""

    SAME = auto()
    """Delivered before, and no different."""
    PAST = auto()
    """From before the watch began: not to be delivered."""
    NEW = auto()
    DIFFERENT = auto()
    """Delivered before, and perhaps different: compare it with what was delivered."""
    OLD = auto()
    """Changed, but delivered too long ago to know how it was."""


@frozen(kw_only=True)
class WatchPosition:
    """How far a watch is: what is saved besides the rows."""

    start: int
    """Everything before it has been delivered: a poll reads at least from here."""
    floor: int
    """Every row since then that was delivered is known."""
    newest: int | None = None
    """The time of the newest row."""
    past_before: int | None = None
    """Unknown rows before this second are older than the watch; until its first poll is through."""
    old_id: int = 0
    """The highest id of an hour ago or more: a lower one that is not known is no new row."""
    recent_id: int = 0
    """The highest id when the two were moved up last."""
    moved_up: int = 0
    """When that was."""
    reads: tuple[tuple[int, int], ...] = ()
    """`(depth, time)`: when a poll began that read so far back and ended well, from deep to
    shallow; a poll that read further back serves what is less deep as well."""
    looked_to: int | None = None
    """How far the first look has come; None when it is over."""
    worked: bool = False
    """Whether a poll has ever read something."""
    host: str = ""
    """Where the site was."""

    version: int = field(default=_VERSION, validator=in_(_UNDERSTOOD))
    """Of this class's form."""


@frozen
class PollRange:
    """What one poll reads."""

    start: int
    """From this second to the present."""
    level: Level


@define
class Tracker:
    """Judges rows, says how far back to read, and moves up.

    Args:
        clock: the site's.
        schedule: how far back polls read.
        meets_old: whether a row that was delivered long ago may come again.
        position: where to begin.
    """

    clock: SiteClock
    schedule: Schedule
    meets_old: bool
    position: WatchPosition
    known: dict[int, int] = field(factory=dict)
    """By id, what is known of each row delivered: its second above a digest of its text, in one
    number, which takes a third of what a pair does. Digest 0: compare it in any case."""
    crowded: bool = False
    """Whether there are more rows in `lookback` than are kept: the oldest are followed no more."""
    _highest_id: int = 0
    _highest_past: int = 0
    """Of the rows from before the watch; they come first, the old ones that move come last."""

    # Beginning

    @classmethod
    def begin_now(cls, now: int, lookback: int) -> WatchPosition:
        """Return where a watch begins that delivers nothing of the past.

        First it looks at what is there, from `start` on: a row that comes later is newer than this,
        however wrong the zone.
        """
        start = now - WRONG_ZONE
        floor = min(start, now - lookback)
        return WatchPosition(start=start, floor=floor, past_before=start, looked_to=start)

    @classmethod
    def begin_at(cls, since: int) -> WatchPosition:
        """Return where a watch begins that delivers first what has happened since then."""
        return WatchPosition(start=since, floor=since)

    # Reading

    def plan(self, now: int, present: int) -> PollRange:
        """Return what the next poll reads.

        Args:
            now: the present by this machine's clock, which the schedule goes by.
            present: the same by the server's clock, as far as it is believed.
        """
        return self._range_of(present, self.schedule.due(now, self.position.reads))

    def plan_newest(self, present: int) -> PollRange:
        """Return what every poll reads."""
        return self._range_of(present, self.schedule.levels[0])

    def _range_of(self, present: int, level: Level) -> PollRange:
        position = self.position
        if level is self.schedule.levels[-1]:
            # After an outage that is further back: what changed in it was not too old by then.
            return PollRange(position.floor, level)
        start = min(position.start, self._reach(present, level.depth))
        return PollRange(max(position.floor, start), level)

    def _reach(self, present: int, depth: int) -> int:
        """Return the second from which rows are younger than this, as ages are counted."""
        newest = self.position.newest
        earliest = present - WRONG_ZONE
        anchor = earliest if newest is None else min(present, max(newest, earliest))
        jump = self.clock.jump(datetime.fromtimestamp(anchor, UTC)).total_seconds()
        return anchor - depth - int(jump)

    # Judging

    def judge(self, row: Row, text: str) -> Verdict:
        """Tell what a row of the poll is; `text` is the record in the form that is stored."""
        entry = self.known.get(row.id)
        if entry is not None:
            return Verdict.SAME if entry & _MASK == _digest(text) else Verdict.DIFFERENT
        past_before = self.position.past_before
        if past_before is not None and row.time.timestamp() < past_before:
            self._highest_past = max(self._highest_past, row.id)
            return Verdict.PAST
        if self.meets_old and row.id <= max(self.position.old_id, self._highest_past):
            return Verdict.OLD
        return Verdict.NEW

    def remember(self, row: Row, text: str) -> None:
        """Count a row as delivered."""
        self.known[row.id] = (int(row.time.timestamp()) << _DIGEST) + _digest(text)
        self._highest_id = max(self._highest_id, row.id)

    def doubt(self, row_id: int) -> None:
        """Have a row compared with what was delivered, whatever it shows."""
        if row_id in self.known:
            self.known[row_id] &= ~_MASK

    # Moving up

    def advance(self, present: int, read_to: int | None, newest: int | None) -> list[int]:
        """Move up, and return the ids that need no longer be known.

        Args:
            present: as for `plan`.
            read_to: all rows before it have been delivered; None: all there are.
            newest: the second of the newest row that was read, None without any.
        """
        position, levels = self.position, self.schedule.levels
        newest = max((n for n in (newest, position.newest) if n is not None), default=None)
        self.position = evolve(position, newest=newest, worked=True)
        near = self._reach(present, levels[0].depth)
        start = max(position.start, near if read_to is None else min(near, read_to))
        floor = max(position.floor, min(start, self._reach(present, levels[-1].depth)))
        if len(self.known) > _MOST_KNOWN:
            self.crowded = True
            kept = sorted(self.known.values())[-_MOST_KNOWN * 9 // 10 :]
            floor = max(floor, kept[0] >> _DIGEST)
        self.position = evolve(self.position, start=start, floor=floor)
        if floor == position.floor:
            return []
        dropped = [row_id for row_id, known in self.known.items() if known >> _DIGEST < floor]
        for row_id in dropped:
            del self.known[row_id]
        return dropped

    def end_poll(self, began: int, reading: PollRange) -> None:
        """Take a poll as complete that began then."""
        position = self.position
        deeper = tuple(read for read in position.reads if read[0] > reading.level.depth)
        position = evolve(position, reads=(*deeper, (reading.level.depth, began)))
        if position.past_before is not None:
            edge = position.past_before << _DIGEST
            old = (row_id for row_id, known in self.known.items() if known < edge)
            old_id = max(old, default=0)
            position = evolve(position, past_before=None, old_id=max(old_id, position.old_id))
        self.position = position
        if not 0 <= began - position.moved_up < _LATE:
            self._move_ids_up(position.recent_id, began)

    def look_on(self, read_to: int) -> None:
        """Count a part of the first look as done."""
        self.position = evolve(self.position, looked_to=read_to, worked=True)

    def end_first_look(self, now: int, present: int, newest: int | None) -> None:
        """Take all rows that are known as from before the watch."""
        self.position = evolve(self.position, looked_to=None)
        self.advance(present, self.position.start, newest)
        self._move_ids_up(self._highest_id, now)

    def _move_ids_up(self, old_id: int, now: int) -> None:
        old_id = max(old_id, self.position.old_id)
        self.position = evolve(
            self.position, old_id=old_id, recent_id=self._highest_id, moved_up=now
        )

    def to_save(self, host: str) -> WatchPosition:
        """Return the position as it is saved."""
        position = self.position
        reads = self.schedule.keep(position.reads)
        return evolve(position, reads=reads, host=host, version=_VERSION)

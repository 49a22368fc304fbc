"""What a watch has told of one method of one account, and what that makes of the rows of a poll.

A poll reads from `start` to the present, without an end. The ledger knows every row that was told
since `floor`, so a row it does not know is new, and one it knows otherwise has changed. After a
poll both move up: `start` to shortly before the newest row where rows are settled once told, to the
oldest row that may still change where they are not; `floor` to `lookback` before it.

When a row is settled:

- A click (`Link`) at once: nothing about it ever changes.
- An exchange of a server whose filter goes by the last change, at once: when it changes, it
  comes again by itself.
- Any other exchange, never before `lookback`: a reward that has accrued may be taken back, one that
  has not may still accrue.
- A payout, never before `lookback`: `time` does not move with its status, and operators may set any
  status by hand. There are few.

Once a day a poll reads from `floor` whatever is settled: so rows are found that came late, or with
an older time because somebody set the site's clock or zone back, or changed without a sign.

All numbers are true unix seconds, as far as the account's zone is right. The newest row is what
`start` goes by, not this machine's clock, so that a wrong zone loses nothing. Pure: nothing waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import Enum, auto

from attrs import define, evolve, field, frozen
from attrs.validators import in_

from ppapi_async.clock import SiteClock
from ppapi_async.models import Row

__all__ = ["Ledger", "Position", "Verdict"]

_VERSION = 1
_OVERLAP = 70 * 60
"""Rows may come late (servers look countries up for half a minute, with the time of before), and a
clock that we take to be without daylight saving may go back an hour."""
_WRONG_ZONE = 27 * 3600  # how far all times may be off, if the account's zone is wrong
_DAY = 86_400
_DIGEST = 61  # bits
_MASK = (1 << _DIGEST) - 1


def _digest(text: str) -> int:
    return hash(text) & _MASK | 1


class Verdict(Enum):
    """What a row of a poll is."""

    SAME = auto()
    """Told before, and no different."""
    PAST = auto()
    """From before the watch began: not to be told."""
    NEW = auto()
    DIFFERENT = auto()
    """Told before, and perhaps different: compare it with what was told."""
    OLD = auto()
    """Changed, but told too long ago to know how it was."""


@frozen(kw_only=True)
class Position:
    """How far a watch is: what is saved besides the rows."""

    start: int
    """The next poll reads from here."""
    floor: int
    """Every row since then that was told is known."""
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
    looked_back: int | None = None
    """When a poll read from the floor last; None if none has yet."""
    worked: bool = False
    """Whether a poll has ever read something."""

    version: int = field(default=_VERSION, validator=in_((_VERSION,)))
    """Of this class's form."""


@define
class Ledger:
    """Judges rows, and moves up.

    Args:
        clock: the site's.
        lookback: seconds.
        settles: whether rows are settled once told.
        meets_old: whether a row that was told long ago may come again.
        position: where to begin.
    """

    clock: SiteClock
    lookback: int
    settles: bool
    meets_old: bool
    position: Position
    known: dict[int, int] = field(factory=dict)
    """By id, what is known of each row told: its second above a digest of its text, in one number,
    which takes a third of what a pair does. Digest 0: compare it in any case."""
    _highest_id: int = 0
    _highest_past: int = 0
    """Of the rows from before the watch; they come first, the old ones that move come last."""

    @classmethod
    def first_look(cls, now: int) -> int:
        """Return from where to read, at the very beginning, what is already there.

        A row that comes later is newer than this, however wrong the zone.
        """
        return now - _WRONG_ZONE

    @classmethod
    def begin_now(cls, now: int, lookback: int) -> Position:
        """Return where a watch begins that tells nothing of the past."""
        start = cls.first_look(now)
        floor = min(start, now - lookback)
        return Position(start=floor, floor=floor, past_before=start)

    @classmethod
    def begin_at(cls, since: int, now: int) -> Position:
        """Return where a watch begins that tells first what has happened since then."""
        return Position(start=since, floor=since, looked_back=now)

    def poll_start(self, now: int) -> int:
        """Return from where the next poll reads."""
        position = self.position
        if position.looked_back is None or not 0 <= now - position.looked_back < _DAY:
            return position.floor
        if self.settles:
            return position.start
        oldest = min(self.known.values(), default=position.start << _DIGEST) >> _DIGEST
        return max(position.floor, min(oldest, position.start))

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
        """Count a row as told."""
        self.known[row.id] = (int(row.time.timestamp()) << _DIGEST) + _digest(text)
        self._highest_id = max(self._highest_id, row.id)

    def doubt(self, row_id: int) -> None:
        """Have a row compared with what was told, whatever it shows."""
        if row_id in self.known:
            self.known[row_id] &= ~_MASK

    @staticmethod
    def newest_of(rows: Sequence[Row], now: int) -> int | None:
        """Return the second of the newest row, but for such as lie in the future."""
        seconds = (int(row.time.timestamp()) for row in reversed(rows))
        return next((second for second in seconds if second <= now + _WRONG_ZONE), None)

    def advance(self, now: int, read_to: int | None, newest: int | None) -> list[int]:
        """Move up, and return the ids that need no longer be known.

        Args:
            now: the present.
            read_to: all rows before it have been told; None: all there are.
            newest: the second of the newest row that was read, None without any.
        """
        position = self.position
        newest = max((n for n in (newest, position.newest) if n is not None), default=None)
        near, keep = self._reach(now, newest)
        start = max(position.start, near if read_to is None else min(near, read_to))
        floor = max(position.floor, min(keep, start))
        self.position = evolve(position, start=start, floor=floor, newest=newest, worked=True)
        if floor == position.floor:
            return []
        dropped = [row_id for row_id, known in self.known.items() if known >> _DIGEST < floor]
        for row_id in dropped:
            del self.known[row_id]
        return dropped

    def _reach(self, now: int, newest: int | None) -> tuple[int, int]:
        """Return where late rows are still expected, and where all ends that may change."""
        anchor = now if newest is None else min(newest, now)
        jump = self.clock.jump(datetime.fromtimestamp(anchor, UTC)).total_seconds()
        near = anchor - _OVERLAP - int(jump)
        if newest is None:
            near = min(near, now - _WRONG_ZONE)
        return near, min(near, anchor - self.lookback)

    def end_poll(self, began: int, now: int, start: int) -> None:
        """Take a poll as complete that read from `start`."""
        if start <= self.position.floor:
            self.position = evolve(self.position, looked_back=began)
        past_before = self.position.past_before
        if past_before is not None:
            edge = past_before << _DIGEST
            old_id = max(
                (row_id for row_id, known in self.known.items() if known < edge), default=0
            )
            self.position = evolve(
                self.position, past_before=None, old_id=max(old_id, self.position.old_id)
            )
        if not 0 <= now - self.position.moved_up < _OVERLAP:
            self._move_ids_up(self.position.recent_id, now)

    def end_first_look(self, now: int) -> None:
        """Take all rows that are known as from before the watch."""
        self._move_ids_up(self._highest_id, now)

    def _move_ids_up(self, old_id: int, now: int) -> None:
        old_id = max(old_id, self.position.old_id)
        self.position = evolve(
            self.position, old_id=old_id, recent_id=self._highest_id, moved_up=now
        )

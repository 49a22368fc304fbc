"""How far a stream is: its position as JSON, which a checkpoint holds, and one run of it."""

from __future__ import annotations

import base64
import zlib
from array import array
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Generic, TypeVar

from attrs import Factory, define, field, frozen

from ppapi_async.models import Json
from ppapi_async.storage import Checkpoint
from ppapi_async.streaming.planner import Plan, Segment

if TYPE_CHECKING:
    import asyncio

__all__ = ["HandedOut", "Identity", "Position", "Run"]

_VERSION = 1
_LONGEST = 21  # bytes of an id's text and a blank
_SLACK = 1_000
_MOST = 3_000_000
"""Ids of the longest kind in a position; of usual ones that is ten times as many."""
_FARTHEST = 2**40  # seconds; the year 36812
_SEARCHED = 20_000  # ids in a step


@define
class HandedOut:
    """The ids that have been handed out, eight bytes each."""

    ids: array[int] = Factory(lambda: array("q"))
    _packed: list[str] = Factory(list)
    _packed_count: int = 0

    def add(self, ids: Iterable[int]) -> None:
        """Count these as handed out."""
        self.ids.extend(ids)

    def repeats(self, ids: AbstractSet[int]) -> Iterator[AbstractSet[int]]:
        """Yield those of `ids` that have been handed out, searching about a millisecond a step."""
        for start in range(0, len(self.ids), _SEARCHED):
            yield ids & set(self.ids[start : start + _SEARCHED])

    def pack(self) -> list[str]:
        """Return all ids as short texts, packing only those that came since the last time."""
        if self._packed_count < len(self.ids):
            self._packed.append(_pack(self.ids[self._packed_count :]))
            self._packed_count = len(self.ids)
        return self._packed

    def unpack(self, packed: list[str], most: int = _MOST) -> None:
        """Take over what `pack` returned of so many ids at the most.

        Raises:
            ValueError: it is something else.
        """
        left = min(most + _SLACK, _MOST) * _LONGEST
        try:
            for text in packed:
                steps = _decompressed(text, left)
                left -= len(steps)
                self.ids.extend(accumulate(map(int, steps.split())))
        except (ValueError, OverflowError, zlib.error):
            raise ValueError("checkpoint: is damaged; delete it to start anew") from None
        self._packed, self._packed_count = list(packed), len(self.ids)


def _pack(ids: array[int]) -> str:
    ordered = sorted(ids)
    steps = [ordered[0], *(b - a for a, b in pairwise(ordered))]
    return base64.b64encode(zlib.compress(" ".join(map(str, steps)).encode())).decode()


def _decompressed(text: str, most: int) -> bytes:
    """Return what was compressed. A few bytes may stand for as many as memory holds, and more."""
    inflater = zlib.decompressobj()
    steps = inflater.decompress(base64.b64decode(text), most + 1)
    if len(steps) > most or not inflater.eof:
        raise ValueError("more than there can be")
    return steps


@frozen
class Identity:
    """Which stream a position belongs to."""

    account: str
    """The account's fingerprint."""
    method: str
    filters: str
    start: int | None
    end: int | None
    former: tuple[str, ...] = ()
    """Fingerprints under which earlier positions of the same account may stand."""


@frozen
class Position:
    """Where to go on."""

    cursor: int | None
    """The first wire second that is not done with."""
    now: int
    """The present when the stream first began: rows that moved since lie after it."""
    rows: int
    handed_out_ids: list[str]
    finished: bool

    def dump(self, identity: Identity) -> dict[str, Json]:
        """Return the JSON of this position."""
        return {
            "version": _VERSION,
            "account": identity.account,
            "method": identity.method,
            "filters": identity.filters,
            "start": identity.start,
            "end": identity.end,
            "cursor": self.cursor,
            "now": self.now,
            "rows": self.rows,
            "told": list(self.handed_out_ids),
            "finished": self.finished,
        }

    @classmethod
    def parse(cls, data: Mapping[str, Json], identity: Identity) -> Position:
        """Return the position that `dump` wrote.

        Raises:
            ValueError: it belongs to another stream, or is none.
        """
        if data.get("version") != _VERSION:
            raise ValueError("checkpoint: of another version; delete it to start anew")
        for name in ("account", "method", "filters", "start", "end"):
            is_former = name == "account" and data.get(name) in identity.former
            if data.get(name) != getattr(identity, name) and not is_former:
                raise ValueError(
                    f"checkpoint: belongs to a stream with another {name}; use a checkpoint of its"
                    " own for each account, method and range"
                )
        cursor, now, rows, packed = (data.get(n) for n in ("cursor", "now", "rows", "told"))
        if not (
            isinstance(cursor, int | None)
            and isinstance(now, int)
            and isinstance(rows, int)
            and isinstance(packed, list)
            and abs(cursor or 0) <= _FARTHEST
            and abs(now) <= _FARTHEST
            and rows >= 0
        ):
            raise ValueError("checkpoint: is damaged; delete it to start anew")
        return cls(cursor, now, rows, [str(text) for text in packed], bool(data.get("finished")))


HeldT = TypeVar("HeldT")


@define(eq=False)
class Run(Generic[HeldT]):
    """The state of a stream under way, resumed from its checkpoint if it has one."""

    identity: Identity
    checkpoint: Checkpoint | None
    now: int
    """The present by the site's clock when the stream first began, over all resumptions."""
    may_meet_again: bool
    """Whether rows move, so that one already handed out may come once more."""
    handed_out_ids: HandedOut = Factory(HandedOut)
    plan: Plan[HeldT] = field(init=False)
    cursor: int | None = None
    rows: int = 0
    covered: int = 0
    """Seconds."""
    tasks: dict[Segment[HeldT], asyncio.Task[None]] = Factory(dict)
    handing_out: array[int] = Factory(lambda: array("q"))
    """The ids of the rows that the consumer is getting."""
    handed_out: int = 0
    """How many of these it has got."""
    _segment: Segment[HeldT] | None = None
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
        self.handed_out_ids.unpack(position.handed_out_ids, position.rows)
        self._resumed = True

    def may_repeat(self, segment: Segment[HeldT]) -> bool:
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

    def begin_window(self, segment: Segment[HeldT], newest: int | None) -> None:
        """Start to hand out a window; `newest` is the second of its latest row not dated ahead."""
        self._segment = segment
        width = segment.width
        if width is None and segment.start is not None:
            width = self.now - segment.start + 1
        if not segment.again:
            self.covered += max(0, width or 0)
        if newest is not None:
            self._newest = newest if self._newest is None else max(newest, self._newest)

    def begin_rows(self, ids: Iterable[int]) -> None:
        """Hand out these rows of the window."""
        self.handing_out, self.handed_out = array("q", ids), 0

    def end_rows(self) -> None:
        """Count them as handed out."""
        self.handed_out = len(self.handing_out)
        self._count()

    def end_window(self) -> None:
        """Count the window as handed out, and save the position."""
        self._segment = None
        self.save()

    def save(self) -> None:
        """Save the position, in the middle of a window or between two."""
        self._count()
        if self.checkpoint is None:
            return
        finished = self._segment is None and self.plan.done
        ids = self.handed_out_ids.pack()
        position = Position(self._next_second(), self.now, self.rows, ids, finished)
        self.checkpoint.save(position.dump(self.identity))

    def leave(self, handed_out: int) -> None:
        """Save the position for the last time; from now on it is another stream's to save.

        Args:
            handed_out: how many of the rows that are being handed out.
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
            self.handed_out_ids.add(got)
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

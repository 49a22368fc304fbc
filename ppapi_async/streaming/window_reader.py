"""One window of time: what to ask next, and what is proven complete.

A server may cut an answer without a sign, at any number of rows and at another one a moment later;
it may sort otherwise than its dialect promises, and leave out the seconds that its range is bounded
by. So no answer is whole because of its size, and what the dialect promises is where to begin.
What proves a window holds for any such server:

1. *Nothing came.* An empty answer was not cut. It is asked for with a second more on either side of
   the window, so that a bound that is left out leaves out nothing of it.
2. *As many positions as different rows.* With K rows in hand that a query selects, the same query
   with offset K - 1 brings one row, a known one; so an only row needs no second question. It holds
   in any order, whatever was cut on the way: it is how a window ends on a server that honours
   `offset`. See `counting`. Rows that went meanwhile are no positions: they must not be as many as
   those that were left out. So each page is followed by what lies right below it, known or not;
   and where answers ran both ways, all is counted anew, page by page.
3. *Something older came.* A page that falls from new to old, on a server that sorts by time, holds
   all that is newer than its oldest second. If that lies before the window, the window is whole:
   so windows begin to ask at a row that is known from the one before. That a server sorts by time
   is shown by two pairs of neighbours in falling pages, one whose ids fall and one whose ids rise:
   what sorts by id has only one kind. Its dialect is believed only where `offset` is ignored, and
   for a single look (`fast poll`), whose rows are looked at again.
4. *The same rows in another company.* Where `offset` is ignored, the rest is asked for once more:
   if it brings only known rows, and fewer than the answer before, it was not cut.

On the way to that, a page that falls is followed by the question for its oldest second and what
lies before it (that second again, since ties may have been cut off in any order), one that rises by
its mirror image. A second that fills a page is counted by itself; so is a window whose pages are in
no order. Of a server that ignores `offset` and has no order, the window is halved. Rows that come,
go or move meanwhile make counts disagree: then it is looked again, a bounded number of times, and
what stays unproven is named. Rows that cannot be read count as all others do.

Rows may move to the present while one reads; whoever drives this machine looks at the live edge
again for them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from enum import Enum
from itertools import compress
from typing import Generic, TypeVar

from attrs import Factory, define, evolve, field, frozen

from ppapi_async.models import UnreadableRow
from ppapi_async.protocol.evidence import Evidence, Order, order_of
from ppapi_async.protocol.page import Placed, wire_second
from ppapi_async.streaming.counting import BEYOND, MOST_REQUESTS, Count, Key, Outcome, Query, Span

__all__ = ["WindowRead"]

HeldT = TypeVar("HeldT")
"""In what form rows are held: as records, or as the bytes that will be decoded."""
_PAGES_OF_COUNT = 24  # over more than a second, before the window is to be narrowed
_SMALLEST_PAGE = 5  # no server is known to cut an answer of less,
_LARGEST_PAGE = 500  # nor one of more,
_ROUND = 5  # nor at a number that this does not divide
_LIKELY_CAPS = range(10, _LARGEST_PAGE + 1)  # of a server that is said to cut nothing
_MOST_DOUBTS = 4  # counts in a row that disagree because rows keep coming
_MOST_RESTARTS = 2  # of a window from which rows go meanwhile
_AROUND = (3_600, 86_400, 30 * 86_400, 365 * 86_400)  # seconds, to find other rows
_EARLIEST = 1  # no earlier second can be asked for: 0 and below mean "no bound"


@frozen
class _Part:
    """A span that is still to be asked for."""

    start: int | None
    end: int | None
    before: int | None = None
    """Rows in the answer that left this part open."""
    seam_at_end: bool = False
    """Whether rows of the end second are known, which are asked for again."""
    seam_at_start: bool = False
    beside: bool = False
    """Whether it lies beside a second that was read by itself, with no row in common."""
    in_order: bool = True
    """Whether to go by the order of what comes."""

    @property
    def span(self) -> Span:
        return self.start, self.end

    def holds(self, second: int) -> bool:
        """Tell whether a row of this second lies in it."""
        after = self.start is None or self.start <= second
        return after and (self.end is None or second <= self.end)


class _Claim(Enum):
    """What a count of known rows is to prove."""

    WHOLE = "the window"
    OLDEST = "what lies at or before the oldest second"
    NEWER = "the part that is newer than the rest"
    NEWER_TO_THE_EDGE = "the same, but for the newest second"
    UP_TO_THE_EDGE = "what lies before the newest second"
    OFFSET = "that offset is honoured"


@frozen
class _Proof:
    """A query whose known rows are compared with its positions."""

    claim: _Claim
    span: Span
    known: int

    def query(self, largest: int) -> Query:
        return Query(*self.span, self.known - self.last(largest))

    def last(self, largest: int) -> int:
        """Return how many of the known rows are asked for: one, where a page holds more."""
        return int(self.claim is not _Claim.OFFSET and largest > 1 and self.known > 0)

    def holds(self, page: Sequence[Key], known: bool, largest: int) -> bool:
        return len(page) == self.last(largest) and known


@define
class WindowRead(Generic[HeldT]):
    """The reading of one window, driven by `query` and `feed` until `query` is None.

    Then `unproven` is empty and `rows` has every row of the window, or `unproven` names the spans
    that could not be proven.

    Args:
        start, end: the window in inclusive wire seconds, None for open.
        reach: an earlier second that is known to hold a row, to begin to ask there.
        believes_order: whether to believe the dialect's order where a page shows nothing else.
    """

    evidence: Evidence
    start: int | None
    end: int | None
    reach: int | None = None
    believes_order: bool = False
    rows: dict[int, HeldT] = field(factory=dict, repr=False)
    unreadable: dict[Key, UnreadableRow] = Factory(dict)
    """Rows that could not be read; which of them lie in the window, their time may tell."""
    requests: int = 0
    unproven: list[Span] = Factory(list)
    second_of: Callable[[datetime], int] | None = None
    """Tells the wire second of a row that could be read no further than its time."""
    latest: int | None = None
    """Where the present may be at most: rows dated later are from a clock that was wrong."""
    first_newest: int | None = None
    """The newest second of the first answer, up to `latest`; later rows came or moved since."""
    newest: int | None = None
    """The newest second of all answers."""
    pages: int = 0
    """Requests, but for those that a single second took."""
    is_current: bool = False
    """Whether the last answer showed that no row came or moved since the first."""
    closed: bool = False
    """Whether the part that is newer than `rest` has been proven: see `close`."""
    _asked: Span = field(init=False)
    """What the first query asks for; all others ask for a part of it."""
    seconds: dict[Key, int | None] = field(factory=dict, repr=False)
    """Where the rows lie that came."""
    _former: dict[Key, int | None] = field(factory=dict, repr=False)
    """Where those lay that came before it began anew: a row that has gone since is still held."""
    _parts: list[_Part] = field(init=False)
    _loose: list[_Part] = Factory(list)
    """Parts that seem to be empty, until that is proven."""
    _count: Count | None = None
    _second: int | None = None
    """Of which second the count is, if it is of one."""
    _counted: set[int] = Factory(set)
    """Seconds that have been."""
    _proof: _Proof | None = None
    _over: bool = False
    _keeps_open: bool = False
    """Whether the newer part could not be proven by itself."""
    _largest: int = 0
    _doubts: int = 0
    _just_looked: bool = False
    _looked: int | None = None
    """How many rows there were before the last look for newer ones."""
    _restarts: int = 0
    _counted_whole: bool = False
    _steps: int = 0
    """Questions for more than the window."""
    _halved: bool = False
    """Whether the window was asked for in halves, each of which was whole."""

    def __attrs_post_init__(self) -> None:
        start, end = self.start, self.end
        if start is not None:
            reach = start if self.reach is None or self.reach <= _EARLIEST else self.reach
            start = min(reach, start) - 1
            start = None if start < _EARLIEST else start
        if end is not None:
            end = max(end + 1, _EARLIEST)
        self._asked = (start, end)
        self._parts = [_Part(start, end)]

    @property
    def query(self) -> Query | None:
        """What to ask next; None when the reading has ended."""
        if self._over or self.closed:
            return None
        if self._count is not None:
            return self._count.query
        if self._proof is not None:
            return self._proof.query(self._largest)
        return Query(*self._bounds(self._parts[-1])) if self._parts else None

    def _bounds(self, part: _Part) -> Span:
        """Return what to ask for a part: where a bound is left out, a second more."""
        start, end = part.span
        inner_start = part.seam_at_start or (part.beside and start != self._asked[0])
        inner_end = part.seam_at_end or (part.beside and end != self._asked[1])
        if inner_start and start is not None and self.evidence.start_excluded:
            start -= 1
        if inner_end and end is not None and self.evidence.end_excluded:
            end += 1
        return start, end

    def feed(self, page: Placed[HeldT]) -> None:
        """Take the answer to `query`."""
        query = self.query
        if query is None:
            raise ValueError("page: nothing was asked")
        self.requests += 1
        self.pages += not self._counts_a_second
        keys, new = self._keep(page, query)
        self._largest = max(self._largest, len(keys))
        self.evidence.holds_more |= len(keys) > 1
        if self._count is not None:
            self._feed_count(self._count, keys)
        elif self._proof is not None and self._proof.claim is _Claim.OFFSET:
            self._feed_probe(page, query, keys, new)
        elif self._proof is not None:
            self._feed_proof(self._proof, keys, new)
        else:
            self._feed_part(self._parts.pop(), page, keys, len(new))
        if not (self._over or self._count or self._proof or self._parts):
            self._conclude()
        if self.requests >= 2 * MOST_REQUESTS and not self._over:
            self._give_up(self._asked)

    @property
    def _counts_a_second(self) -> bool:
        return self._count is not None and _is_second(self._count.span)

    # What came

    def _keep(self, page: Placed[HeldT], query: Query) -> tuple[list[Key], list[Key]]:
        """Keep the rows, of one met twice the later answer. Return their ids, and the new ones."""
        seconds = [wire_second(wall) for wall in page.walls]
        ids = page.ids
        if seconds:
            oldest, newest = min(seconds), max(seconds)
            self._look_at(oldest, newest, query)
            self._note_newest(seconds, newest)
            if self._is_inside(oldest) and self._is_inside(newest):
                self.rows.update(zip(ids, page.records, strict=True))
            else:
                inside = list(map(self._is_inside, seconds))
                rows = compress(page.records, inside)
                self.rows.update(zip(compress(ids, inside), rows, strict=True))
        keys: list[Key] = [*ids]
        times: dict[str, int] = {}
        for odd in page.unreadable:
            number = times[odd.digest] = times.get(odd.digest, 0) + 1
            key = (odd.digest, number) if odd.id is None else odd.id
            self.unreadable[key] = odd
            keys.append(key)
        new = [key for key in dict.fromkeys(keys) if key not in self.seconds]
        self.seconds.update(zip(keys, seconds, strict=False))
        for key, odd in zip(keys[len(seconds) :], page.unreadable, strict=True):
            self.seconds[key] = None
            if odd.time is not None and self.second_of is not None:
                self.seconds[key] = self.second_of(odd.time)
        return keys, new

    def _look_at(self, oldest: int, newest: int, query: Query) -> None:
        """Note what the seconds tell of how the server takes the bounds."""
        too_old = query.start is not None and oldest < query.start
        too_new = query.end is not None and newest > query.end
        if too_old or too_new:
            self.evidence.unfiltered = True
        if oldest == query.start:
            self.evidence.start_excluded = False
        if newest == query.end:
            self.evidence.end_excluded = False

    @property
    def seconds_of_rows(self) -> dict[Key, int | None]:
        """Where each row of `rows` lies, or lay before it began anew."""
        return self._former | self.seconds if self._former else self.seconds

    def _note_newest(self, seconds: Sequence[int], newest: int) -> None:
        self.newest = newest if self.newest is None else max(self.newest, newest)
        if self.first_newest is None:
            latest = self.latest
            if latest is not None and newest > latest:
                self.first_newest = max((s for s in seconds if s <= latest), default=None)
            else:
                self.first_newest = newest

    @property
    def newest_inside(self) -> int | None:
        """The newest second of the window's rows."""
        inside = (s for s in self.seconds.values() if s is not None and self._is_inside(s))
        return max(inside, default=None)

    def rows_at(self, second: int) -> int:
        """Return how many rows of this second came."""
        return sum(other == second for other in self.seconds.values())

    def _is_inside(self, second: int) -> bool:
        lo, hi = self.start, self.end
        return (lo is None or lo <= second) and (hi is None or second <= hi)

    def _known_in(self, span: Span) -> int:
        """Return how many known rows the span selects, its bounds included."""
        start, end = span
        if span == self._asked:
            return len(self.seconds)
        return sum(
            second is not None
            and (start is None or second >= start)
            and (end is None or second <= end)
            for second in self.seconds.values()
        )

    # Page after page

    def _feed_part(self, part: _Part, page: Placed[HeldT], keys: list[Key], new: int) -> None:
        if not keys:
            self._miss_bound(part, part.end, part.start)
            return
        if part.before is not None and new:
            self.evidence.was_cut(part.before)
        seconds = [max(wire_second(wall), _EARLIEST) for wall in page.walls]
        order = order_of(seconds)
        self.evidence.learn_order(order, page.ids, seconds)
        unfiltered = self.evidence.unfiltered and order is not Order.FALLING
        if order is Order.NONE or not part.in_order or unfiltered:
            if not self._miss_bound(
                part,
                None if part.end in seconds else part.end,
                None if part.start in seconds else part.start,
            ):
                self._feed_disorder(part, keys)
        elif order is Order.RISING:
            if not self._miss_bound(part, None, part.start, seconds[0]):
                self._follow(part, _Part(seconds[-1], part.end, seam_at_start=True), keys, new)
        elif not self._miss_bound(part, part.end, None, seconds[0]):
            rest = _Part(part.start, seconds[-1], seam_at_end=True)
            if order is Order.ONE_SECOND:
                self._feed_second(part, rest, keys, new)
            elif not (self._has_older(page) or self._counts_the_last(part, seconds, new)):
                self._follow(part, rest, keys, new)

    def _counts_the_last(self, part: _Part, seconds: Sequence[int], new: int) -> bool:
        """Count the oldest second at once, where half of a page is of it: it may fill a page."""
        second = seconds[-1]
        tied = seconds.count(second)
        if not new or 2 * tied < len(seconds) or not self.evidence.looks_cut(len(seconds)):
            return False
        if self.evidence.honours_offset is False or second in self._counted or second <= _EARLIEST:
            return False
        if part.start is None or part.start < second:
            older = _Part(part.start, second - 1, before=len(seconds), beside=True)
            self._parts.append(older)
        self._begin_count((second, second), second=second)
        return True

    def _has_older(self, page: Placed[HeldT]) -> bool:
        """Tell whether something older than the window came: then a falling page has the rest."""
        return self.start is not None and wire_second(min(page.walls)) < self.start

    def _miss_bound(
        self, part: _Part, end: int | None, start: int | None, first: int | None = None
    ) -> bool:
        """Ask once more, with a second added, where rows of a bound are known and none came."""
        evidence = self.evidence
        end_unknown, start_unknown = evidence.end_excluded is None, evidence.start_excluded is None
        if part.seam_at_end and end is not None and end_unknown and first != end:
            evidence.end_excluded = True
        elif part.seam_at_start and start is not None and start_unknown and first != start:
            evidence.start_excluded = True
        else:
            return False
        self._parts.append(part)
        return True

    def _follow(self, part: _Part, rest: _Part, keys: list[Key], new: int) -> None:
        """Go on with the rest, at once or once it is seen that it is not empty.

        What is newer than a page that rises is asked for at once: the page may have left out rows
        of its last second, and rows that move away before the count may be as many.
        """
        rest = evolve(rest, before=len(keys))
        if self.evidence.unfiltered and not new:
            self._feed_disorder(part, keys)
        elif self.evidence.looks_cut(len(keys)) or (new and rest.seam_at_start):
            self._parts.append(rest)
        elif new or not self._was_whole(part, len(keys)):
            self._loose.append(rest)

    def _was_whole(self, part: _Part, rows: int) -> bool:
        """Tell whether an answer of known rows was not cut, where only its size can tell.

        The answer before held more, and of that, this one is the end.
        """
        if self._can_count or part.before is None:
            return False
        return rows < part.before or rows < _SMALLEST_PAGE

    @property
    def _can_count(self) -> bool:
        if self.evidence.honours_offset is None:
            return self.evidence.capped is not False
        return self.evidence.honours_offset

    def _feed_second(self, part: _Part, rest: _Part, keys: list[Key], new: int) -> None:
        """All that came is of one second: it may be all that there is, or a part of the second."""
        second = rest.end or _EARLIEST
        if self.evidence.looks_cut(len(keys)) and self._leaves_out(part, second):
            return
        if self._was_whole(part, len(keys)) and not new:
            return
        newer = _Part(second + 1, part.end, before=len(keys), beside=True)
        if not self.evidence.looks_cut(len(keys)) and (new or self._can_count):
            if not self._is_falling and (part.end is None or second < part.end):
                self._loose.append(newer)
            self._loose.append(evolve(rest, before=len(keys)))
            return
        at_bottom = part.start is None and second == _EARLIEST
        if not at_bottom and (part.start is None or part.start < second):
            self._parts.append(_Part(part.start, second - 1, before=len(keys), beside=True))
        if part.end is None or second < part.end:
            self._parts.append(newer)
        # What lies before second 1 cannot be asked for by itself, and 1 may be left out as a bound.
        span: Span = (None, second + 1) if at_bottom else (second, second)
        if self.evidence.honours_offset is False:
            self._settle_second(span, len(keys), ignored=True)
        elif new or second not in self._counted:
            self._begin_count(span, second=second)

    def _leaves_out(self, part: _Part, second: int) -> bool:
        """Ask again without the second beside the window, which fills a page by itself.

        It came, so the server leaves out no such bound: the window needs no second beside it.
        """
        start, end = self._asked
        if second == start == part.start and self.start is not None and second < self.start:
            self._asked = (second + 1, end)
            self._parts.append(_Part(second + 1, part.end))
        elif second == end == part.end and self.end is not None and second > self.end:
            self._asked = (start, second - 1)
            self._parts.append(_Part(part.start, second - 1))
        else:
            return False
        self.seconds = {key: s for key, s in self.seconds.items() if s != second}
        return True

    def _settle_second(self, span: Span, rows: int, *, ignored: bool) -> None:
        """Judge a second whose rows could not be counted."""
        if ignored and (rows < _SMALLEST_PAGE or rows < self._largest):
            return
        second = span[1]
        if not ignored or self.evidence.capped is not False or second is None:
            self._give_up(span)
        elif not self._look_around(second) and rows % _ROUND == 0 and rows in _LIKELY_CAPS:
            self._give_up(span)  # there is nothing else, and the dialect's word is not enough

    def _look_around(self, second: int) -> bool:
        """Ask for more than the window: an answer with other rows, too, would prove the second."""
        start, end = self._asked
        step, self._steps = self._steps, self._steps + 1
        if step <= len(_AROUND) and start is None:
            step, self._steps = len(_AROUND) + 1, len(_AROUND) + 2
        if step > 2 * len(_AROUND) + 1:
            return False
        far = [*_AROUND, None][step % (len(_AROUND) + 1)]
        if step <= len(_AROUND):
            start = None if far is None or second - far < _EARLIEST else second - far
            self._asked = (start, end)
            self._parts.append(_Part(start, second, seam_at_end=True))
        else:
            self._parts.append(_Part(start, None if far is None else second + far))
        return True

    # In no order

    def _feed_disorder(self, part: _Part, keys: list[Key]) -> None:
        """Count what comes in no order; where that is impossible, ask for the halves."""
        if self.evidence.honours_offset is not False:
            self._begin_count(self._bounds(part), keys)
        elif self.evidence.unfiltered:
            self._settle_unfiltered(len(keys))
        elif len(keys) >= (_SMALLEST_PAGE if part.before is None else part.before):
            self._halve(part.span, len(keys))

    def _settle_unfiltered(self, rows: int) -> None:
        """Judge the one answer of a server that ignores range and offset.

        It is all that there is, or all that is ever told. Servers that cut nothing, such as
        classic ones asked in the wrong place, are believed; a cut is known by its round number.
        """
        is_round = _SMALLEST_PAGE <= rows <= _LARGEST_PAGE and rows % _ROUND == 0
        if len(self.seconds) == rows and self.evidence.capped is False and not is_round:
            self._over = True
        else:
            self._give_up(self._asked)

    def _halve(self, span: Span, before: int | None) -> None:
        """Ask for both halves of what the known rows span; the halves overlap at their bounds."""
        start, end = span
        known = [
            s
            for s in self.seconds.values()
            if s is not None and (start is None or s >= start) and (end is None or s <= end)
        ]
        oldest, newest = min(known, default=0), max(known, default=0)
        middle = (max(oldest, _EARLIEST) + newest) // 2
        older = _Part(start, middle + 1, before, in_order=False)
        newer = _Part(middle, end, before, in_order=False)
        if newest - oldest <= 2 or span in (older.span, newer.span) or self.evidence.unfiltered:
            self._give_up(span)
        else:
            self._parts += [newer, older]

    # Counting

    def _begin_count(
        self, span: Span, keys: list[Key] | None = None, *, second: int | None = None
    ) -> None:
        """Count what a span selects; `keys` are those of its first page, if it has come."""
        most = MOST_REQUESTS
        if not _is_second(span) and not self.evidence.unfiltered:
            most = _PAGES_OF_COUNT
        self._count, self._second = Count(span, most), second
        if keys is not None:
            self._feed_count(self._count, keys)

    def _widen(self, second: int, span: Span) -> bool:
        """Count the second with others beside it, since a server without its bounds has nothing."""
        start, end = span
        if start is None or end is None or (start < second < end):
            return False
        if self.evidence.start_excluded is False and self.evidence.end_excluded is False:
            return False  # it is not the bounds
        wider = {(second, second): (second, second + 1), (second, second + 1): (second - 1, second)}
        span = wider.get((start, end), (second - 1, second + 1))
        self.evidence.start_excluded = span[0] != second or None
        self.evidence.end_excluded = span[1] != second or None
        self._begin_count(span, second=second)
        return True

    def _feed_count(self, count: Count, keys: list[Key]) -> None:
        second = self._second
        if second is not None and count.requests == 0:
            came = (max(self.seconds[key] or _EARLIEST, _EARLIEST) for key in keys)
            if second not in came and self._widen(second, count.span):
                return
        count.feed(keys)
        if count.outcome is None:
            return
        self._count = None
        if count.outcome is Outcome.PROVEN:
            self._over = count.span == self._asked
            if second is not None:
                self._counted.add(second)
            return
        ignored = count.outcome is Outcome.IGNORED
        if ignored:
            self.evidence.honours_offset = False
        if _is_second(count.span):
            self._settle_second(count.span, count.largest, ignored=ignored)
        elif ignored:
            self._parts.append(_Part(*count.span, in_order=False))
        elif count.outcome is Outcome.TOO_MANY:
            self._halve(count.span, None)
        else:
            self._give_up(count.span)

    def give_up(self) -> None:
        """Take the window as one that cannot be proven."""
        self._give_up(self._asked)

    def _give_up(self, span: Span) -> None:
        start, end = span
        if start is not None and self.start is not None:
            start = max(start, self.start)
        if end is not None and self.end is not None:
            end = min(end, self.end)
        self.unproven.append((self.start if start is None else start, end))
        self._over, self._count, self._proof = True, None, None

    # Proof

    def _conclude(self) -> None:
        """All parts seem to have come: prove it."""
        evidence = self.evidence
        in_order = evidence.sorts_by_time or (
            self._is_falling
            and (self.believes_order or (evidence.capped is False and not self._can_count))
        )
        unsure = evidence.honours_offset is None and evidence.capped is False
        if self.requests == len(self.seconds) == self._largest == 1 and evidence.holds_more:
            self._over = True
            return
        if self.seconds and unsure and not self.believes_order:
            self._ask_beyond()
        elif not self.seconds or (in_order and not self._loose):
            self._over = True
        elif not self._can_count:
            self._ask_for_loose(in_order)
        elif evidence.is_mixed and self.requests > 1 and not self._counted_whole:
            self._count_whole()  # rows that went may be as many as those that were left out
        elif in_order and self._loose[-1].seam_at_end and not self._has_odd:
            span = self._bounds(self._loose[-1])
            self._proof = _Proof(_Claim.OLDEST, span, self._known_in(self._loose[-1].span))
        else:
            span = self._whole_span()
            self._proof = _Proof(_Claim.WHOLE, span, self._known_in(span))

    def _whole_span(self) -> Span:
        """Return what to count: the window, and of what lies before it as little as possible.

        The oldest second may have come in part only. Without it, the start must be no second of the
        window, unless a row has shown that the server does not leave it out.
        """
        start, end = self._asked
        older = [
            s for s in self.seconds.values() if s is not None and self.start and s < self.start
        ]
        if not older or self._has_odd or self.evidence.unfiltered:
            return start, end
        second = max(older) + 1
        shown = start is not None and start in older
        inner = shown or (self.start is not None and second < self.start)
        return (second if inner else start), end

    def _ask_beyond(self) -> None:
        """Ask for the oldest second with an offset that has no rows, unless it is ignored.

        Without a cut there is no need to count, and nothing is. But what cuts answers in spite of
        its dialect may as well honour `offset`, and then is counted from the first window on.
        """
        known = [max(s, _EARLIEST) for s in self.seconds.values() if s is not None]
        oldest = min(known, default=_EARLIEST)
        start = oldest - 1 if oldest > _EARLIEST + 1 else None
        if self._loose and self._loose[-1].seam_at_end:
            start, oldest = self._asked[0], self._loose[-1].end or oldest
        self._proof = _Proof(_Claim.OFFSET, (start, oldest + 1), BEYOND)

    def _feed_probe(
        self, page: Placed[HeldT], query: Query, keys: list[Key], new: list[Key]
    ) -> None:
        self._proof = None
        self.evidence.honours_offset = not keys
        if keys and self._loose and self._loose[-1].seam_at_end:
            part = self._loose.pop()
            older = sum((self.seconds[key] or 0) <= (part.end or 0) for key in new)
            part = evolve(part, end=query.end, seam_at_end=False)
            self._feed_part(part, page, keys, older)

    def _ask_for_loose(self, in_order: bool) -> None:
        if self._loose:
            self._parts, self._loose = self._loose, []
        elif in_order or self._halved or self._largest < _SMALLEST_PAGE:
            self._over = True
        else:
            self._halved = True
            self._halve(self._asked, self._largest)

    @property
    def _has_odd(self) -> bool:
        """Whether a row came of which the second is not known."""
        return None in self.seconds.values()

    def _feed_proof(self, proof: _Proof, keys: list[Key], new: list[Key]) -> None:
        self._proof = None
        if proof.holds(keys, not new, self._largest):
            self._accept(proof.claim)
            return
        rows = len(self.seconds)
        progressed, self._looked = rows != self._looked, rows
        if proof.claim in (_Claim.NEWER, _Claim.NEWER_TO_THE_EDGE):
            self._doubt_newer(proof, keys)
        elif keys and self._loose and progressed:
            seconds = [s for key in new if (s := self.seconds[key]) is not None]
            for part in self._loose:
                if any(map(part.holds, seconds)):
                    self.evidence.was_cut(part.before or _LARGEST_PAGE)
            self._parts, self._loose = self._loose, []
        elif proof.claim is _Claim.OLDEST and not keys and self.evidence.end_excluded is None:
            self.evidence.end_excluded = True
        elif not keys:
            self._restart()
        elif proof.claim is _Claim.UP_TO_THE_EDGE:
            self._count_whole()
        else:
            self._look_for_newer(progressed)

    def _accept(self, claim: _Claim) -> None:
        if claim is _Claim.OLDEST:
            self._loose.pop()
        elif claim in (_Claim.NEWER, _Claim.NEWER_TO_THE_EDGE):
            self.closed = True
        else:
            self.is_current = claim is _Claim.WHOLE
            self._over = True

    def _restart(self) -> None:
        """Rows have gone meanwhile: begin anew, or count what is there."""
        self._restarts += 1
        self._loose.clear()
        if self._restarts > _MOST_RESTARTS:
            self._count_whole()
        else:
            self._former |= self.seconds
            self.seconds.clear()
            self._parts = [_Part(*self._asked)]

    def _look_for_newer(self, progressed: bool) -> None:
        """There are more rows than are known: look whether they came meanwhile."""
        looked_in_vain, self._just_looked = self._just_looked and not progressed, True
        self._doubts += 1
        if looked_in_vain or self.newest is None:
            self._count_whole()
        elif self._doubts <= _MOST_DOUBTS:
            self._parts.append(self._newest_part)
        elif self._is_busy and self.first_newest is not None:
            # They come faster than they can be counted; but not among those that were there.
            span = (self._asked[0], self.first_newest - 1)
            self._proof = _Proof(_Claim.UP_TO_THE_EDGE, span, self._known_in(span))
        else:
            self._count_whole()

    @property
    def _is_falling(self) -> bool:
        """Whether the dialect promises answers from new to old, and none showed anything else."""
        return self.evidence.newest_first and self.evidence.falls

    @property
    def _is_busy(self) -> bool:
        """Whether rows that come meanwhile may be all that makes counts disagree."""
        return self._is_falling and self._asked[1] is None

    @property
    def _newest_part(self) -> _Part:
        newest = max(self.newest or _EARLIEST, _EARLIEST)
        return _Part(newest, self._asked[1], seam_at_start=True)

    def _count_whole(self) -> None:
        if self._counted_whole:
            self._give_up(self._asked)
        else:
            self._counted_whole = True
            self._begin_count(self._asked)

    # Leaving the rest

    @property
    def rest(self) -> tuple[int | None, int] | None:
        """The older part that is still unread, where the newer part has come."""
        if len(self._parts) != 1 or self.unproven or self._keeps_open:
            return None
        if self._count is not None or self._proof is not None or self._restarts:
            return None
        part = self._parts[0]
        if part.start != self._asked[0] or not part.seam_at_end or part.end is None:
            return None
        if part.before is None or not self.evidence.looks_cut(part.before):
            return None
        # What is loose in the newer part is counted with it.
        loose = any(other.start is None or other.start <= part.end for other in self._loose)
        if loose or (self.end is not None and part.end >= self.end):
            return None
        return (self.start, part.end) if self.start is None or self.start <= part.end else None

    def close(self) -> bool:
        """Prove the part that is newer than `rest`; True where it is, else `query` goes on."""
        if self.rest is None:
            raise ValueError("read: has no rest that could be left")
        evidence = self.evidence
        if evidence.sorts_by_time:
            self.closed = True
        elif not self._can_count:
            self._keeps_open = True
        else:
            claim, start, end = _Claim.NEWER, (self._parts[0].end or 0) + 1, self._asked[1]
            if self._doubts > _MOST_DOUBTS and self._is_busy and self.first_newest is not None:
                claim, end = _Claim.NEWER_TO_THE_EDGE, self.first_newest - 1
            known = self._known_in((start, end))
            self._proof = _Proof(claim, (start - bool(evidence.start_excluded), end), known)
        return self.closed

    def _doubt_newer(self, proof: _Proof, keys: list[Key]) -> None:
        """The newer part holds other rows than are known; `close` may be called again."""
        if not keys and self.evidence.start_excluded is None:
            self.evidence.start_excluded = True
        elif not keys or proof.claim is _Claim.NEWER_TO_THE_EDGE or self._asked[1] is not None:
            self._keeps_open = True
        else:
            self._doubts += 1
            self._parts.append(self._newest_part)

    def stop(self) -> None:
        """Give up `rest`: forget the rows of its newest second, of which some may be unread."""
        edge = self._parts[0].end
        for key, second in self.seconds.items():
            if second is not None and edge is not None and second <= edge:
                self.unreadable.pop(key, None)
                if isinstance(key, int):
                    self.rows.pop(key, None)
        self._parts.clear()
        self._over = True


def _is_second(span: Span) -> bool:
    """Tell whether a span is one second, or one with what its bounds need; or has no beginning."""
    start, end = span
    if end is None:
        return False
    return end - start <= 2 if start is not None else end <= _EARLIEST + 1

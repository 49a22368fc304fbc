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
from typing import Generic, TypeVar

from attrs import Factory, define, evolve, field

from ppapi_async.models import UnreadableRow
from ppapi_async.protocol.evidence import Evidence, TimeOrder, order_of
from ppapi_async.protocol.page import Placed, wire_second
from ppapi_async.streaming.agenda import EARLIEST, SMALLEST_PAGE, Agenda, Claim, Part, is_second
from ppapi_async.streaming.counting import MOST_REQUESTS, Count, CountOutcome, Key, Query, Span
from ppapi_async.streaming.window_proof import WindowProof
from ppapi_async.streaming.window_rows import WindowRows

__all__ = ["WindowRead"]

HeldT = TypeVar("HeldT")
"""In what form rows are held: as records, or as the bytes that will be decoded."""
_LARGEST_PAGE = 500  # no server is known to have larger ones,
_ROUND = 5  # nor any whose rows this does not divide
_LIKELY_CAPS = range(10, _LARGEST_PAGE + 1)  # of a server that is said to cut nothing
_AROUND = (3_600, 86_400, 30 * 86_400, 365 * 86_400)  # seconds, to find other rows


@define
class WindowRead(Generic[HeldT]):
    """The reading of one window, driven by `query` and `feed` until `query` is None.

    Then `unproven` is empty and `rows` has every row of the window, or `unproven` names the spans
    that could not be proven.

    Args:
        start, end: the window in inclusive wire seconds, None for open.
        reach: an earlier second that is known to hold a row, to begin to ask there.
        believes_order: whether to believe the dialect's order where a page shows nothing else.
        latest: where the present may be at most: rows dated later are from a clock that was wrong.
        second_of: tells the wire second of a row that could be read no further than its time.
    """

    evidence: Evidence
    start: int | None
    end: int | None
    reach: int | None = None
    believes_order: bool = False
    latest: int | None = None
    second_of: Callable[[datetime], int] | None = None
    requests: int = 0
    pages: int = 0
    """Requests, but for those that a single second took."""
    came: WindowRows[HeldT] = field(init=False)
    _agenda: Agenda = field(init=False)
    _proof: WindowProof[HeldT] = field(init=False)
    _counted: set[int] = Factory(set)
    """Seconds that have been."""
    _steps: int = 0
    """Questions for more than the window."""

    def __attrs_post_init__(self) -> None:
        start, end = self.start, self.end
        self.came = WindowRows(self.evidence, start, end, self.latest, self.second_of)
        if start is not None:
            reach = start if self.reach is None or self.reach <= EARLIEST else self.reach
            start = min(reach, start) - 1
            start = None if start < EARLIEST else start
        if end is not None:
            end = max(end + 1, EARLIEST)
        window, asked = (self.start, self.end), (start, end)
        self._agenda = Agenda(self.evidence, window, asked, parts=[Part(start, end)])
        self._proof = WindowProof(self._agenda, self.came, self.believes_order)

    @property
    def rows(self) -> dict[int, HeldT]:
        """The rows of the window, by id."""
        return self.came.rows

    @property
    def unreadable(self) -> dict[Key, UnreadableRow]:
        """Rows that could not be read."""
        return self.came.unreadable

    @property
    def unproven(self) -> list[Span]:
        """What could not be proven."""
        return self._agenda.unproven

    @property
    def is_current(self) -> bool:
        """Whether the last answer showed that no row came or moved since the first."""
        return self._proof.is_current

    @property
    def query(self) -> Query | None:
        """What to ask next; None when the reading has ended."""
        return None if self._proof.closed else self._agenda.query

    def feed(self, page: Placed[HeldT]) -> None:
        """Take the answer to `query`."""
        query, agenda = self.query, self._agenda
        if query is None:
            raise ValueError("page: nothing was asked")
        self.requests += 1
        self.pages += agenda.count is None or not is_second(agenda.count.span)
        keys, new = self.came.keep(page, query)
        agenda.largest = max(agenda.largest, len(keys))
        self.evidence.holds_more |= len(keys) > 1
        if agenda.count is not None:
            self._feed_count(agenda.count, keys)
        elif agenda.proof is not None and agenda.proof.claim is Claim.OFFSET:
            self._feed_probe(page, query, keys, new)
        elif agenda.proof is not None:
            self._proof.feed(agenda.proof, keys, new)
        else:
            self._feed_part(agenda.parts.pop(), page, keys, len(new))
        if agenda.is_empty:
            self._proof.conclude(self.requests)
        if self.requests >= 2 * MOST_REQUESTS and not agenda.over:
            self.give_up()

    # Leaving it before its end

    @property
    def closed(self) -> bool:
        """Whether the part that is newer than `rest` has been proven: see `close`."""
        return self._proof.closed

    @property
    def rest(self) -> tuple[int | None, int] | None:
        """The older part that is still unread, where the newer part has come."""
        return self._proof.rest

    def close(self) -> bool:
        """Prove the part that is newer than `rest`; True where it is, else `query` goes on."""
        return self._proof.close()

    def stop(self) -> None:
        """Give up `rest`: forget the rows of its newest second, of which some may be unread."""
        self._proof.stop()

    def give_up(self) -> None:
        """Take the window as one that cannot be proven."""
        self._agenda.give_up(self._agenda.asked)

    # Page after page

    def _feed_part(self, part: Part, page: Placed[HeldT], keys: list[Key], new: int) -> None:
        if not keys:
            self._agenda.misses_bound(part, part.end, part.start)
            return
        if part.before is not None and new:
            self.evidence.was_cut(part.before)
        seconds = [max(wire_second(wall), EARLIEST) for wall in page.walls]
        order = order_of(seconds)
        self.evidence.learn_order(order, page.ids, seconds)
        unfiltered = self.evidence.unfiltered and order is not TimeOrder.FALLING
        if order is TimeOrder.NONE or not part.in_order or unfiltered:
            if not self._agenda.misses_bound(
                part,
                None if part.end in seconds else part.end,
                None if part.start in seconds else part.start,
            ):
                self._feed_disorder(part, keys)
        elif order is TimeOrder.RISING:
            if not self._agenda.misses_bound(part, None, part.start, seconds[0]):
                self._follow(part, Part(seconds[-1], part.end, seam_at_start=True), keys, new)
        elif not self._agenda.misses_bound(part, part.end, None, seconds[0]):
            rest = Part(part.start, seconds[-1], seam_at_end=True)
            if order is TimeOrder.ONE_SECOND:
                self._feed_second(part, rest, keys, new)
            elif not (self._has_older(page) or self._counts_the_last(part, seconds, new)):
                self._follow(part, rest, keys, new)

    def _has_older(self, page: Placed[HeldT]) -> bool:
        """Tell whether something older than the window came: then a falling page has the rest."""
        return self.start is not None and wire_second(min(page.walls)) < self.start

    def _counts_the_last(self, part: Part, seconds: Sequence[int], new: int) -> bool:
        """Count the oldest second at once, where half of a page is of it: it may fill a page."""
        second = seconds[-1]
        tied = seconds.count(second)
        if not new or 2 * tied < len(seconds) or not self.evidence.looks_cut(len(seconds)):
            return False
        if self.evidence.honours_offset is False or second in self._counted or second <= EARLIEST:
            return False
        if part.start is None or part.start < second:
            older = Part(part.start, second - 1, before=len(seconds), beside=True)
            self._agenda.parts.append(older)
        self._agenda.begin_count((second, second), second=second)
        return True

    def _follow(self, part: Part, rest: Part, keys: list[Key], new: int) -> None:
        """Go on with the rest, at once or once it is seen that it is not empty.

        What is newer than a page that rises is asked for at once: the page may have left out rows
        of its last second, and rows that move away before the count may be as many.
        """
        rest = evolve(rest, before=len(keys))
        if self.evidence.unfiltered and not new:
            self._feed_disorder(part, keys)
        elif self.evidence.looks_cut(len(keys)) or (new and rest.seam_at_start):
            self._agenda.parts.append(rest)
        elif new or not self._was_whole(part, len(keys)):
            self._agenda.loose.append(rest)

    def _was_whole(self, part: Part, rows: int) -> bool:
        """Tell whether an answer of known rows was not cut, where only its size can tell.

        The answer before held more, and of that, this one is the end.
        """
        if self.evidence.can_count or part.before is None:
            return False
        return rows < part.before or rows < SMALLEST_PAGE

    def _feed_second(self, part: Part, rest: Part, keys: list[Key], new: int) -> None:
        """All that came is of one second: it may be all that there is, or a part of the second."""
        second = rest.end or EARLIEST
        if self.evidence.looks_cut(len(keys)) and self._leaves_out(part, second):
            return
        if self._was_whole(part, len(keys)) and not new:
            return
        newer = Part(second + 1, part.end, before=len(keys), beside=True)
        if not self.evidence.looks_cut(len(keys)) and (new or self.evidence.can_count):
            if not self.evidence.is_as_promised and (part.end is None or second < part.end):
                self._agenda.loose.append(newer)
            self._agenda.loose.append(evolve(rest, before=len(keys)))
            return
        at_bottom = part.start is None and second == EARLIEST
        if not at_bottom and (part.start is None or part.start < second):
            self._agenda.parts.append(Part(part.start, second - 1, before=len(keys), beside=True))
        if part.end is None or second < part.end:
            self._agenda.parts.append(newer)
        # What lies before second 1 cannot be asked for by itself, and 1 may be left out as a bound.
        span: Span = (None, second + 1) if at_bottom else (second, second)
        if self.evidence.honours_offset is False:
            self._settle_second(span, len(keys), ignored=True)
        elif new or second not in self._counted:
            self._agenda.begin_count(span, second=second)

    def _leaves_out(self, part: Part, second: int) -> bool:
        """Ask again without the second beside the window, which fills a page by itself.

        It came, so the server leaves out no such bound: the window needs no second beside it.
        """
        start, end = self._agenda.asked
        if second == start == part.start and self.start is not None and second < self.start:
            self._agenda.asked = (second + 1, end)
            self._agenda.parts.append(Part(second + 1, part.end))
        elif second == end == part.end and self.end is not None and second > self.end:
            self._agenda.asked = (start, second - 1)
            self._agenda.parts.append(Part(part.start, second - 1))
        else:
            return False
        self.came.forget_second(second)
        return True

    def _settle_second(self, span: Span, rows: int, *, ignored: bool) -> None:
        """Judge a second whose rows could not be counted."""
        if ignored and (rows < SMALLEST_PAGE or rows < self._agenda.largest):
            return
        second = span[1]
        if not ignored or self.evidence.capped is not False or second is None:
            self._agenda.give_up(span)
        elif not self._look_around(second) and rows % _ROUND == 0 and rows in _LIKELY_CAPS:
            self._agenda.give_up(
                span
            )  # there is nothing else, and the dialect's word is not enough

    def _look_around(self, second: int) -> bool:
        """Ask for more than the window: an answer with other rows, too, would prove the second."""
        start, end = self._agenda.asked
        step, self._steps = self._steps, self._steps + 1
        if step <= len(_AROUND) and start is None:
            step, self._steps = len(_AROUND) + 1, len(_AROUND) + 2
        if step > 2 * len(_AROUND) + 1:
            return False
        far = [*_AROUND, None][step % (len(_AROUND) + 1)]
        if step <= len(_AROUND):
            start = None if far is None or second - far < EARLIEST else second - far
            self._agenda.asked = (start, end)
            self._agenda.parts.append(Part(start, second, seam_at_end=True))
        else:
            self._agenda.parts.append(Part(start, None if far is None else second + far))
        return True

    # In no order

    def _feed_disorder(self, part: Part, keys: list[Key]) -> None:
        """Count what comes in no order; where that is impossible, ask for the halves."""
        if self.evidence.honours_offset is not False:
            self._feed_count(self._agenda.begin_count(self._agenda.bounds(part)), keys)
        elif self.evidence.unfiltered:
            self._settle_unfiltered(len(keys))
        elif len(keys) >= (SMALLEST_PAGE if part.before is None else part.before):
            self._agenda.halve(part.span, len(keys), self.came.seconds_in(part.span))

    def _settle_unfiltered(self, rows: int) -> None:
        """Judge the one answer of a server that ignores range and offset.

        It is all that there is, or all that is ever told. Servers that cut nothing, such as
        classic ones asked in the wrong place, are believed; a cut is known by its round number.
        """
        is_round = SMALLEST_PAGE <= rows <= _LARGEST_PAGE and rows % _ROUND == 0
        if len(self.came.seconds) == rows and self.evidence.capped is False and not is_round:
            self._agenda.over = True
        else:
            self._agenda.give_up(self._agenda.asked)

    # Counting

    def _feed_count(self, count: Count, keys: list[Key]) -> None:
        second = self._agenda.second
        if second is not None and count.requests == 0:
            came = (max(self.came.seconds[key] or EARLIEST, EARLIEST) for key in keys)
            if second not in came and self._agenda.widen(second, count.span):
                return
        count.feed(keys)
        if count.outcome is None:
            return
        self._agenda.count = None
        if count.outcome is CountOutcome.PROVEN:
            self._agenda.over = count.span == self._agenda.asked
            if second is not None:
                self._counted.add(second)
            return
        ignored = count.outcome is CountOutcome.IGNORED
        if ignored:
            self.evidence.honours_offset = False
        if is_second(count.span):
            self._settle_second(count.span, count.largest, ignored=ignored)
        elif ignored:
            self._agenda.parts.append(Part(*count.span, in_order=False))
        elif count.outcome is CountOutcome.TOO_MANY:
            self._agenda.halve(count.span, None, self.came.seconds_in(count.span))
        else:
            self._agenda.give_up(count.span)

    def _feed_probe(
        self, page: Placed[HeldT], query: Query, keys: list[Key], new: list[Key]
    ) -> None:
        self._agenda.proof = None
        self.evidence.honours_offset = not keys
        if keys and self._agenda.loose and self._agenda.loose[-1].seam_at_end:
            part = self._agenda.loose.pop()
            older = sum((self.came.seconds[key] or 0) <= (part.end or 0) for key in new)
            part = evolve(part, end=query.end, seam_at_end=False)
            self._feed_part(part, page, keys, older)

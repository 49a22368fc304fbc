"""What is still to be asked of one window, what is being asked, and what has been given up.

Each second of the window lies in a part that is still to be asked for, in a part that seems to be
empty (loose), in what is being counted or proven, or in what has come. A window is over when no
part is left and a proof has held, or when something has been given up; see `window_reader`.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from attrs import Factory, define, frozen

from ppapi_async.protocol.evidence import Evidence
from ppapi_async.streaming.counting import MOST_REQUESTS, Count, Key, Query, Span

__all__ = ["EARLIEST", "SMALLEST_PAGE", "Agenda", "Claim", "Part", "Proof", "is_second"]

EARLIEST = 1
"""No earlier second can be asked for: 0 and below mean "no bound"."""
SMALLEST_PAGE = 5
"""No server is known to cut an answer of fewer rows."""
_PAGES_OF_COUNT = 24  # over more than a second, before the window is to be narrowed


@frozen
class Part:
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
        """The seconds of it, as they are asked for."""
        return self.start, self.end

    def holds(self, second: int) -> bool:
        """Tell whether a row of this second lies in it."""
        after = self.start is None or self.start <= second
        return after and (self.end is None or second <= self.end)


class Claim(Enum):
    """What a count of known rows is to prove."""

    WHOLE = "the window"
    OLDEST = "what lies at or before the oldest second"
    NEWER = "the part that is newer than the rest"
    NEWER_TO_THE_EDGE = "the same, but for the newest second"
    UP_TO_THE_EDGE = "what lies before the newest second"
    OFFSET = "that offset is honoured"


@frozen
class Proof:
    """A query whose known rows are compared with its positions."""

    claim: Claim
    span: Span
    known: int

    def query(self, largest: int) -> Query:
        """Return what to ask."""
        return Query(*self.span, self.known - self.last(largest))

    def last(self, largest: int) -> int:
        """Return how many of the known rows are asked for: one, where a page holds more."""
        return int(self.claim is not Claim.OFFSET and largest > 1 and self.known > 0)

    def holds(self, page: Sequence[Key], known: bool, largest: int) -> bool:
        """Tell whether the answer, of known rows only or not, shows that there are no others."""
        return len(page) == self.last(largest) and known


@define
class Agenda:
    """What is to be asked, and in which order: a count or a proof first, then the last part.

    `asked` is what the first query asks for. All others ask for a part of it.
    """

    evidence: Evidence
    window: Span
    asked: Span
    largest: int = 0
    """The most rows in one answer."""
    parts: list[Part] = Factory(list)
    loose: list[Part] = Factory(list)
    """Parts that seem to be empty, until that is proven."""
    count: Count | None = None
    second: int | None = None
    """Of which second the count is, if it is of one."""
    proof: Proof | None = None
    over: bool = False
    unproven: list[Span] = Factory(list)
    """What was given up."""

    @property
    def query(self) -> Query | None:
        """What to ask next; None where there is nothing."""
        if self.over:
            return None
        if self.count is not None:
            return self.count.query
        if self.proof is not None:
            return self.proof.query(self.largest)
        return Query(*self.bounds(self.parts[-1])) if self.parts else None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left to be asked, and nothing has been concluded from that."""
        return not (self.over or self.count or self.proof or self.parts)

    def open_loose(self) -> None:
        """Ask for the parts that seemed to be empty."""
        self.parts, self.loose = self.loose, []

    def bounds(self, part: Part) -> Span:
        """Return what to ask for a part: where a bound is left out, a second more."""
        start, end = part.span
        inner_start = part.seam_at_start or (part.beside and start != self.asked[0])
        inner_end = part.seam_at_end or (part.beside and end != self.asked[1])
        if inner_start and start is not None and self.evidence.start_excluded:
            start -= 1
        if inner_end and end is not None and self.evidence.end_excluded:
            end += 1
        return start, end

    def misses_bound(
        self, part: Part, end: int | None, start: int | None, first: int | None = None
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
        self.parts.append(part)
        return True

    def begin_count(self, span: Span, *, second: int | None = None) -> Count:
        """Count what a span selects."""
        most = MOST_REQUESTS
        if not is_second(span) and not self.evidence.unfiltered:
            most = _PAGES_OF_COUNT
        self.count, self.second = Count(span, most), second
        return self.count

    def widen(self, second: int, span: Span) -> bool:
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
        self.begin_count(span, second=second)
        return True

    def halve(self, span: Span, before: int | None, known: Sequence[int]) -> None:
        """Ask for both halves of what the known rows span; the halves overlap at their bounds."""
        start, end = span
        oldest, newest = min(known, default=0), max(known, default=0)
        middle = (max(oldest, EARLIEST) + newest) // 2
        older = Part(start, middle + 1, before, in_order=False)
        newer = Part(middle, end, before, in_order=False)
        if newest - oldest <= 2 or span in (older.span, newer.span) or self.evidence.unfiltered:
            self.give_up(span)
        else:
            self.parts += [newer, older]

    def give_up(self, span: Span) -> None:
        """Take a span as one that cannot be proven, and with it the window."""
        start, end = span
        first, last = self.window
        if start is not None and first is not None:
            start = max(start, first)
        if end is not None and last is not None:
            end = min(end, last)
        self.unproven.append((first if start is None else start, end))
        self.over, self.count, self.proof = True, None, None


def is_second(span: Span) -> bool:
    """Tell whether a span is one second, or one with what its bounds need; or has no beginning."""
    start, end = span
    if end is None:
        return False
    return end - start <= 2 if start is not None else end <= EARLIEST + 1

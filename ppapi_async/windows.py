"""One window of time: what to ask next, and what is proven complete.

A server may cut an answer without a sign (2.7: after `limit` rows, 100 by default), so a window is
read by a machine that takes an answer for whole only on evidence, and otherwise asks for the rest:
towards older rows from the oldest second seen (that second again, rows are told apart by id), and
with `offset` inside a second that holds more than a page. Of a server whose order is not known
only the filter is trusted: its window is halved until each part is whole. Rows may move to the
present while one reads; whoever drives this machine looks at the live edge again for them.
"""

from __future__ import annotations

from itertools import takewhile
from typing import Generic, TypeVar

from attrs import Factory, define, frozen

from ppapi_async.models import Row
from ppapi_async.page import Page, wire_second

__all__ = ["Evidence", "Pace", "Query", "WindowRead"]

RowT = TypeVar("RowT", bound=Row)
_MOST_RESTARTS = 5  # of a walk by offset that keeps being disturbed

Span = tuple[int | None, int | None]


@frozen
class Query:
    """One request for rows: inclusive wire seconds, None for no bound, and an offset."""

    start: int | None
    end: int | None
    offset: int = 0


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
    """Whether the server cuts answers; False trusts every answer to be whole."""
    surely_whole: int = 10
    """Answers of fewer rows are whole: no server has a smaller page."""
    largest: int = 0
    """The most rows in one answer. The server's page is no smaller, so less was not cut."""
    newest_first: bool = False
    """Whether the server is known to answer newest first, so that a cut loses the oldest rows.

    Never learned from answers: a page of a server that sorts by id can look the same.
    """
    unfiltered: bool = False
    """Whether the latest answer held rows outside the range that was asked for."""
    pace: Pace = Factory(Pace)

    def fresh(self) -> Evidence:
        """Return what the next stream or poll begins with: nothing but the pace."""
        return Evidence(pace=self.pace)

    def is_whole(self, rows: int) -> bool:
        """Tell whether an answer of so many rows was certainly not cut."""
        return rows == 0 or self.capped is False or rows < max(self.surely_whole, self.largest)


@define
class _Walk:
    """Reading a span page by page with `offset`, each page overlapping the last by a row.

    The overlap proves that nothing before it was taken away meanwhile, which would shift unread
    rows into the part that counts as read.
    """

    span: Span
    offset: int = 0
    last_id: int | None = None
    seen: set[int] = Factory(set)
    restarts: int = 0
    checking: bool = False

    def advance(self, ids: list[int]) -> None:
        self.seen.update(ids)
        overlap = len(ids) > 1
        self.offset += len(ids) - overlap
        self.last_id = ids[-1] if overlap else None

    def restart(self) -> bool:
        """Go back to the beginning; False where it has been tried often enough."""
        self.offset, self.last_id, self.checking = 0, None, False
        self.seen.clear()
        self.restarts += 1
        return self.restarts <= _MOST_RESTARTS


@define
class WindowRead(Generic[RowT]):
    """The reading of one window, driven by `query` and `feed` until `query` is None.

    Then `unproven` is empty and `rows` has every row of the window, or `unproven` names the spans
    that could not be proven.
    """

    evidence: Evidence
    start: int | None
    end: int | None
    rows: dict[int, RowT] = Factory(dict)
    requests: int = 0
    unproven: list[Span] = Factory(list)
    latest: int | None = None
    """Where the present may be at most: rows dated later are from a clock that was wrong."""
    first_newest: int | None = None
    """The newest second of the first answer, up to `latest`; later rows came or moved since."""
    _spans: list[Span] = Factory(lambda self: [(self.start, self.end)], takes_self=True)
    _walk: _Walk | None = None
    _edge: list[int] = Factory(list)

    @property
    def query(self) -> Query | None:
        """What to ask next; None when the reading has ended."""
        if self._walk is not None:
            return Query(*self._walk.span, self._walk.offset)
        return Query(*self._spans[-1]) if self._spans else None

    def feed(self, page: Page[RowT]) -> None:
        """Take the answer to `query`."""
        self.requests += 1
        if self.first_newest is None and page.records:
            self.first_newest = self._newest_of(page)
        whole = self.evidence.is_whole(len(page.records))
        self._learn(page)
        self._keep(page)
        if self._walk is not None:
            self._feed_walk(self._walk, page, whole)
        else:
            self._feed_span(page, whole)

    def _newest_of(self, page: Page[RowT]) -> int | None:
        latest = self.latest
        if latest is None or page.newest <= latest:
            return page.newest
        return max((s for s in map(wire_second, page.walls) if s <= latest), default=None)

    def _learn(self, page: Page[RowT]) -> None:
        evidence = self.evidence
        evidence.largest = max(evidence.largest, len(page.records))
        start, end = self._walk.span if self._walk is not None else self._spans[-1]
        if page.records:
            too_old = start is not None and page.oldest < start
            too_new = end is not None and page.newest > end
            evidence.unfiltered = too_old or too_new

    def _keep(self, page: Page[RowT]) -> None:
        """Keep the rows of the window; of a row met twice, the later answer."""
        if not self.evidence.unfiltered:
            self.rows.update({row.id: row for row in page.records})
            return
        for row, wall in zip(page.records, page.walls, strict=True):
            second = wire_second(wall)
            if (self.start is None or second >= self.start) and (
                self.end is None or second <= self.end
            ):
                self.rows[row.id] = row

    def _feed_span(self, page: Page[RowT], whole: bool) -> None:
        start, end = self._spans.pop()
        self._edge = []
        if whole:
            return
        oldest, newest = page.oldest, page.newest
        if self.evidence.unfiltered:
            # Narrower questions would bring the same answer; only its own order is left to go by.
            self._begin_walk((start, end), page)
        elif oldest == newest:
            self._split_around(oldest, start, end)
            self._begin_walk((oldest, oldest), page)
        elif self.evidence.newest_first and page.falls:
            self._spans.append((start, oldest))
            edge = takewhile(page.walls[-1].__eq__, reversed(page.walls))
            self._edge = [row.id for row, _ in zip(reversed(page.records), edge, strict=False)]
        else:
            middle = (oldest + newest) // 2
            self._spans += [(middle + 1, end), (start, middle)]

    def _split_around(self, second: int, start: int | None, end: int | None) -> None:
        """Go on with both sides of an overfull second; above it only if something may be there."""
        if not self.evidence.newest_first and (end is None or second < end):
            self._spans.append((second + 1, end))
        if start is None or start < second:
            self._spans.append((start, second - 1))

    def _begin_walk(self, span: Span, page: Page[RowT]) -> None:
        self._walk = _Walk(span)
        self._walk.advance([row.id for row in page.records])

    def _feed_walk(self, walk: _Walk, page: Page[RowT], whole: bool) -> None:
        ids = [row.id for row in page.records]
        if walk.checking:
            self._end_walk(walk, proven=walk.seen.issuperset(ids))
        elif walk.last_id is not None and walk.last_id not in ids:
            if not walk.restart():
                self._end_walk(walk, proven=False)
        elif whole:
            walk.seen.update(ids)
            self._end_or_check(walk)
        elif walk.offset and walk.seen.issuperset(ids):  # the same page again: offset is ignored
            self._end_walk(walk, proven=False)
        else:
            walk.advance(ids)

    def _end_or_check(self, walk: _Walk) -> None:
        """End the walk; over more than a second, look first whether rows came in at its head."""
        if walk.span[0] == walk.span[1] is not None:
            self._end_walk(walk, proven=True)
        else:
            walk.offset, walk.last_id, walk.checking = 0, None, True

    def _end_walk(self, walk: _Walk, *, proven: bool) -> None:
        if not proven and walk.checking and walk.restart():
            return
        self._walk = None
        if not proven:
            self.unproven.append(walk.span)

    @property
    def rest(self) -> tuple[int | None, int] | None:
        """The older part that is still unread, where the newer part is already complete."""
        if len(self._spans) != 1 or not self._edge or self.unproven:
            return None
        start, end = self._spans[0]
        return (start, end) if start == self.start and end is not None else None

    def stop(self) -> None:
        """Give up `rest`: forget the rows of its newest second, of which some may be unread."""
        for row_id in self._edge:
            self.rows.pop(row_id, None)  # one that stands there twice is gone already
        self._spans.clear()

"""A simulated site for the pure rooms: rows on a clock, cut and filtered as a server might."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from datetime import UTC, datetime

from attrs import Factory, define, frozen

from ppapi_async.models import NO_EXTRA
from ppapi_async.page import Page
from ppapi_async.planning import Plan, Segment
from ppapi_async.windows import Evidence, Query, WindowRead


@frozen
class Mark:
    """A row that is nothing but an id and a time."""

    id: int
    time: datetime
    extra: Mapping[str, object] = NO_EXTRA


@define
class Site:
    """A server with rows `{id: wire second}`.

    `order` is how it sorts before it cuts: by time from new to old as both recorded versions do,
    from old to new, or by id alone.
    """

    rows: dict[int, int]
    cap: int | None = None
    limit: int | None = None
    honours_offset: bool = True
    honours_filter: bool = True
    order: str = "newest first"
    moves: list[tuple[int, int]] = Factory(list)
    """`(request number, id)`: before that request the row moves to the present."""
    now: int = 10_000
    asked: list[Query] = Factory(list)
    _in_order: list[tuple[int, int]] | None = None

    def answer(self, query: Query) -> Page[Mark]:
        """Answer like a server, after the moves that are due."""
        self.asked.append(query)
        for number, row_id in self.moves:
            if number == len(self.asked) and row_id in self.rows:
                self.now += 1
                self.rows[row_id] = self.now
                self._in_order = None
        found = self._found(query) if self.honours_filter else self._sorted()
        if self.honours_offset:
            found = found[query.offset :]
        caps = [cap for cap in (self.cap, self.limit) if cap is not None]
        found = found[: min(caps)] if caps else found
        walls = [datetime.fromtimestamp(second, UTC) for _, second in found]
        return Page([Mark(i, w) for (i, _), w in zip(found, walls, strict=True)], walls)

    def _sorted(self) -> list[tuple[int, int]]:
        """Return the rows in the server's order; sorted anew only after a move."""
        if self._in_order is None:
            self._in_order = sorted(self.rows.items(), key=self._rank)
        return self._in_order

    def _found(self, query: Query) -> list[tuple[int, int]]:
        start = query.start if query.start is not None and query.start > 0 else -(2**62)
        end = query.end if query.end is not None and query.end > 0 else 2**62
        rows = self._sorted()
        if self.order != "newest first":
            return [row for row in rows if start <= row[1] <= end]
        newest = bisect_left(rows, -end, key=lambda row: -row[1])
        return rows[newest : bisect_right(rows, -start, key=lambda row: -row[1])]

    def _rank(self, item: tuple[int, int]) -> tuple[int, int]:
        row_id, second = item
        return {"newest first": (-second, row_id), "oldest first": (second, row_id)}.get(
            self.order, (-row_id, 0)
        )


class UnprovenError(Exception):
    """What the stream would raise as IncompleteError."""


@define
class Reader:
    """Carries a plan out against a site, as a stream does, without any I/O."""

    site: Site
    evidence: Evidence
    start: int | None = None
    end: int | None = None
    now: int = 10_000
    window: int | None = None
    newest_first: bool = False
    rows_move: bool = True
    most_rows: int | None = None
    """An answer of more rows fails as too large, where the window can be narrowed."""
    concurrency: int = 1
    most_requests: int = 2_000
    plan: Plan[Mark] = Factory(
        lambda self: Plan(
            self.start,
            self.end,
            now=self.now,
            evidence=self.evidence,
            window=self.window,
            newest_first=self.newest_first,
            rows_move=self.rows_move,
        ),
        takes_self=True,
    )
    told: dict[int, Mark] = Factory(dict)
    most_held: int = 0

    def run(self) -> list[Mark]:
        """Return the rows in the order in which a stream hands them out."""
        out: list[Mark] = []
        while not self.plan.done:
            self.read_some()
            while (segment := self.plan.pop()) is not None:
                out += self.hand_out(segment)
        return out

    def read_some(self) -> None:
        """Take up to `concurrency` windows, then read them one request each in turn."""
        under_way: list[tuple[Segment[Mark], WindowRead[Mark]]] = []
        for _ in range(self.concurrency):
            segment = self.plan.take()
            if segment is not None:
                read = WindowRead[Mark](self.evidence, segment.start, segment.end)
                under_way.append((segment, read))
        while under_way:
            under_way = [pair for pair in under_way if self.step(*pair)]
            held = sum(len(s.records) for s in self.plan.segments)
            self.most_held = max(self.most_held, held + sum(len(r.rows) for _, r in under_way))

    def step(self, segment: Segment[Mark], read: WindowRead[Mark]) -> bool:
        """Ask once; False when the window is done with."""
        query = read.query
        if query is None:
            if read.unproven:
                raise UnprovenError(read.unproven)
            self.plan.finish(segment, read)
            return False
        if self.plan.is_enough(segment, read):
            self.plan.part(segment, read)
            return False
        assert len(self.site.asked) < self.most_requests, "asks without end"
        page = self.site.answer(query)
        too_large = self.most_rows is not None and len(page.records) > self.most_rows
        may_shrink = read.requests == 0 and not self.evidence.unfiltered
        if too_large and may_shrink and self.plan.shrink(segment):
            return False
        read.feed(page)
        return True

    def hand_out(self, segment: Segment[Mark]) -> list[Mark]:
        """Sort, cut to the range and drop what was handed out before."""
        records = sorted(segment.records, key=lambda row: (row.time, row.id))
        records = [row for row in records if row.id not in self.told]
        self.told |= {row.id: row for row in records}
        return records[::-1] if self.newest_first else records

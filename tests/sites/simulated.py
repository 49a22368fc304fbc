"""A simulated site for the pure modules: rows on a clock, cut and filtered as a server might."""

from __future__ import annotations

import random
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from itertools import cycle, groupby
from operator import itemgetter

from attrs import Factory, define, field, frozen

from ppapi_async.models import NO_EXTRA, UnreadableRow
from ppapi_async.protocol.evidence import Evidence
from ppapi_async.protocol.page import Page
from ppapi_async.streaming.counting import Key, Query
from ppapi_async.streaming.planner import Complete, Plan, Segment
from ppapi_async.streaming.window_reader import WindowRead


@frozen
class Mark:
    """A row that is nothing but an id and a time."""

    id: int
    time: datetime
    extra: Mapping[str, object] = NO_EXTRA


@frozen
class Event:
    """What happens at the site before a request: a row comes, goes, or moves.

    `second` is where to: None is the present, and where a row is gone there is no place.
    """

    request: int
    row_id: int
    gone: bool = False
    second: int | None = None


@define
class Site:
    """A server with rows `{id: wire second}`.

    `order` is how it sorts before it cuts: by time from new to old as both recorded versions do,
    from old to new, by id alone (upwards or downwards), or in turns from new to old and from old
    to new. `ties` is how rows of one second stand: by id; `fixed`, in an order that each query has
    of its own, as a database's plan for it gives; `rotated` by the offset; or at `random`.
    """

    rows: dict[int, int]
    cap: int | None = None
    limit: int | None = None
    caps: Mapping[int, int] = Factory(dict)
    """Caps from a request on, `{request number: rows}`."""
    honours_offset: bool = True
    honours_filter: bool = True
    honours_start: bool = True
    honours_end: bool = True
    excludes_start: bool = False
    excludes_end: bool = False
    order: str = "newest first"
    ties: str = "by id"
    moves: list[tuple[int, int]] = Factory(list)
    """`(request number, id)`: before that request the row moves to the present."""
    events: Sequence[Event] = ()
    unreadable: AbstractSet[int] = frozenset()
    """Ids of rows that cannot be read; every third not even its id, every sixth not its time."""
    repeats: int = 0
    """How often some rows stand in the site's list, as a JOIN would have it."""
    now: int = 10_000
    asked: list[Query] = Factory(list)
    _in_order: list[tuple[int, int]] | None = None
    _chance: random.Random = Factory(lambda: random.Random(7))

    def answer(self, query: Query) -> Page[Mark]:
        """Answer like a server, after what is due to happen."""
        self.asked.append(query)
        self._happen(len(self.asked))
        self.cap = self.caps.get(len(self.asked), self.cap)
        if self.order == "alternating":
            self._in_order = None
        found = self._found(query) if self.honours_filter else self._sorted()
        found = self._tied(found, query)
        if self.honours_offset:
            found = found[query.offset :]
        caps = [cap for cap in (self.cap, self.limit, query.limit) if cap is not None]
        return self._page(found[: min(caps, default=len(found))])

    def _page(self, found: list[tuple[int, int]]) -> Page[Mark]:
        page: Page[Mark] = Page([], [])
        for row_id, second in found:
            wall = datetime.fromtimestamp(second, UTC)
            if row_id in self.unreadable:
                odd = UnreadableRow(
                    row_id if row_id % 3 else None,
                    wall if row_id % 6 else None,
                    (),
                    f"digest {row_id}",
                )
                page.unreadable.append(odd)
            else:
                page.records.append(Mark(row_id, wall))
                page.walls.append(wall)
        return page

    def _happen(self, number: int) -> None:
        for due, row_id in self.moves:
            if due == number and row_id in self.rows:
                self._put(row_id, None)
        for event in self.events:
            if event.request == number and event.gone:
                self.rows.pop(event.row_id, None)
                self._in_order = None
            elif event.request == number:
                self._put(event.row_id, event.second)

    def _put(self, row_id: int, second: int | None) -> None:
        if second is None:
            self.now += 1
        self.rows[row_id] = self.now if second is None else second
        self._in_order = None

    def _sorted(self) -> list[tuple[int, int]]:
        """Return the rows in the server's order; sorted anew only after a move."""
        if self._in_order is None:
            rows = [*self.rows.items()]
            rows += [row for row in rows if row[0] % 3 == 0] * self.repeats
            self._in_order = sorted(rows, key=self._rank)
        return self._in_order

    def _found(self, query: Query) -> list[tuple[int, int]]:
        start, end = -(2**62), 2**62
        if query.start is not None and query.start > 0 and self.honours_start:
            start = query.start + self.excludes_start
        if query.end is not None and query.end > 0 and self.honours_end:
            end = query.end - self.excludes_end
        rows = self._sorted()
        if self.order != "newest first":
            return [row for row in rows if start <= row[1] <= end]
        newest = bisect_left(rows, -end, key=lambda row: -row[1])
        return rows[newest : bisect_right(rows, -start, key=lambda row: -row[1])]

    def _tied(self, found: list[tuple[int, int]], query: Query) -> list[tuple[int, int]]:
        """Put the rows of each second into the order that they have for this query."""
        if self.ties == "by id" or self.order.startswith("by id"):
            return found
        chance = self._chance
        if self.ties == "fixed":
            asked = (query.start, query.end, query.offset, query.limit)
            chance = random.Random(repr(asked))
        ranks: list[tuple[int, int]] = []
        for _, group in groupby(found, key=itemgetter(1)):
            rows = [*group]
            if self.ties == "rotated":
                turn = query.offset % len(rows)
                ranks += rows[turn:] + rows[:turn]
            else:
                chance.shuffle(rows)
                ranks += rows
        return ranks

    def _rank(self, item: tuple[int, int]) -> tuple[int, int]:
        row_id, second = item
        order = self.order
        if order == "alternating":
            order = "oldest first" if len(self.asked) % 2 else "newest first"
        return {
            "newest first": (-second, row_id),
            "oldest first": (second, row_id),
            "by id": (-row_id, 0),
            "by id upwards": (row_id, 0),
        }[order]


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
    ahead: bool = True
    most_rows: int | None = None
    """An answer of more rows fails as too large, where the window can be narrowed."""
    concurrency: int = 1
    turns: Sequence[int] = ()
    """Whose request comes next, of those under way; without it, one after the other."""
    failures: frozenset[int] = frozenset()
    """Requests that fail, so that their window is narrowed where it can be."""
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
            ahead=self.ahead,
            second_of=lambda time: int(time.timestamp()),
        ),
        takes_self=True,
    )
    handed_out: set[int] = Factory(set)
    unreadable: set[Key] = Factory(set)
    most_held: int = 0
    _turns: Iterator[int] | None = field(default=None, init=False)
    _sent: int = 0

    def run(self) -> list[Mark]:
        """Return the rows in the order in which a stream hands them out."""
        out: list[Mark] = []
        self._turns = cycle(self.turns) if self.turns else None
        under_way: dict[Segment[Mark], WindowRead[Mark]] = {}
        while not self.plan.done:
            self.take(under_way)
            self.go_on(under_way)
            while (segment := self.plan.pop()) is not None:
                out += self.hand_out(segment)
        return out

    def take(self, under_way: dict[Segment[Mark], WindowRead[Mark]]) -> None:
        """Begin with windows until there are as many as may be read at once."""
        waiting = self.plan.waiting if self.concurrency > 1 else 0
        while len(under_way) + waiting < self.concurrency:
            segment = self.plan.take()
            if segment is None:
                break
            under_way[segment] = self.plan.read(segment)
            waiting = self.plan.waiting if self.concurrency > 1 else 0

    def go_on(self, under_way: dict[Segment[Mark], WindowRead[Mark]]) -> None:
        """Let windows ask one request each, until one of them is done with."""
        done = not under_way
        while not done:
            turns = list(under_way.items())
            if self._turns is not None:
                turns = [turns[next(self._turns) % len(turns)]]
            for segment, read in turns:
                if not self.step(segment, read):
                    del under_way[segment]
                    done = True
            states = [segment.state for segment in self.plan.segments]
            held = sum(len(state.rows) for state in states if isinstance(state, Complete))
            self.most_held = max(
                self.most_held, held + sum(len(r.rows) for r in under_way.values())
            )

    def step(self, segment: Segment[Mark], read: WindowRead[Mark]) -> bool:
        """Ask once; False when the window is done with."""
        query = self.plan.ask(segment, read)
        if query is None:
            if read.unproven:
                raise UnprovenError(read.unproven)
            return False
        may_shrink = read.requests == 0 and not self.evidence.unfiltered
        self._sent += 1
        if self._sent in self.failures and may_shrink and self.plan.shrink(segment):
            return False
        assert len(self.site.asked) < self.most_requests, "asks without end"
        page = self.site.answer(_as_sent(query))
        too_large = self.most_rows is not None and page.size > self.most_rows
        if too_large and may_shrink and self.plan.shrink(segment):
            return False
        read.feed(page)
        return True

    def hand_out(self, segment: Segment[Mark]) -> list[Mark]:
        """Sort, cut to the range and drop what was handed out, where a row may come again."""
        read = segment.complete
        ids = sorted(read.rows, key=lambda row_id: (read.seconds[row_id], row_id))
        records = [read.rows[row_id] for row_id in ids]
        self.unreadable.update(read.unreadable)
        again = segment.again or self.newest_first
        if self.rows_move and (again or self.plan.is_live(segment)):
            records = [row for row in records if row.id not in self.handed_out]
        self.handed_out.update(row.id for row in records)
        return records[::-1] if self.newest_first else records


def _as_sent(query: Query) -> Query:
    """Return what goes over the wire, where 0 and below would mean no bound."""
    start = query.start if query.start is not None and query.start > 0 else None
    end = None if query.end is None else max(query.end, 1)
    return Query(start, end, query.offset, query.limit)


def in_range(reader: Reader, rows: Mapping[int, int]) -> set[int]:
    """Return the ids of the rows that lie in the range."""
    return {
        row_id
        for row_id, second in rows.items()
        if (reader.start is None or second >= reader.start)
        and (reader.end is None or second <= reader.end)
    }


def what_is_wrong(reader: Reader, before: Mapping[int, int], ids: Sequence[int]) -> str:
    """Return nothing where each row that was there all the time came once.

    A row that moves to the present is met there, if the range reaches it. Of one that comes, goes
    or moves elsewhere nothing is promised: no server does that. Nor of one that is dated ahead
    until it moves to the present, which lies behind: what is dated ahead is read last. The next
    stream, and every watch, looks at the present again.

    Args:
        reader: what has read the site.
        before: the site's rows as they were.
        ids: those of the rows that were handed out.
    """
    site, got = reader.site, set(ids)
    moved = {row_id for _, row_id in site.moves}
    touched = {event.row_id for event in site.events}
    touched |= {row_id for row_id in moved if before.get(row_id, 0) > reader.now}
    inside = in_range(reader, before)
    if not reader.ahead:
        inside = {row_id for row_id in inside if before[row_id] <= reader.plan.horizon}
    readable = inside - site.unreadable
    odd = {i if i % 3 else (f"digest {i}", 1) for i in inside & site.unreadable - touched - moved}
    wrong: Mapping[str, AbstractSet[Key]] = {
        "twice": {row_id for row_id, times in Counter(ids).items() if times > 1} - touched,
        "lost": readable - touched - got,
        "other": got - readable - moved - touched,
        "hidden": odd - reader.unreadable,
    }
    return "; ".join(f"{name}: {sorted(map(str, rows))}" for name, rows in wrong.items() if rows)


def scattered(bursts: Sequence[tuple[int, int, int]], seed: int) -> dict[int, int]:
    """Return rows from `(middle, spread, how many)`, their ids in no order."""
    chance = random.Random(seed)
    seconds = [
        middle + chance.randint(-spread, spread)
        for middle, spread, many in bursts
        for _ in range(many)
    ]
    ids = list(range(1, len(seconds) + 1))
    chance.shuffle(ids)
    return dict(zip(ids, seconds, strict=True))

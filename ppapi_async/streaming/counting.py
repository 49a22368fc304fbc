"""How many rows a query selects, and whether all of them have come: counting by `offset`.

Rows of one second come in any order, and in another one for each limit and offset. Pages that are
walked by offset then overlap and leave out rows at once, so what a page holds proves nothing. What
holds in any order is the number: `offset` n brings no row if and only if fewer than n + 1 rows are
selected. So

- where each page begins with the row that ended the one before, the order stands still. Positions
  walked and different rows met are compared, and where they are equal every row has come: a row
  that was left out would be a position without a row of its own. A row that goes meanwhile shifts
  the others, and shows by the page that does not begin as it should.
- where pages do not, the positions are counted first. Then pages are taken at other limits and
  offsets until as many different rows have come since, and the positions are counted again: all
  these rows were there between two counts that agree, so they are all.

A server that ignores `offset` has an answer for every offset: one that no list reaches finds out.
Pure: it tells what to ask and takes the answers' ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import TypeAlias

from attrs import Factory, define, frozen

__all__ = ["BEYOND", "MOST_REQUESTS", "MOST_ROWS", "Count", "CountOutcome", "Key", "Query", "Span"]

MOST_REQUESTS = 1_000
"""Requests for one second, or for one window, before it is given up."""
MOST_ROWS = 200_000
"""Rows of one second, before it is given up."""
BEYOND = 1_000_000
"""An offset that no list reaches: whoever has rows for it ignores it."""
_MOST_RESTARTS = 5  # of a count that keeps being disturbed
_STALE_ROUNDS = 6  # as many rows asked for as there are, so often, and none of them was new
_STRIDE = 7_919  # a prime: offsets that come in no order, each once

Key: TypeAlias = "int | tuple[str, int]"
"""A row's id. Of a row without: its digest, and the how manieth it is on its page."""
Span: TypeAlias = "tuple[int | None, int | None]"
"""Inclusive wire seconds as they are asked for; None is no bound."""


@frozen
class Query:
    """One request for rows: wire seconds as they are asked for, None for no bound, and a place."""

    start: int | None
    end: int | None
    offset: int = 0
    limit: int | None = None
    """None: as many as fit on a page."""


class CountOutcome(Enum):
    """How a count ended."""

    PROVEN = "as many different rows as there are positions"
    IGNORED = "offset is ignored"
    TOO_MANY = "too many requests or rows"
    RESTLESS = "the rows never stood still"


class _Phase(Enum):
    WALKING = "page by page, each beginning with the last row of the one before"
    PROBING = "is offset ignored?"
    MEASURING = "page by page to the end, in no order"
    COLLECTING = "other pages, until there are as many rows as positions"
    CONFIRMING = "are there still as many?"


@define
class Count:
    """Counts what `span` selects, driven by `query` and `feed` until there is an `outcome`."""

    span: Span
    most_requests: int = MOST_REQUESTS
    outcome: CountOutcome | None = None
    requests: int = 0
    largest: int = 0
    """The most rows in one answer, those counted that stand in it twice."""
    met: set[Key] = Factory(set)
    """The different rows, since the count began or began anew."""
    _phase: _Phase = _Phase.WALKING
    _positions: int = 0
    _last: Key | None = None
    _total: int = 0
    _honours_offset: bool = False
    _restarts: int = 0
    _tries: int = 0
    _swept: int = 0
    """Positions that were asked for one after the other."""
    _stale: int = 0
    """Rows asked for in vain since the last new one."""

    @property
    def query(self) -> Query:
        """What to ask next."""
        offset, limit = self._positions, None
        if self._phase is _Phase.WALKING:
            offset -= self._overlaps
        elif self._phase is _Phase.PROBING:
            offset = BEYOND
        elif self._phase is _Phase.COLLECTING:
            offset, limit = self._pick()
        elif self._phase is _Phase.CONFIRMING:
            offset = self._total - (self.largest > 1)
        return Query(*self.span, offset, limit)

    @property
    def _overlaps(self) -> bool:
        """Whether a page begins with the last row of the one before; one of a single row cannot."""
        return self._positions > 0 and self.largest > 1

    def feed(self, keys: Sequence[Key]) -> None:
        """Take the rows of the answer to `query`, in their order."""
        self.requests += 1
        {
            _Phase.WALKING: self._walk,
            _Phase.PROBING: self._probe,
            _Phase.MEASURING: self._measure,
            _Phase.COLLECTING: self._collect,
            _Phase.CONFIRMING: self._confirm,
        }[self._phase](keys)
        self.largest = max(self.largest, len(keys))
        if self.requests >= self.most_requests or len(self.met) > MOST_ROWS:
            self.outcome = self.outcome or CountOutcome.TOO_MANY

    def _walk(self, keys: Sequence[Key]) -> None:
        overlaps, new = self._overlaps, self._meet(keys)
        if not keys:
            if overlaps:  # a row has gone
                self._restart()
            else:
                self._end_walk(steady=True)
            return
        self._positions += len(keys) - overlaps
        if overlaps and len(keys) == 1:
            self._end_walk(steady=keys[0] == self._last)
        elif self._positions > len(keys) and not new:
            self._suspect_offset()
        elif overlaps and keys[0] != self._last:
            self._phase = _Phase.MEASURING
        else:
            self._last = keys[-1]

    def _end_walk(self, *, steady: bool) -> None:
        if steady and len(self.met) == self._positions:
            self.outcome = CountOutcome.PROVEN
        else:
            self._begin_collecting()

    def _suspect_offset(self) -> None:
        """Nothing new came at a later offset: pages in no order, or the same one again."""
        self._phase = _Phase.MEASURING if self._honours_offset else _Phase.PROBING

    def _probe(self, keys: Sequence[Key]) -> None:
        if keys:
            self.outcome = CountOutcome.IGNORED
        self._honours_offset = True
        self._phase = _Phase.MEASURING

    def _measure(self, keys: Sequence[Key]) -> None:
        new = self._meet(keys)
        self._positions += len(keys)
        if not keys:
            self._begin_collecting()
        elif not new:
            self._suspect_offset()

    def _begin_collecting(self) -> None:
        self._total, self._swept, self._stale = self._positions, 0, 0
        self._phase = _Phase.COLLECTING
        self.met.clear()

    def _pick(self) -> tuple[int, int | None]:
        """Return offset and limit of another page: one after the other first, then anywhere."""
        if self._swept < self._total:
            return self._swept, None
        # A database's plan depends on limit and offset, so no two questions are the same.
        page = max(1, self.largest)
        offsets = max(1, self._total - page // 2)
        rounds = self._tries // offsets
        limit = max(2, page * 7 // 10 if self._tries % 3 == 2 else page - rounds)
        return self._tries * _STRIDE % offsets, limit if limit < page else None

    def _collect(self, keys: Sequence[Key]) -> None:
        if self._swept < self._total:
            self._swept += len(keys)
        else:
            self._tries += 1
        self._stale = 0 if self._meet(keys) else self._stale + len(keys)
        if len(self.met) == self._total:
            self._phase = _Phase.CONFIRMING
        elif (
            not keys or len(self.met) > self._total or self._stale > _STALE_ROUNDS * self._total
        ):  # rows have gone or come
            self._restart()

    def _confirm(self, keys: Sequence[Key]) -> None:
        known = self.met.issuperset(keys)
        if known and len(keys) == (self.largest > 1):
            self.outcome = CountOutcome.PROVEN
        else:
            self._restart()

    def _meet(self, keys: Sequence[Key]) -> bool:
        """Remember the rows; tell whether one of them is new."""
        before = len(self.met)
        self.met.update(keys)
        return len(self.met) > before

    def _restart(self) -> None:
        self._restarts += 1
        if self._restarts > _MOST_RESTARTS:
            self.outcome = CountOutcome.RESTLESS
        self._phase, self._positions, self._last = _Phase.WALKING, 0, None
        self.met.clear()

"""The cheapest poll: one request, whose answer proves itself, and often is that of last time.

What is new since a moment ago fits into one answer on nearly all sites, and on most nothing is. So
a stream with its plan is made only where one request was not enough, and an answer that is byte for
byte the one that was told in whole before is not even decoded.
"""

from __future__ import annotations

from collections.abc import Generator
from datetime import UTC, datetime
from operator import attrgetter
from typing import Generic, TypeVar

from attrs import define, field, frozen

from ppapi_async.clock import SiteClock
from ppapi_async.codec import Answer, PageCodec
from ppapi_async.errors import PPAPIError, ResponseTooLargeError
from ppapi_async.models import Row
from ppapi_async.page import Page
from ppapi_async.streams import ANSWER_OF_WINDOW, Request, params_of, trust
from ppapi_async.transport import Steps, Transport, is_transient
from ppapi_async.windows import Evidence, Query, WindowRead

__all__ = ["Glance", "Unchanged", "unless_known"]

T = TypeVar("T")
RowT = TypeVar("RowT", bound=Row)
_MOST_ROWS = 250  # sorted and judged in one go
_BY_TIME = attrgetter("time", "id")


@frozen
class Unchanged:
    """An answer that is the one of last time."""


def unless_known(known: int | None, steps: Steps[T]) -> Steps[tuple[T, int] | Unchanged]:
    """Return steps that decode an answer only if its digest is not the known one.

    They return the digest along with the value.
    """

    def decode(answer: Answer) -> Generator[None, None, tuple[T, int] | Unchanged | PPAPIError]:
        digest = hash(answer.body)
        if digest == known and answer.status == 200:
            return Unchanged()
        value = yield from steps(answer)
        return value if isinstance(value, PPAPIError) else (value, digest)

    return decode


@define(eq=False)
class Glance(Generic[RowT]):
    """Asks for the rows since a second with a single request."""

    line: Transport
    evidence: Evidence
    request: Request[RowT]
    page_size: int
    works: bool = False
    """Whether one request was enough last time."""
    _asked: tuple[int, int] | None = None
    """The start and the digest of the answer of this poll."""
    _told: tuple[int, int] | None = None
    """The same of the last poll that was told in whole."""
    _clock: SiteClock = field(init=False)
    _codec: PageCodec[RowT] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._clock = SiteClock(self.line.account.zone)
        reader = self.line.reader(self.request.method)
        self._codec = PageCodec(self.request.record, self._clock, reader)

    async def read(self, start: int) -> list[RowT] | Unchanged | None:
        """Return all rows since `start`, oldest first; None where it takes more than a request.

        Raises:
            PPAPIError: what the answer came to, unless a narrower question may help.
        """
        self._asked = None
        self.evidence = self.evidence.fresh()
        if not self.works:
            return None
        try:
            page = await self._ask(start)
        except PPAPIError as error:
            if not (is_transient(error) or isinstance(error, ResponseTooLargeError)):
                raise
            self.works = False
            return None
        if isinstance(page, Unchanged):
            self._asked = self._told
            return page
        return self._judge(page, start)

    def forget(self) -> None:
        """Look at the next answer, even if it is the one of last time."""
        self._told = None

    def end_poll(self, requests: int) -> None:
        """Take a poll as told in whole that took so many requests, 0 for a glance."""
        self._told = self._asked if requests == 0 else None
        self.works = requests <= 1

    async def _ask(self, start: int) -> Page[RowT] | Unchanged:
        trust(self.evidence, self.line.dialect, self.page_size)
        first = self._clock.first_second(_instant(start))
        line, query = self.line, Query(first, None)
        params = params_of(self.request, query, line.dialect, self.evidence, self.page_size)
        known = self._told[1] if self._told is not None and self._told[0] == start else None
        answer: tuple[Page[RowT], int] | Unchanged = await self.line.read(
            self.request.method,
            params,
            unless_known(known, self._codec.steps),
            attempts_of=_once,
            largest=min(ANSWER_OF_WINDOW, self.line.largest_answer),
        )
        if isinstance(answer, Unchanged):
            return answer
        self._asked = (start, answer[1])
        return answer[0]

    def _judge(self, page: Page[RowT], start: int) -> list[RowT] | None:
        first = self._clock.first_second(_instant(start))
        read: WindowRead[RowT] = WindowRead(self.evidence, first, None)
        read.feed(page)
        if read.query is not None or read.unproven or len(read.rows) > _MOST_ROWS:
            self.works = False
            return None
        rows = [row for row in read.rows.values() if row.time >= _instant(start)]
        rows.sort(key=_BY_TIME)
        return rows


def _once(_: PPAPIError) -> int:
    return 1


def _instant(second: int) -> datetime:
    return datetime.fromtimestamp(second, UTC)

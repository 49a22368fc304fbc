"""The cheapest poll: a request or two, whose answer often is that of last time.

What is new since a moment ago fits into one answer on nearly all sites, and on most nothing is. So
a stream with its plan is made only where that was not enough, and an answer that is byte for
byte one that was delivered in whole before is not even decoded.
"""

from __future__ import annotations

from collections.abc import Container, Generator
from datetime import datetime
from operator import attrgetter
from typing import Generic, TypeVar

from attrs import define, field, frozen

from ppapi_async.errors import PPAPIError, ResponseTooLargeError
from ppapi_async.models import Row, UnreadableRow
from ppapi_async.protocol import Answer, PageCodec
from ppapi_async.protocol.evidence import Evidence
from ppapi_async.protocol.page import Page
from ppapi_async.protocol.responses import Decoder, Slices
from ppapi_async.protocol.site_clock import SiteClock
from ppapi_async.streaming.counting import Query
from ppapi_async.streaming.stream import ANSWER_OF_WINDOW, Request, params_of, trust
from ppapi_async.streaming.window_reader import WindowRead
from ppapi_async.transport.client import Transport
from ppapi_async.transport.retry import is_transient

__all__ = ["FastPoll", "FastRows", "Unchanged", "unless_known"]

T = TypeVar("T")
RowT = TypeVar("RowT", bound=Row)
_MOST_ROWS = 250  # sorted and judged in one go
_MOST_REQUESTS = 2  # the rows, and the proof that they are all
_FEW_REQUESTS = 4  # of a stream that proved more, after which a fast poll is worth a try
_MOST_KNOWN = 16  # answers
_BY_TIME = attrgetter("time", "id")


@frozen
class Unchanged:
    """An answer that is the one of last time."""


@frozen
class FastRows(Generic[RowT]):
    """All rows of a time, out of one answer."""

    rows: list[RowT]
    """Oldest first."""
    unreadable: list[UnreadableRow]


def unless_known(known: Container[int], decode: Decoder[T]) -> Decoder[tuple[T, int] | Unchanged]:
    """Return what decodes an answer only if its digest is not a known one.

    It returns the digest along with the value.
    """

    def decode_news(answer: Answer) -> Slices[tuple[T, int] | Unchanged]:
        digest = hash(answer.body)
        if digest in known and answer.status == 200:
            return Unchanged()
        decoded = decode(answer)
        value = (yield from decoded) if isinstance(decoded, Generator) else decoded
        return value if isinstance(value, PPAPIError) else (value, digest)

    return decode_news


@define(eq=False)
class FastPoll(Generic[RowT]):
    """Asks for the rows since a second with one request, or two where one proves too little."""

    transport: Transport
    evidence: Evidence
    request: Request[RowT]
    page_size: int
    fits: int = 0
    """How far back that was enough, in seconds."""
    _known: dict[int, datetime] = field(factory=dict)
    """By the digests of answers that were delivered in whole: since when. All of their rows are
    known, as long as no row has shown anything else, so that they need not be looked at again. An
    answer is often that of a poll that began to read a little earlier, or much earlier at a quiet
    site."""
    _asked: tuple[int, datetime] | None = None
    """The digest of this poll's answer, and since when its rows are."""
    _clock: SiteClock = field(init=False)
    _codec: PageCodec[RowT] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._clock = SiteClock(self.transport.account.zone)
        reader = self.transport.reader(self.request.method)
        self._codec = PageCodec(self.request.record, self._clock, reader)

    async def read(
        self, start: datetime, end: datetime, depth: int
    ) -> FastRows[RowT] | Unchanged | None:
        """Return all rows from `start` to `end`; None where it takes more requests.

        `depth` is how far back that is, in seconds.

        Raises:
            PPAPIError: what the answer came to, unless a narrower question may help.
        """
        self._asked = None
        if depth > self.fits:
            return None
        found: FastRows[RowT] | Unchanged | None = None
        try:
            found = await self._look(start, end)
        except PPAPIError as error:
            if not (is_transient(error) or isinstance(error, ResponseTooLargeError)):
                raise
        if found is None:
            self.fits = depth - 1
        return found

    def forget(self) -> None:
        """Look at every answer again: a row is no longer what earlier answers showed."""
        self._known.clear()

    def end_poll(self, depth: int, requests: int) -> None:
        """Take a poll as delivered in whole that took so many requests, 0 for a fast poll."""
        if self._asked is not None and requests == 0:
            digest, start = self._asked
            self._known[digest] = min(start, self._known.pop(digest, start))
            while len(self._known) > _MOST_KNOWN:
                del self._known[next(iter(self._known))]
        elif 1 <= requests <= _FEW_REQUESTS:
            self.fits = max(self.fits, depth)
        elif requests:
            self.fits = min(self.fits, depth - 1)

    async def beyond(self, end: datetime) -> bool:
        """Tell whether the site has rows from `end` on, as far as one small answer tells.

        Raises:
            PPAPIError: what the answer came to.
        """
        query = Query(self._clock.first_second(end), None)
        try:
            answer = await self._ask(query, self.evidence.fresh(), (), page_size=1)
        except ResponseTooLargeError:
            return True
        return not isinstance(answer, Unchanged) and any(r.time >= end for r in answer[0].records)

    async def _look(self, start: datetime, end: datetime) -> FastRows[RowT] | Unchanged | None:
        """Read the time with few requests; None where they do not prove that all rows came."""
        evidence = self.evidence.fresh()
        trust(evidence, self.transport.dialect, self.page_size)
        first, last = self._clock.first_second(start), self._clock.last_second(end)
        read: WindowRead[RowT] = WindowRead(evidence, first, last, believes_order=True)
        known = {digest for digest, since in self._known.items() if since <= start}
        first_rows: list[RowT] = []
        while (query := read.query) is not None and read.requests < _MOST_REQUESTS:
            answer = await self._ask(query, evidence, known)
            if isinstance(answer, Unchanged):
                return answer
            page, digest = answer
            if read.requests == 0:
                self._asked, known, first_rows = (digest, start), set(), list(page.records)
            read.feed(page)
        if read.query is not None or read.unproven or len(read.rows) > _MOST_ROWS:
            return None
        rows = [row for row in read.rows.values() if start <= row.time < end]
        rows.sort(key=_BY_TIME)
        # To know the first answer again is to know these rows only if it held them, and no others:
        # a row may have changed, or come, until the second answer.
        if rows != sorted(first_rows, key=_BY_TIME):
            self._asked = None
        return FastRows(rows, list(read.unreadable.values()))

    async def _ask(
        self,
        query: Query,
        evidence: Evidence,
        known: Container[int],
        page_size: int | None = None,
    ) -> tuple[Page[RowT], int] | Unchanged:
        transport = self.transport
        return await transport.read(
            self.request.method,
            params_of(
                self.request, query, transport.dialect, evidence, page_size or self.page_size
            ),
            unless_known(known, self._codec.in_slices),
            attempts_of=lambda _: 1,
            largest=min(ANSWER_OF_WINDOW, transport.largest_answer),
        )

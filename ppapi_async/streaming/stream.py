"""Async iterators over all rows of a range: the plan carried out, request by request."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Generic, TypeAlias, TypeVar

from attrs import define, field, frozen

from ppapi_async._validation import Duration, check_callback, duration, whole
from ppapi_async.account import Dialect
from ppapi_async.errors import (
    IncompleteError,
    MethodNotSupportedError,
    PPAPIError,
    RequestTimeoutError,
    ResponseTooLargeError,
    ServerError,
    TransportError,
)
from ppapi_async.models import Progress, Row, UnreadableRow, Window
from ppapi_async.protocol import PageCodec
from ppapi_async.protocol.dialects import traits_of
from ppapi_async.protocol.evidence import Evidence
from ppapi_async.protocol.heads import HeadCodec
from ppapi_async.protocol.page import KeptPage, Page, Placed
from ppapi_async.protocol.site_clock import SiteClock
from ppapi_async.protocol.unreadable import unreadable_error
from ppapi_async.storage import Checkpoint
from ppapi_async.storage.paths import checkpoint_of
from ppapi_async.streaming.counting import Key, Query
from ppapi_async.streaming.iteration import Items, Iteration
from ppapi_async.streaming.planner import LIVE, Plan, Segment
from ppapi_async.streaming.slices import RowSlices
from ppapi_async.streaming.state import Identity, Run
from ppapi_async.streaming.window_reader import WindowRead
from ppapi_async.transport.callbacks import call
from ppapi_async.transport.client import Transport
from ppapi_async.transport.fairness import in_turns

__all__ = [
    "ANSWER_OF_WINDOW",
    "OnUnreadable",
    "Options",
    "Request",
    "Stream",
    "params_of",
    "recognise",
    "trust",
]

RowT = TypeVar("RowT", bound=Row)
T = TypeVar("T")
ANSWER_OF_WINDOW = 2 * 1024 * 1024
"""Bytes; a window that brings more is narrowed."""
_ATTEMPTS_OF_WINDOW = 2  # before a window is narrowed for a failure
_MOST_FAILED = 3  # windows in a row that are narrowed for that reason, each more than the last


OnUnreadable: TypeAlias = Callable[[UnreadableRow], object]
"""Takes a row that cannot be read; may be `async def`."""


def _window(value: Duration | None) -> timedelta | None:
    return None if value is None else duration(value, "window")


@frozen
class Options:
    """How to go through a range; see `Session.iter_exchanges`."""

    window: timedelta | None = field(default=None, converter=_window)
    concurrency: int = 1
    newest_first: bool = False
    checkpoint: Checkpoint | None = field(default=None, converter=checkpoint_of)
    progress: Callable[[Progress], object] | None = None
    on_unreadable: OnUnreadable | None = None
    """Takes each row that cannot be read; the rows beside it come all the same."""
    repeats: bool = False
    """Whether a row that has moved, and is met again, is handed out again: for those who keep what
    they get by its id."""

    def __attrs_post_init__(self) -> None:
        if self.window is not None and self.window < timedelta(seconds=1):
            raise ValueError("window: pass a second or more, or None to adapt")
        whole(self.concurrency, "concurrency", "1 to 64 windows at once", least=1, most=64)
        check_callback(self.progress, "progress")
        check_callback(self.on_unreadable, "on_unreadable")
        if self.newest_first and self.checkpoint is not None:
            raise ValueError("checkpoint: needs the order oldest first")


@frozen(kw_only=True)
class Request(Generic[RowT]):
    """What to ask a site for."""

    method: str
    record: type[RowT]
    start: datetime | None
    end: datetime | None
    params: dict[str, str | int]
    ip: str | None = None
    """Sent only to servers whose filter works: classic's get_links finds nothing with it."""
    matches: Callable[[RowT], bool] | None = None
    """The same filter, applied here to whatever comes."""

    @property
    def filters(self) -> str:
        """What belongs to the identity of a checkpoint, apart from the range."""
        return " ".join(f"{name}={value}" for name, value in self.params.items()) + (self.ip or "")


async def recognise(transport: Transport) -> None:
    """Learn which dialect the site speaks, and so whom to trust with what, before the first page.

    Raises:
        PPAPIError: what get_info came to.
    """
    if transport.dialect is None:
        with contextlib.suppress(MethodNotSupportedError):
            await transport.get_info()


def trust(evidence: Evidence, dialect: Dialect | None, page_size: int) -> None:
    """Note what the dialect promises: where to begin. Its answers have to show the rest."""
    traits = traits_of(dialect)
    evidence.capped = traits.capped
    evidence.page = page_size
    evidence.promises_falling = traits.newest_first


def params_of(
    request: Request[RowT],
    query: Query,
    dialect: Dialect | None,
    evidence: Evidence,
    page_size: int,
) -> dict[str, str | int]:
    """Return the parameters of one request for rows."""
    params: dict[str, str | int] = {}
    # 0 and below mean "no bound" to a server, so a start there is left out, and an end there
    # is asked for as second 1: the rows of that second are outside the range and dropped.
    if query.start is not None and query.start > 0:
        params["start_time"] = query.start
    if query.end is not None:
        params["end_time"] = max(query.end, 1)
    params |= request.params
    if request.ip is not None and traits_of(dialect).filters_ip:
        params["ip"] = request.ip
    if evidence.capped is not False or query.offset:
        params["limit"] = page_size if query.limit is None else min(query.limit, page_size)
        if query.offset:
            params["offset"] = query.offset
    return params


@define(eq=False, repr=False)
class Stream(Iteration, Generic[RowT]):
    """The rows of a range, oldest first, each once, proven complete.

    Iterate it once, row by row or by `windows()`. Leaving the loop early is fine; whoever keeps
    the stream can also close it with `aclose` or `async with`.
    """

    _transport: Transport
    _evidence: Evidence
    _request: Request[RowT]
    _page_size: int
    _options: Options
    _clock: SiteClock = field(init=False)
    _codec: PageCodec[RowT] = field(init=False)
    _requests: int = 0
    _rows: int = 0
    _failed_windows: int = 0
    _run: Run[RowT | bytes] | None = field(default=None, init=False)
    _unreadable: dict[Key, UnreadableRow] = field(factory=dict)
    """Those that have been met."""

    def __repr__(self) -> str:
        request, name = self._request, self._transport.account.name
        start = "" if request.start is None else f" from {_shown(request.start)}"
        end = "" if request.end is None else f" to {_shown(request.end)}"
        return f"<Stream {request.method} of {name!r}{start}{end}>"

    def __attrs_post_init__(self) -> None:
        self._evidence = self._evidence.fresh()
        self._clock = SiteClock(self._transport.account.zone)
        reader = self._transport.reader(self._request.method)
        self._codec = PageCodec(self._request.record, self._clock, reader)

    # The face

    def __aiter__(self) -> AsyncIterator[RowT]:
        """Iterate over the rows.

        Raises:
            IncompleteError: some seconds could not be proven complete.
            PPAPIError: what the site answered in the end.
        """
        return self._start(
            self._read_rows, on_leave=self.leave, under_way=self._transport.under_way
        )

    def windows(self) -> AsyncIterator[Window[RowT]]:
        """Iterate over proven windows instead of single rows; raises as iterating does."""
        return self._start(
            self._read_singly, on_leave=self._leave_window, under_way=self._transport.under_way
        )

    def windows_as(self, make: Callable[[Window[RowT]], Awaitable[T | None]]) -> Items[T]:
        """Iterate over what a function makes of each proven window; None is passed over.

        A window counts as handed out when what was made of it is: closed before that, it is not.
        """
        return self._start(
            functools.partial(self._read_made, make),
            on_leave=self._leave_window,
            under_way=self._transport.under_way,
        )

    @property
    def account(self) -> str:
        """The account's name."""
        return self._transport.account.name

    @property
    def record(self) -> type[RowT]:
        """What its rows are."""
        return self._request.record

    @property
    def has_checkpoint(self) -> bool:
        """Whether it keeps its position."""
        return self._options.checkpoint is not None

    # Handing out

    async def collect(self) -> list[RowT]:
        """Return all rows; cancelled, it has cleaned up before it ends.

        Raises:
            PPAPIError: as iterating does.
        """
        rows: list[RowT] = []
        async with self:
            async for window in self.windows():
                rows += window.records
        return rows

    async def read(self) -> AsyncGenerator[Window[RowT], None]:
        """Yield the windows in the task that asks for them, which has to close the generator.

        A window counts as handed out when the next one is asked for.

        Raises:
            PPAPIError: as iterating does.
        """
        run = self._run = await self._begin()
        async with contextlib.aclosing(self._read_windows(run)) as windows:
            async for segment, slices in windows:
                window = self._window(segment, [row async for rows in slices for row in rows])
                run.begin_rows(row.id for row in window.records)
                if window.records or segment.start is not None:
                    yield window
                run.end_rows()
        run.save()

    async def _read_singly(self) -> AsyncGenerator[list[Window[RowT]], None]:
        async with contextlib.aclosing(self.read()) as windows:
            async for window in windows:
                yield [window]

    async def _read_made(
        self, make: Callable[[Window[RowT]], Awaitable[T | None]]
    ) -> AsyncGenerator[list[T], None]:
        async with contextlib.aclosing(self.read()) as windows:
            async for window in windows:
                made = await make(window)
                if made is not None:
                    yield [made]

    async def _read_rows(self) -> AsyncGenerator[list[RowT], None]:
        run = self._run = await self._begin()
        async with contextlib.aclosing(self._read_windows(run)) as windows:
            async for _, slices in windows:
                async for rows in slices:
                    run.begin_rows(row.id for row in rows)
                    yield rows
                    run.end_rows()
        run.save()

    def leave(self, rows: int) -> None:
        """Save the position for the last time; `rows` of the window under way were handed out."""
        if self._run is not None:
            self._run.leave(rows)

    def _leave_window(self, windows: int) -> None:
        if self._run is not None:
            self._run.leave(len(self._run.handing_out) if windows else 0)

    async def _begin(self) -> Run[RowT | bytes]:
        await recognise(self._transport)
        request, traits = self._request, traits_of(self._transport.dialect)
        moves = traits.rows_move and request.method == "get_exchanges"
        present = max(self._transport.hooks.clock(), self._transport.server_time())
        now = datetime.fromtimestamp(present, UTC)
        clock, window = self._clock, self._options.window
        account = self._transport.account
        run: Run[RowT | bytes] = Run(
            identity=Identity(
                account=account.fingerprint,
                former=() if self._options.checkpoint is None else account.former_fingerprints,
                method=request.method,
                filters=request.filters,
                start=None if request.start is None else clock.first_second(request.start),
                end=None if request.end is None else clock.last_second(request.end),
            ),
            checkpoint=self._options.checkpoint,
            now=clock.last_second(now) + 1,
            may_meet_again=moves and not self._options.repeats,
        )
        trust(self._evidence, self._transport.dialect, self._page_size)
        run.plan = Plan(
            run.cursor,
            run.identity.end,
            now=run.now,
            evidence=self._evidence,
            window=None if window is None else int(window.total_seconds()),
            newest_first=self._options.newest_first,
            rows_move=moves,
            jump=int(clock.jump(now).total_seconds()),
            horizon=clock.last_second(now) + 1 + LIVE,  # of now, not of when it first began
            second_of=clock.first_second,
        )
        return run

    # Reading

    async def _read_windows(
        self, run: Run[RowT | bytes]
    ) -> AsyncGenerator[tuple[Segment[RowT | bytes], AsyncGenerator[list[RowT], None]], None]:
        """Yield the windows as they are proven, each with what yields its rows."""
        plan, tasks = run.plan, run.tasks
        try:
            while not plan.done:
                await self._read_some(run)
                while (segment := plan.pop()) is not None:
                    async with contextlib.aclosing(self._slices(run, segment)) as slices:
                        yield segment, slices
                    await self._report(run)
                    run.end_window()
            if self._unreadable and self._options.on_unreadable is None:
                account, method = self._transport.account.name, self._request.method
                rows = list(self._unreadable.values())
                raise unreadable_error(rows, account=account, method=method)
        finally:
            for task in tasks.values():
                task.cancel()
            await asyncio.gather(*tasks.values(), return_exceptions=True)

    async def _read_some(self, run: Run[RowT | bytes]) -> None:
        """Read windows until something has changed."""
        if self._options.concurrency == 1:
            segment = run.plan.take()
            if segment is not None:
                await self._read(run, segment)
            return
        while len(run.tasks) + run.plan.waiting < self._options.concurrency:
            segment = run.plan.take()
            if segment is None:
                break
            run.tasks[segment] = asyncio.create_task(self._read(run, segment))
        # One that has failed waits here for its turn; to wait for it would be to wait for nothing.
        under_way = [task for task in run.tasks.values() if not task.done()]
        if under_way:
            await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
        for segment in [s for s, task in run.tasks.items() if task.done()]:
            if run.tasks[segment].exception() is None:
                del run.tasks[segment]
        head = run.plan.segments[-1 if self._options.newest_first else 0]
        if head in run.tasks and run.tasks[head].done():
            await run.tasks.pop(head)  # it failed, and all before it has been handed out

    async def _read(self, run: Run[RowT | bytes], segment: Segment[RowT | bytes]) -> None:
        """Read a window to its end, or as far as the plan wants it."""
        read = run.plan.read(segment)
        while (query := run.plan.ask(segment, read)) is not None:
            page = await self._page_or_shrink(run, segment, query, first=read.requests == 0)
            if page is None:
                return
            read.feed(page)
        if read.unproven:
            raise self._incomplete(read)

    async def _page_or_shrink(
        self, run: Run[RowT | bytes], segment: Segment[RowT | bytes], query: Query, *, first: bool
    ) -> Placed[RowT | bytes] | None:
        """Return the page, or None where the window has been given back to be narrowed."""
        may_shrink = first and segment.width != 1 and not self._evidence.unfiltered
        gentle = may_shrink and self._failed_windows < _MOST_FAILED
        try:
            page = await self._ask(query, may_shrink=may_shrink, gentle=gentle)
        except (TransportError, ServerError, ResponseTooLargeError) as error:
            too_large = isinstance(error, ResponseTooLargeError)
            if not (may_shrink if too_large else gentle and _may_be_too_long(error)):
                raise
            self._failed_windows += not too_large
            if run.plan.shrink(segment, 1 if too_large else self._failed_windows):
                return None
            page = await self._ask(query, may_shrink=False, gentle=False)
        self._failed_windows = 0
        return page

    async def _ask(self, query: Query, *, may_shrink: bool, gentle: bool) -> Page[RowT] | KeptPage:
        request, dialect = self._request, self._transport.dialect
        params = params_of(request, query, dialect, self._evidence, self._page_size)
        self._requests += 1
        return await self._transport.read(
            self._request.method,
            params,
            HeadCodec(self._codec).in_slices,
            attempts_of=_attempts_of_window if gentle else None,
            largest=min(ANSWER_OF_WINDOW, self._transport.largest_answer) if may_shrink else None,
        )

    async def _report_unreadable(self, unreadable: dict[Key, UnreadableRow]) -> None:
        """Report what could not be read, each row once; what is not taken is kept."""
        start, end = self._request.start, self._request.end
        for key, row in unreadable.items():
            is_outside = row.time is not None and (
                (start is not None and row.time < start) or (end is not None and row.time >= end)
            )
            if is_outside or key in self._unreadable:
                continue
            self._unreadable[key] = row
            if self._options.on_unreadable is not None:
                await call(self._options.on_unreadable, row)

    def _incomplete(self, read: WindowRead[RowT | bytes]) -> IncompleteError:
        spans = [
            tuple(None if s is None else self._clock.second_to_instant(s) for s in span)
            for span in read.unproven
        ]
        shown = "; ".join(f"{a or '…'} to {b or '…'}" for a, b in spans)
        return IncompleteError(
            f"cannot prove that all rows came of {shown}: the site cuts its answers there and"
            " ignores what asks for the rest",
            account=self._transport.account.name,
            method=self._request.method,
            spans=[(a, b) for a, b in spans],
        )

    async def _slices(
        self, run: Run[RowT | bytes], segment: Segment[RowT | bytes]
    ) -> AsyncGenerator[list[RowT], None]:
        """Yield the rows of a window: in order, in range, filtered, without repeats."""
        read = segment.complete
        seconds = (s for i in read.rows if (s := read.seconds[i]) <= run.plan.horizon)
        run.begin_window(segment, max(seconds, default=None))
        if run.may_repeat(segment):
            async for known in in_turns(run.handed_out_ids.repeats(read.rows.keys()), 1):
                for row_id in known:
                    del read.rows[row_id]
        window: RowSlices[RowT] = RowSlices(
            read.rows, read.seconds, self._clock, self._decode, self._options.newest_first
        )
        await self._report_unreadable(read.unreadable)
        async with contextlib.aclosing(window.slices()) as slices:
            async for rows in slices:
                unreadable, window.unreadable = window.unreadable, {}
                await self._report_unreadable(unreadable)
                chosen = self._chosen(rows)
                self._rows += len(chosen)
                if chosen:
                    yield chosen

    async def _decode(self, kept: bytes) -> Page[RowT] | PPAPIError:
        return await self._transport.decode(kept, self._codec.in_slices)

    def _window(self, segment: Segment[RowT | bytes], records: list[RowT]) -> Window[RowT]:
        return Window(
            _later(self._request.start, self._instant(segment.start)),
            _earlier(self._request.end, self._instant(segment.end, 1)),
            records,
            segment.requests,
        )

    def _chosen(self, rows: list[RowT]) -> list[RowT]:
        """Leave out what was not asked for."""
        # Where the zone's clock jumps, too much is asked for.
        start, end = self._request.start, self._request.end
        if start is not None and any(row.time < start for row in rows[:1] + rows[-1:]):
            rows = [row for row in rows if row.time >= start]
        if end is not None and any(row.time >= end for row in rows[:1] + rows[-1:]):
            rows = [row for row in rows if row.time < end]
        if self._request.matches is not None:
            rows = [row for row in rows if self._request.matches(row)]
        return rows

    def _instant(self, second: int | None, add: int = 0) -> datetime | None:
        return None if second is None else self._clock.second_to_instant(second + add)

    async def _report(self, run: Run[RowT | bytes]) -> None:
        if self._options.progress is not None:
            covered = timedelta(seconds=run.covered)
            progress = Progress(self._rows, covered, self._requests, run.fraction)
            await call(self._options.progress, progress)


def _shown(instant: datetime) -> str:
    """Return an instant as short as it can be written."""
    whole = "minutes" if instant.second == instant.microsecond == 0 else "auto"
    return instant.isoformat(timespec=whole).replace("+00:00", "Z")


def _may_be_too_long(error: PPAPIError) -> bool:
    """Tell whether a range that is too long for the server may end like this."""
    return error.sent if isinstance(error, TransportError) else isinstance(error, ServerError)


def _attempts_of_window(error: PPAPIError) -> int | None:
    """Return how often to ask before a window is narrowed; None where that would not help."""
    if not _may_be_too_long(error):
        return None
    return 1 if isinstance(error, RequestTimeoutError) else _ATTEMPTS_OF_WINDOW


def _later(one: datetime | None, other: datetime | None) -> datetime | None:
    return max(one, other) if one is not None and other is not None else one or other


def _earlier(one: datetime | None, other: datetime | None) -> datetime | None:
    return min(one, other) if one is not None and other is not None else one or other

"""Brings one resource of one account up to date in the mirror: what to read, and in which order.

First everything there is, oldest first: the backfill. From then on each pass reads what a watch
would read (`watching.tracker`): the newest rows each time, older ones ever more seldom, so that a
change of a row of age A is met within A/8 or six hours. A pass always reads on to the present.

Each proven window goes into the database in one transaction with the position after it, while the
next one is read. So a pass that is broken off, by whatever, goes on where it was; rows that it
reads again are compared and found the same.

A row that a proven window does not hold may have moved forward, and then it is met again later in
the same pass. So it is only marked as missing, and taken as gone when the pass is over. A site that
lists nothing at all, where the mirror has rows, is not believed at once: everything is asked for
again, and the site is believed when it has said so for an hour.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from typing import Generic, TypeVar

from attrs import define, evolve, field, frozen

from ppapi_async.errors import IncompleteError, StateError
from ppapi_async.mirror.info_reading import InfoReader, MirrorReader
from ppapi_async.mirror.read_ahead import read_ahead
from ppapi_async.mirror.store import Commit, MirrorStore, Place, Reading
from ppapi_async.models import Exchange, Link, Payout, UnreadableRow, Window
from ppapi_async.protocol import dump_stored, parse_stored
from ppapi_async.protocol.site_clock import SiteClock
from ppapi_async.streaming.stream import Request, recognise
from ppapi_async.transport.connection import Connection
from ppapi_async.watching.fast_poll import Unchanged
from ppapi_async.watching.poll_policy import phase_of
from ppapi_async.watching.poll_slots import TakeSlot
from ppapi_async.watching.range_reader import RangeReader, newest_of
from ppapi_async.watching.resources import INFO, LISTS, ResourceName
from ppapi_async.watching.tracker import PERIOD, PollRange, Schedule, Tracker, WatchPosition

__all__ = ["ReaderPosition", "ResourceReader", "reader_of"]

RowT = TypeVar("RowT", bound=Link | Exchange | Payout)
_BESIDE = 1
"""Seconds beside a hole that are left out as well: bounds are asked for a second too wide, for
sites where they are exclusive."""
_MOST_HOLES = 50
"""In a pass."""
_DOUBT = 3600
"""Seconds for which a site has to list nothing at all before it is believed."""
_log = logging.getLogger("ppapi_async")


@frozen(kw_only=True)
class ReaderPosition:
    """How far a resource is: what is saved with each window."""

    zone: str
    """Of the account, when the times of the rows were made."""
    host: str
    since: int | None
    """Where the mirror begins; None: with the first row."""
    began: int
    """When the backfill began, in unix seconds."""
    read_to: int | None = None
    """In the backfill: everything before it is in the database."""
    first: int | None = None
    """The second of the first row, or of `since`."""
    again: bool = False
    """Whether the backfill reads what has been read before: what is new to it is a change."""
    watch: WatchPosition | None = None
    """Of the passes; None while the backfill is under way."""
    doubted: int | None = None
    """Since when the site lists nothing at all, although the mirror has rows."""
    holes: tuple[tuple[int, int], ...] = ()
    """Seconds, both inclusive, that the site could not be brought to list in whole."""
    version: int = 1


@frozen
class _WindowAhead(Generic[RowT]):
    """A window, and when it was read."""

    window: Window[RowT]
    present: int
    """Of that time: a row that came while the window waited to be written is not in it."""


@define(eq=False, kw_only=True)
class ResourceReader(Generic[RowT]):
    """Brings links, exchanges or payouts of one account up to date.

    Args:
        connection: to the site.
        store: the database.
        resource: which of them.
        record: its class.
        interval: from one pass to the next, in seconds.
        lookback: how far back changes are followed.
        since: where the mirror begins; None: with the first row.
        status_history: whether to ask for `statuses`.
        take_slot: makes what is held while a window is read and written.
    """

    connection: Connection
    store: MirrorStore
    resource: ResourceName
    record: type[RowT]
    interval: float
    lookback: timedelta
    since: datetime | None
    status_history: bool
    take_slot: TakeSlot
    requests: int = 0
    schedule: Schedule = field(init=False)
    _place: Place | None = None
    _position: ReaderPosition = field(init=False)
    _document: str | None = None
    """The position as it was saved when this reader read last."""
    _is_resumed: bool = False
    """Whether the position is that of the document."""
    _range: RangeReader[RowT] = field(init=False)
    _unreadable: list[UnreadableRow] = field(factory=list)
    """That this pass has met."""
    _unproven: list[IncompleteError] = field(factory=list)
    """What this pass had to leave out."""
    _met: int = 0
    """Rows that this pass has met."""
    _missing: int = 0
    """Rows that it should have met and has not, in their windows at least."""
    _failed: bool = False

    def __attrs_post_init__(self) -> None:
        method = LISTS[self.resource].method
        params: dict[str, str | int] = {"status_history": 1} if self.status_history else {}
        self._range = RangeReader(
            transport=self.connection.transport,
            evidence=self.connection.evidence(method),
            request=Request(method=method, record=self.record, start=None, end=None, params=params),
            page_size=self.connection.page_size,
            clock_check=self.connection.clock_check,
            on_unreadable=self._unreadable.append,
            repeats=True,
            take_slot=self.take_slot,
        )
        self.set_interval(self.interval)

    def set_interval(self, interval: float) -> None:
        """Read as often as this, in seconds: it decides what a pass reads."""
        phase = phase_of(f"{self.connection.account.fingerprint}/{self.resource}", PERIOD)
        of = Schedule.of_settled if self.record is Link else Schedule.of_changing
        self.interval = interval
        self.schedule = of(interval, self.lookback.total_seconds(), phase)

    @property
    def worked(self) -> bool:
        """Whether anything could ever be read."""
        return self._place is not None and self._place.document is not None

    @property
    def read_to(self) -> datetime | None:
        """All rows before it have been read; None: up to the present."""
        if not self._is_resumed or self._position.watch is not None:
            return None
        return _instant(self._position.read_to)

    @property
    def fraction(self) -> float | None:
        """How much of what there is to read has been, 0 to 1; None where that is not known."""
        if not self._is_resumed:
            return None
        position, now = self._position, self._range.now()
        if position.watch is not None:
            return 1.0
        if position.first is None or position.read_to is None:
            return None
        done = (position.read_to - position.first) / max(1, now - position.first)
        return min(1.0, max(0.0, done))

    async def place(self) -> Place:
        """Return the resource's place in the database."""
        if self._place is None:
            account = self.connection.account
            number = await self.store.account(account)
            self._place = await self.store.shared_place(number, account.name, self.resource)
        return self._place

    async def read(self, *, anew: bool = False) -> AsyncGenerator[Commit, None]:
        """Read what is due, and yield what each transaction has changed."""
        place = await self.place()
        async with place.reading:
            if anew or place.is_stale:
                await self.store.look_anew(place)
            await self._resume(place)
            failed, self._failed = self._failed, True
            try:
                async with contextlib.aclosing(
                    self._bring_up(place, failed=failed, anew=anew)
                ) as commits:
                    async for commit in commits:
                        yield commit
                self._failed, self._document = False, place.document
            finally:
                if self._failed:  # a transaction may have been made or not
                    place.is_stale, self._is_resumed = True, False

    # The position

    async def _resume(self, place: Place) -> None:
        """Take the position from the database, unless it is where this reader has left it."""
        if self._is_resumed and place.document == self._document:
            return
        account = self.connection.account
        await recognise(self.connection.transport)
        since = None if self.since is None else int(self.since.timestamp())
        position = self._new_position(since)
        if place.document is not None:
            try:
                saved = parse_stored(place.document, ReaderPosition)
            except ValueError as error:
                raise StateError(
                    f"the position of {self.resource} cannot be read ({error}): it is of another"
                    " version, or damaged; delete its row of the table positions to read all anew",
                    account=account.name,
                ) from None
            position = self._resumed(saved, since)
        self._position, self._is_resumed = position, True

    def _new_position(self, since: int | None, *, again: bool = False) -> ReaderPosition:
        account = self.connection.account
        return ReaderPosition(
            zone=account.timezone,
            host=account.host,
            since=since,
            first=since,
            began=self._range.now(),
            again=again,
        )

    def _resumed(self, saved: ReaderPosition, since: int | None) -> ReaderPosition:
        """Return where to go on: from the beginning where what was saved no longer fits."""
        account = self.connection.account
        if saved.host != account.host:
            _log.warning(
                "%s: the mirror goes on at %s where it stopped at %s; a site that is not the same"
                " one needs another name",
                account.name,
                account.host,
                saved.host,
            )
        zone = account.timezone
        if saved.zone != zone:
            _log.warning(
                "%s: the zone is %s now, and was %s: all %s are read again, for their times",
                account.name,
                zone,
                saved.zone,
                self.resource,
            )
            return self._new_position(since, again=True)
        earlier = saved.since is not None and (since is None or since < saved.since)
        if earlier:  # what lies before has never been read
            return self._new_position(since, again=saved.again or saved.watch is not None)
        return evolve(saved, host=account.host)

    # Reading

    async def _bring_up(
        self, place: Place, *, failed: bool, anew: bool
    ) -> AsyncGenerator[Commit, None]:
        if self._position.watch is None:
            async with contextlib.aclosing(self._backfill(place)) as commits:
                async for commit in commits:
                    yield commit
            if self._range.now() - self._position.began < self.schedule.interval:
                return
        ranges = self._ranges(failed=failed)
        for reading in ranges:
            async with contextlib.aclosing(self._pass(place, reading)) as commits:
                async for commit in commits:
                    yield commit
        if self._position.holes and (anew or ranges[-1].level is self.schedule.levels[-1]):
            async with contextlib.aclosing(self._fill_holes(place)) as commits:
                async for commit in commits:
                    yield commit
            self._raise_unproven()

    def _ranges(self, *, failed: bool) -> list[PollRange]:
        """Return what to read: what is due, in one go.

        After a pass that failed, what is newest comes first by itself, so that an old part that
        cannot be read does not keep what is new out.
        """
        tracker, present = self._tracker(), self._range.present()
        due, newest = tracker.plan(self._range.now(), present), tracker.plan_newest(present)
        return [newest, due] if failed and newest.start > due.start else [due]

    def _tracker(self) -> Tracker:
        position = self._position.watch
        if position is None:
            start = self._position.since or 0
            position = WatchPosition(start=start, floor=start)
        return Tracker(
            clock=SiteClock(self.connection.account.zone),
            schedule=self.schedule,
            meets_old=False,
            position=position,
        )

    def _read_ahead(
        self, start: datetime | None, end: datetime | None, depth: int | None = None
    ) -> AbstractAsyncContextManager[AsyncGenerator[_WindowAhead[RowT], None]]:
        """Lend the windows of a range: the next one is read while the last one is written."""

        async def read() -> AsyncGenerator[_WindowAhead[RowT], None]:
            async with contextlib.aclosing(self._windows(start, end, depth)) as windows:
                async for window in windows:
                    yield _WindowAhead(window, self._range.present())

        return contextlib.aclosing(read_ahead(read()))

    async def _windows(
        self, start: datetime | None, end: datetime | None, depth: int | None = None
    ) -> AsyncGenerator[Window[RowT], None]:
        """Yield the windows of a range; what cannot be proven of it is left out, and noted.

        `depth`, in seconds, allows a fast poll.
        """
        reached, hole = start, (0, 0)
        windows: AsyncGenerator[Window[RowT] | Unchanged, None]
        if start is None or depth is None:
            windows = self._range.read_stream(start, end)
        else:
            windows = self._range.read(int(start.timestamp()), depth)
        try:
            async with contextlib.aclosing(windows):
                async for window in windows:
                    if not isinstance(window, Unchanged):
                        yield window
                        reached = window.end
            return
        except IncompleteError as error:
            hole = self._leave_out(error, reached)
        # A window is proven as a whole or not at all: what lies before the hole is asked for again.
        before, after = _instant(hole[0]), _instant(hole[1] + 1)
        for part in ((reached, before), (after, end)):
            if part[0] is None or part[1] is None or part[0] < part[1]:
                async with contextlib.aclosing(self._windows(*part)) as rest:
                    async for window in rest:
                        yield window

    def _leave_out(self, error: IncompleteError, reached: datetime | None) -> tuple[int, int]:
        """Note what cannot be proven, and return the first and last second that are left out.

        Raises:
            IncompleteError: it has no end, or there is too much of it.
        """
        seconds = [
            (int(first.timestamp()) - _BESIDE, int(last.timestamp()) + _BESIDE)
            for first, last in error.spans
            if first is not None and last is not None
        ]
        first, last = min(seconds, default=(0, 0))
        is_endless = len(seconds) < max(1, len(error.spans))
        is_behind = reached is not None and last < reached.timestamp()
        if is_endless or is_behind or len(self._unproven) >= _MOST_HOLES:
            raise error
        self._unproven.append(error.with_traceback(None))
        holes = {*self._position.holes, (first, last)}
        self._position = evolve(self._position, holes=tuple(sorted(holes)))
        return first, last

    async def _fill_holes(self, place: Place) -> AsyncGenerator[Commit, None]:
        """Try once more what could not be proven."""
        started, holes = self._begin_pass(), self._position.holes
        self._position = evolve(self._position, holes=())
        for first, last in holes:
            start, end = datetime.fromtimestamp(first, UTC), datetime.fromtimestamp(last + 1, UTC)
            async with self._read_ahead(start, end) as windows:
                async for ahead in windows:
                    yield await self._commit(place, ahead.window, started)
        await self.store.save(place, dump_stored(self._position))

    async def _backfill(self, place: Place) -> AsyncGenerator[Commit, None]:
        """Read everything there is, from where it stopped."""
        started = self._begin_pass()
        since, read_to = _instant(self._position.since), self._position.read_to
        start = since if read_to is None else _instant(read_to)
        newest, is_first, present = None, True, self._range.present()
        async with self._read_ahead(start, None) as windows:
            async for ahead in windows:
                window, present = ahead.window, ahead.present
                newest = newest_of(window) or newest
                if window.end is not None:
                    # What is dated ahead moves nothing: what comes from now on lies before it.
                    end = min(int(window.end.timestamp()), present)
                    read_to = max(end, end if read_to is None else read_to)
                first = self._position.first
                if first is None and window.records:
                    first = int(window.records[0].time.timestamp())
                self._position = evolve(self._position, read_to=read_to, first=first)
                # What lies before the first row has no window of its own.
                part = evolve(window, start=start) if is_first else window
                yield await self._commit(place, part, started)
                is_first = False
        if is_first:
            empty: Window[RowT] = Window(start, None, [], 0)
            yield await self._commit(place, empty, started)
        tracker = self._tracker()
        deepest = PollRange(tracker.position.floor, self.schedule.levels[-1])
        tracker.advance(present, None, newest)
        tracker.end_poll(self._position.began, deepest)
        async with contextlib.aclosing(self._end(place, tracker, started, start)) as commits:
            async for commit in commits:
                yield commit

    async def _pass(self, place: Place, reading: PollRange) -> AsyncGenerator[Commit, None]:
        """Read from a second on to the present."""
        started, began = self._begin_pass(), self._range.now()
        tracker = self._tracker()
        start = max(reading.start, tracker.position.floor)
        first = datetime.fromtimestamp(start, UTC)
        requests = self.requests
        self._range.fast_poll.forget()  # an answer of before says nothing of the database
        is_deepest = reading.level is self.schedule.levels[-1]
        end, depth = (None, None) if is_deepest else (self._range.end(), reading.level.depth)
        async with self._read_ahead(first, end, depth) as windows:
            async for ahead in windows:
                window = ahead.window
                read_to = None if window.end is None else int(window.end.timestamp())
                tracker.advance(ahead.present, read_to, newest_of(window))
                self._save_in(tracker)
                yield await self._commit(place, window, started)
        tracker.end_poll(began, reading)
        self._range.fast_poll.end_poll(reading.level.depth, self.requests - requests)
        async with contextlib.aclosing(self._end(place, tracker, started, first)) as commits:
            async for commit in commits:
                yield commit

    def _begin_pass(self) -> datetime:
        self._unreadable.clear()
        self._unproven.clear()
        self._met = self._missing = 0
        return datetime.fromtimestamp(self.connection.transport.hooks.clock(), UTC)

    def _save_in(self, tracker: Tracker) -> None:
        watch = tracker.to_save(self.connection.account.host)
        self._position = evolve(self._position, watch=watch)

    async def _commit(self, place: Place, window: Window[RowT], started: datetime) -> Commit:
        """Write a window, and the position after it."""
        self.requests += window.requests
        self._met += len(window.records)
        unreadable = [row for row in self._unreadable if _is_in(row, window)]
        position = self._position
        commit = await self.store.commit(
            place,
            Reading(
                start=window.start,
                end=window.end,
                records=window.records,
                unreadable=unreadable,
                proven_at=started,
                backfill=position.watch is None and not position.again,
                document=dump_stored(position),
                history=self.status_history,
            ),
        )
        self._missing += commit.missing
        return commit

    # The end of a pass

    async def _end(
        self, place: Place, tracker: Tracker, started: datetime, start: datetime | None
    ) -> AsyncGenerator[Commit, None]:
        """Take what is missing as gone, unless the site lists nothing at all.

        Args:
            place: of the resource.
            tracker: of the pass that is over.
            started: when it began.
            start: from where it read.
        """
        if self._lists_nothing and await self.store.held(place, start):
            if start is not None:
                start = None
                async with contextlib.aclosing(self._read_all(place, started)) as commits:
                    async for commit in commits:
                        yield commit
            if self._lists_nothing:
                await self._doubt(place)
            self._position = evolve(self._position, doubted=None)
        elif not self._lists_nothing:  # else there was nothing to meet, which settles no doubt
            self._position = evolve(self._position, doubted=None)
        self._save_in(tracker)
        document = dump_stored(self._position)
        if self._unproven:  # what is missing may be there
            await self.store.save(place, document)
            self._raise_unproven()
        if self._missing or document != place.document:
            yield await self.store.end_pass(place, started, document, believe=True, first=start)

    def _raise_unproven(self) -> None:
        """Say what had to be left out.

        Raises:
            IncompleteError: something had to.
        """
        if self._unproven:
            first, spans = self._unproven[0], [s for one in self._unproven for s in one.spans]
            more = f"; and {len(spans) - 1} more" if len(spans) > 1 else ""
            raise IncompleteError(
                f"{first.message}{more}; all other rows are in the mirror",
                account=first.account,
                method=first.method,
                spans=spans,
            )

    @property
    def _lists_nothing(self) -> bool:
        return not (self._met or self._unreadable or self._unproven)

    async def _read_all(self, place: Place, started: datetime) -> AsyncGenerator[Commit, None]:
        """Ask for all rows, however old."""
        is_first = True
        async with self._read_ahead(None, None) as windows:
            async for ahead in windows:
                part = evolve(ahead.window, start=None) if is_first else ahead.window
                yield await self._commit(place, part, started)
                is_first = False

    async def _doubt(self, place: Place) -> None:
        """Go on only if the site has listed nothing for long enough.

        Raises:
            IncompleteError: it has not.
        """
        now, since = self._range.now(), self._position.doubted
        if since is not None and now - since >= _DOUBT:
            return
        if since is None or since > now:
            self._position = evolve(self._position, doubted=now)
            await self.store.save(place, dump_stored(self._position))
        held = await self.store.held(place, None)
        raise IncompleteError(
            f"the site lists no {self.resource} at all, where the mirror has {held}; they are"
            " taken as gone if it still lists none in an hour",
            account=self.connection.account.name,
            method=LISTS[self.resource].method,
        )


def reader_of(
    connection: Connection,
    store: MirrorStore,
    resource: ResourceName,
    *,
    interval: float,
    lookback: timedelta | None,
    since: datetime | None,
    status_history: bool,
    take_slot: TakeSlot,
) -> MirrorReader:
    """Return the reader of any resource; `interval` is in seconds."""
    if resource == INFO:
        return InfoReader(connection=connection, store=store, take_slot=take_slot)
    listed = LISTS[resource]
    return ResourceReader(
        connection=connection,
        store=store,
        resource=resource,
        record=listed.record,
        interval=interval,
        lookback=lookback or listed.lookback,
        since=since,
        status_history=status_history and listed.record is Exchange,
        take_slot=take_slot,
    )


def _instant(second: int | None) -> datetime | None:
    return None if second is None else datetime.fromtimestamp(second, UTC)


def _is_in(row: UnreadableRow, window: Window[RowT]) -> bool:
    """Tell whether a row may belong to a window."""
    if row.time is None:
        return True
    after = window.start is None or row.time >= window.start
    return after and (window.end is None or row.time < window.end)

"""Polls a method that lists rows: what is new, what has changed, and that it was delivered."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from typing import Generic, TypeVar

from attrs import define, field

from ppapi_async.errors import PPAPIError, StateError
from ppapi_async.models import Row, Window
from ppapi_async.protocol import dump_stored, parse_stored
from ppapi_async.protocol.dialects import traits_of
from ppapi_async.protocol.evidence import Evidence
from ppapi_async.protocol.site_clock import ClockCheck, SiteClock
from ppapi_async.protocol.unreadable import PREFIX, UnreadableRows, unreadable_error
from ppapi_async.streaming.stream import Request, recognise
from ppapi_async.transport.client import Transport
from ppapi_async.transport.fairness import in_turns
from ppapi_async.watching.changes import Change, ChangeKind, RowsUnreadable
from ppapi_async.watching.delivery import IN_HAND, Delivery, WatchStore, differing
from ppapi_async.watching.fast_poll import Unchanged
from ppapi_async.watching.poll_slots import TakeSlot
from ppapi_async.watching.range_reader import RangeReader, newest_of
from ppapi_async.watching.tracker import (
    PERIOD,
    WRONG_ZONE,
    PollRange,
    Schedule,
    Tracker,
    Verdict,
    WatchPosition,
)

__all__ = ["RowPoller"]

RowT = TypeVar("RowT", bound=Row)
_POSITION = "position"
_log = logging.getLogger("ppapi_async")


@define(eq=False, kw_only=True)
class RowPoller(Generic[RowT]):
    """Polls a method that lists rows."""

    transport: Transport
    evidence: Evidence
    request: Request[RowT]
    page_size: int
    store: WatchStore
    schedule: Schedule
    lookback: timedelta
    clock_check: ClockCheck
    since: datetime | None = None
    take_slot: TakeSlot = contextlib.nullcontext
    _tracker: Tracker | None = None
    _saved: WatchPosition | None = None
    _in_hand: dict[int, RowT] = field(factory=dict)
    """What was being delivered when it was left: by a consumer, or by a process that ended."""
    _unreadable: UnreadableRows = field(factory=UnreadableRows)
    _failed: bool = False
    """Whether the last poll did."""
    _said_beyond: bool = False
    """Whether the log says that rows of the future are left out."""
    _said_crowded: bool = False
    """Whether the log says that there are too many rows."""
    _beyond_due: int = 0
    """When to look for them next."""
    _reader: RangeReader[RowT] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._reader = RangeReader(
            transport=self.transport,
            evidence=self.evidence,
            request=self.request,
            page_size=self.page_size,
            clock_check=self.clock_check,
            on_unreadable=lambda row: self._unreadable.find([row]),
            take_slot=self.take_slot,
        )

    @property
    def method(self) -> str:
        """The API method."""
        return self.request.method

    @property
    def worked(self) -> bool:
        """Whether a window could ever be read, in this process or an earlier one."""
        position = self._saved if self._tracker is None else self._tracker.position
        return position is not None and position.worked

    async def poll(self) -> AsyncGenerator[Delivery[RowT], None]:
        """Yield what is to be delivered."""
        tracker = self._tracker or await self._open()
        if tracker.position.looked_to is not None:
            await self._look_first(tracker)
        failed, self._failed = self._failed, True
        for reading in self._ranges(tracker, failed=failed):
            async with contextlib.aclosing(self._poll(tracker, reading)) as deliveries:
                async for delivery in deliveries:
                    yield delivery
                    delivery.check()
        self._failed = False
        if self._unreadable.is_news:
            report = self._report()
            yield report
            report.check()
        await self._flush(tracker)

    def _ranges(self, tracker: Tracker, *, failed: bool) -> list[PollRange]:
        """Return what to read: what is due, in one go.

        After a poll that failed, what is newest comes first by itself, so that an old part that
        cannot be read does not keep what is new from being delivered.
        """
        due = tracker.plan(self._reader.now(), self._reader.present())
        newest = tracker.plan_newest(self._reader.present())
        alone = not failed or tracker.position.past_before is not None or newest.start <= due.start
        return [due] if alone else [newest, due]

    async def _poll(
        self, tracker: Tracker, reading: PollRange
    ) -> AsyncGenerator[Delivery[RowT], None]:
        began, requests = self._reader.now(), 0
        # A reading before this one may have moved the floor up: what lies before it is forgotten,
        # and would seem new.
        start = max(reading.start, tracker.position.floor)
        async with contextlib.aclosing(self._read(start, reading.level.depth)) as windows:
            async for window in windows:
                requests += window.requests
                async for row in in_turns(window.records):
                    delivery = await self._judge(tracker, row)
                    if delivery is not None:
                        yield delivery
                await self._advance(tracker, window)
        tracker.end_poll(began, reading)
        self._reader.fast_poll.end_poll(reading.level.depth, requests)
        if not self._said_beyond and began >= self._beyond_due:
            self._beyond_due = began + PERIOD
            await self._look_beyond()

    # The store

    async def _open(self) -> Tracker:
        """Return the tracker, as it was saved or new."""
        entries = await self.store.load()
        saved = entries.pop(_POSITION, None)
        try:
            self._saved = None if saved is None else parse_stored(saved, WatchPosition)
            await recognise(self.transport)  # only now: `worked` must be known if this fails
            tracker = self._new_tracker()
            await self._restore(tracker, entries)
        except ValueError as error:
            raise StateError(
                f"{error}; it was saved by another version, or is damaged: delete the entries of"
                f" {self.store.watch} to begin anew",
                account=self.transport.account.name,
                method=self.method,
            ) from None
        account = self.transport.account
        if self._saved is not None and self._saved.host not in ("", account.host):
            _log.warning(
                "%s: %s goes on at %s where it stopped at %s; a site that is not the same one needs"
                " another name",
                account.name,
                self.method,
                account.host,
                self._saved.host,
            )
        self._tracker = tracker
        return tracker

    def _new_tracker(self) -> Tracker:
        position = self._saved
        if position is None and self.since is not None:
            position = Tracker.begin_at(int(self.since.timestamp()))
        if position is None:
            position = Tracker.begin_now(self._reader.present(), int(self.lookback.total_seconds()))
        is_exchange = self.method == "get_exchanges"
        return Tracker(
            clock=SiteClock(self.transport.account.zone),
            schedule=self.schedule,
            meets_old=is_exchange and traits_of(self.transport.dialect).rows_move,
            position=position,
        )

    async def _restore(self, tracker: Tracker, entries: dict[str, str]) -> None:
        async for name, text in in_turns(entries.items()):
            if name.startswith(PREFIX):
                self._unreadable.reported[name] = text
                continue
            row = parse_stored(text, self.request.record)
            if name.startswith(IN_HAND):
                self._in_hand[row.id] = row
            else:
                tracker.remember(row, text)
        for row_id in self._in_hand:
            tracker.doubt(row_id)

    async def _flush(self, tracker: Tracker) -> None:
        position = tracker.to_save(self.transport.account.host)
        if position != self._saved:
            self.store.put(_POSITION, dump_stored(position))
        await self.store.flush()
        self._saved = position

    # Reading

    async def _look_first(self, tracker: Tracker) -> None:
        """Note what is there at the beginning, so that whatever is not is new."""
        start, newest = tracker.position.looked_to, None
        if start is None:
            return
        async with contextlib.aclosing(self._read(start, WRONG_ZONE)) as windows:
            async for window in windows:
                for row in window.records:
                    self._remember(tracker, row, dump_stored(row))
                newest = newest_of(window) or newest
                tracker.look_on(start if window.end is None else int(window.end.timestamp()))
                await self._flush(tracker)
        tracker.end_first_look(self._reader.now(), self._reader.present(), newest)
        await self._flush(tracker)

    async def _read(self, start: int, depth: int) -> AsyncGenerator[Window[RowT], None]:
        async with contextlib.aclosing(self._reader.read(start, depth)) as windows:
            async for window in windows:
                if not isinstance(window, Unchanged):
                    yield window

    async def _look_beyond(self) -> None:
        """Say once if there are rows that are dated too far ahead to be read."""
        end = self._reader.end()
        async with self.take_slot() as slot:
            with contextlib.suppress(PPAPIError):  # the next time that all is read tells it, too
                self._said_beyond = await self._reader.fast_poll.beyond(end)
            if slot is not None:
                slot.end_reading()
        if self._said_beyond:
            _log.warning(
                "%s: %s: rows that are dated after %s, days ahead, are not delivered before then;"
                " ask the site to mend their dates",
                self.transport.account.name,
                self.method,
                end.isoformat(" ", "minutes"),
            )

    # Judging

    async def _judge(self, tracker: Tracker, row: RowT) -> Delivery[RowT] | None:
        text = dump_stored(row)
        verdict = tracker.judge(row, text)
        if verdict is Verdict.SAME:
            return None
        self._reader.fast_poll.forget()
        change = None if verdict is Verdict.PAST else await self._change(row, verdict)
        if change is None:
            self._remember(tracker, row, text)
            return None

        if change.previous is not None:
            self._in_hand[row.id] = row
            tracker.doubt(row.id)
            await self.store.announce(f"{IN_HAND} {row.id}", text)
        return Delivery(change, functools.partial(self._save, tracker, row, text))

    async def _save(self, tracker: Tracker, row: RowT, text: str) -> None:
        """Save that a row was delivered."""
        self._remember(tracker, row, text)
        self._in_hand.pop(row.id, None)
        self.store.drop([f"{IN_HAND} {row.id}"])
        await self.store.flush()

    async def _change(self, row: RowT, verdict: Verdict) -> Change[RowT] | None:
        """Return what to deliver; None if the row is no different after all (`1.0` and `1.00`)."""
        account = self.transport.account.name
        if verdict is Verdict.NEW:
            return Change(ChangeKind.NEW, row, account=account)
        if verdict is Verdict.OLD:
            return Change(ChangeKind.CHANGED, row, account=account)
        saved = await self.store.read(str(row.id))
        if saved is None:  # somebody has emptied the store
            return Change(ChangeKind.CHANGED, row, account=account)
        previous = parse_stored(saved, self.request.record)
        in_hand = self._in_hand.pop(row.id, None)
        if in_hand is not None and row == previous:
            previous = in_hand
        names = differing(row, previous)
        return Change(ChangeKind.CHANGED, row, previous, names, account) if names else None

    def _remember(self, tracker: Tracker, row: RowT, text: str) -> None:
        tracker.remember(row, text)
        self.store.put(str(row.id), text)
        self.store.drop(self._unreadable.forget(row.id))

    async def _advance(self, tracker: Tracker, window: Window[RowT]) -> None:
        newest = newest_of(window)
        read_to = None if window.end is None else int(window.end.timestamp())
        dropped = tracker.advance(self._reader.present(), read_to, newest)
        self.store.drop(str(row_id) for row_id in dropped)
        self.store.drop(f"{IN_HAND} {i}" for i in dropped if self._in_hand.pop(i, None))
        self.store.drop(self._unreadable.forget_before(tracker.position.floor))
        await self._flush(tracker)
        if tracker.crowded and not self._said_crowded:
            self._said_crowded = True
            _log.warning(
                "%s: %s: there are more rows than a watch remembers; changes are followed back to"
                " %s only: pass a shorter lookback",
                self.transport.account.name,
                self.method,
                datetime.fromtimestamp(tracker.position.floor, UTC).isoformat(" ", "minutes"),
            )

    def _report(self) -> Delivery[RowT]:
        """Return what there is to say of rows that could not be read."""
        name, rows = self.transport.account.name, list(self._unreadable.found.values())
        error = unreadable_error(rows, account=name, method=self.method)
        return Delivery(RowsUnreadable(name, error), self._save_report)

    async def _save_report(self) -> None:
        for entry, text in self._unreadable.report().items():
            self.store.put(entry, text)
        await self.store.flush()

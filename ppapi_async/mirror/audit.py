"""The mirror compared with the sites, row by row.

A site is read once more, window by window, and each window is compared with the rows that the
database has of that time, so that memory holds one window and what differs.

What differs at first proves nothing. The row may have moved on while the site was read, or another
process may just be writing it. So the times of what differs are read again, from both sides, until
both say the same twice in a row. Then it is a difference, unless the mirror does not claim to know:

- What has come or moved since the mirror read last has a time that it has not covered yet.
- While the mirror is being followed, its schedule says when it reads a row again (see the head of
  `watching/tracker`): within max(interval, age / 8), six hours at the most. What it has not read
  since the audit saw the difference, and is not late with, is left to it (`Audit.unsettled`).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from attrs import define, field, frozen
from sqlalchemy import select

from ppapi_async.errors import MethodNotSupportedError, PPAPIError, StateError
from ppapi_async.mirror.coverage import Proven
from ppapi_async.mirror.records import Audit, Difference, DifferenceKind
from ppapi_async.mirror.schema import ROWS
from ppapi_async.mirror.store import MirrorStore, Place
from ppapi_async.models import Exchange, Link, Payout, UnreadableRow, Window
from ppapi_async.session import Session, connection_of
from ppapi_async.streaming.stream import OnUnreadable, Stream
from ppapi_async.transport.closing import wait_until_done
from ppapi_async.transport.fairness import in_turns
from ppapi_async.watching.delivery import differing
from ppapi_async.watching.resources import LISTS, ResourceName
from ppapi_async.watching.tracker import PERIOD

__all__ = ["audit"]

_Row: TypeAlias = Link | Exchange | Payout
_LOOKS = 3
"""At what differs, before it counts as still moving."""
_MOST_SPANS = 20
"""Ranges that are read again, for each look."""
_AT_ONCE = 500
"""Ids in one question to the database."""
_SECOND = timedelta(seconds=1)
_MINUTE = timedelta(minutes=1)
_DAY = timedelta(days=1)
_EPOCH = datetime.fromtimestamp(0, UTC)
_SETTLED = timedelta(minutes=60)
"""After which a click is read again once a day only."""
_USUAL_INTERVAL = timedelta(hours=1)
"""Of a follow by another process, whose interval is not known; and of what syncs now and then."""


async def audit(
    store: MirrorStore,
    sessions: Mapping[str, Session],
    resources: Sequence[ResourceName],
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    concurrency: int = 8,
    interval: timedelta | None = None,
    clock: Callable[[], float] = time.time,
) -> Audit:
    """Read the sites again and say in which rows the mirror differs from them.

    Args:
        store: the mirror's database, which is only read.
        sessions: the accounts, by name.
        resources: what to compare; info, which is no list of rows, is passed over.
        start: from then on; None: from the beginning.
        end: rows before it; None: up to the present.
        concurrency: accounts that are compared at once.
        interval: of a `follow` that keeps the mirror up to date meanwhile; None: there is none.
        clock: the present, as unix time.

    Raises:
        StateError: the database could not be read.
    """
    waiting = iter(sessions.items())
    lists = [name for name in resources if name in LISTS]
    parts: list[_ResourceAudit] = []

    async def work() -> None:
        for _, session in waiting:
            for resource in lists:
                part = _ResourceAudit(
                    store=store,
                    session=session,
                    resource=resource,
                    start=start,
                    end=end,
                    interval=interval,
                    clock=clock,
                )
                parts.append(part)
                await part.run()

    tasks = [asyncio.create_task(work()) for _ in range(min(concurrency, len(sessions)))]
    try:
        for task in asyncio.as_completed(tasks):
            await task
    finally:
        for task in tasks:
            task.cancel()
        await wait_until_done(tasks)
    order = {name: place for place, name in enumerate(sessions)}
    parts.sort(key=lambda part: order[part.account])
    errors: dict[str, PPAPIError] = {}
    for part in parts:
        if part.error is not None:
            errors.setdefault(part.account, part.error)
    return Audit.of(parts, errors, start=start, end=end)


@frozen
class _Suspect:
    """A row that is not the same on both sides."""

    here: _Row | None
    there: _Row | None
    since: datetime = field(eq=False)
    """When the audit saw it like this first."""


@define(eq=False, kw_only=True)
class _ResourceAudit:
    """The comparison of one resource of one account."""

    store: MirrorStore
    session: Session
    resource: ResourceName
    start: datetime | None
    end: datetime | None
    interval: timedelta | None
    clock: Callable[[], float]
    differences: list[Difference] = field(factory=list)
    rows: int = 0
    unreadable: int = 0
    uncovered: int = 0
    unsettled: int = 0
    error: PPAPIError | None = None
    _suspects: dict[int, _Suspect] = field(factory=dict)
    _unreadable_ids: set[int] = field(factory=set)
    _account: int = 0
    _edge: datetime = field(default=_EPOCH)
    """What has come since the mirror read last is dated then, or later."""

    @property
    def account(self) -> str:
        """The account's name."""
        return self.session.account.name

    async def run(self) -> None:
        """Compare; a failure of the site becomes `error`.

        Raises:
            StateError: the database could not be read.
        """
        self._account = await self.store.account(self.session.account)
        place = await self._place()
        covered = await self.store.coverage(self._account, self.resource)
        try:
            if not covered:
                await self._refuse()
                return
            self._edge = self._edge_of(covered)
            await self._compare_all()
            settled: dict[int, _Suspect] = {}
            for _ in range(_LOOKS):
                if not self._suspects:
                    break
                settled |= await self._look_again()
        except MethodNotSupportedError:
            return  # nor has the mirror any of it
        except PPAPIError as error:
            if isinstance(error, StateError):
                raise
            self.error = error
            return
        self.unsettled += len(self._suspects)
        is_followed = bool(self.interval) or (await self._place()).version != place.version
        covered = await self.store.coverage(self._account, self.resource)
        extra = [row_id for row_id, suspect in settled.items() if suspect.there is None]
        missed = await self._missed(extra) if is_followed else set()
        for row_id, suspect in sorted(settled.items()):
            if row_id in missed:
                self.unsettled += 1
            else:
                self._judge(row_id, suspect, covered, is_followed=is_followed)

    async def _refuse(self) -> None:
        """Say that the mirror has not read this yet, unless the site has none of it.

        Raises:
            PPAPIError: what the site answered; MethodNotSupportedError if it has none.
        """
        async with contextlib.aclosing(self._read(None, None)) as windows:
            async for _ in windows:
                break
        self.error = StateError(
            f"the mirror has not read the {self.resource} of this account yet: sync first",
            account=self.account,
        )

    async def _place(self) -> Place:
        return await self.store.place(self._account, self.account, self.resource)

    def _edge_of(self, covered: Sequence[Proven]) -> datetime:
        """Return where the mirror's knowledge ends, allowing for what sites' clocks do."""
        end = covered[-1].end
        # Servers look countries up for up to half a minute, and then store the time of before.
        behind = max(0.0, -(connection_of(self.session).transport.clock_ahead or 0.0))
        return end - _MINUTE - timedelta(seconds=behind)

    # Comparing

    async def _compare_all(self) -> None:
        """Read both sides once, and note what differs."""
        reached, is_whole = self.start, False
        async with contextlib.aclosing(self._read(self.start, self.end, count=True)) as windows:
            async for window in windows:
                here: Sequence[_Row] = ()
                # A window may lie in what has been compared: another look at the present.
                if not is_whole and (window.end is None or reached is None or window.end > reached):
                    # From where the last one ended: a window without rows need not be handed out.
                    here = await self._rows(reached, window.end)
                    reached, is_whole = window.end, window.end in (None, self.end)
                await self._compare(here, window.records)
        if not is_whole:
            await self._compare(await self._rows(reached, self.end), ())

    async def _compare(self, here: Sequence[_Row], there: Sequence[_Row]) -> None:
        """Compare a window's rows of both sides."""
        self.rows += len(there)
        now = self._now()
        mine = {row.id: row for row in here}
        mine |= await self._rows_by_id(row.id for row in there if row.id not in mine)
        async for row in in_turns(there):
            one = mine.pop(row.id, None)
            if one == row:
                self._suspects.pop(row.id, None)
            else:
                self._suspects[row.id] = _Suspect(one, row, now)
        for one in mine.values():
            known = self._suspects.get(one.id)
            # It may have been met at an earlier time, and have moved; or it may be met later.
            self._suspects[one.id] = _Suspect(one, None if known is None else known.there, now)

    async def _look_again(self) -> dict[int, _Suspect]:
        """Read both sides again where they differ; return what differs in the same way still."""
        there: dict[int, _Row] = {}
        for start, end in list(self._spans()):
            async with contextlib.aclosing(self._read(start, end)) as windows:
                async for window in windows:
                    for row in window.records:
                        if row.id in self._suspects:  # the latest of a row that moves, at last
                            there[row.id] = row
        here = await self._rows_by_id(self._suspects)
        settled: dict[int, _Suspect] = {}
        for row_id, before in list(self._suspects.items()):
            present = _Suspect(here.get(row_id), there.get(row_id), self._now())
            self._suspects[row_id] = present
            if present == before:
                settled[row_id] = before
            if present == before or present.here == present.there:
                del self._suspects[row_id]
        return settled

    def _spans(self) -> Iterator[tuple[datetime | None, datetime | None]]:
        """Yield the ranges that have to be read again, from old to new."""
        rows = [row for pair in self._suspects.values() for row in (pair.here, pair.there) if row]
        times = sorted({row.time for row in rows if row.time < self._edge})
        apart = _MINUTE
        while len(spans := _merged(times, apart)) > _MOST_SPANS:
            apart *= 4
        for first, last in spans:
            yield None if first <= _EPOCH else first, last + _SECOND
        # What is met nowhere else may have moved to the present.
        yield self._edge, None

    def _judge(
        self, row_id: int, suspect: _Suspect, covered: Sequence[Proven], *, is_followed: bool
    ) -> None:
        """Count a row that differs for good as a difference, or say why it is none."""
        here, there = suspect.here, suspect.there
        row = there or here
        if row is None or (there is None and row_id in self._unreadable_ids):
            return
        proof = next((one for one in covered if one.holds(row.time)), None)
        if proof is None or (there is not None and there.time >= self._edge):
            self.uncovered += 1
        elif is_followed and self._will_be_read(row, proof, suspect.since):
            self.unsettled += 1
        else:
            kind = DifferenceKind.DIFFERING
            if here is None or there is None:
                kind = DifferenceKind.MISSING if here is None else DifferenceKind.EXTRA
            found = Difference(
                kind=kind,
                account=self.account,
                resource=self.resource,
                id=row_id,
                fields=differing(here, there) if here and there else (),
                here=here,
                there=there,
                proven_at=proof.proven_at,
            )
            self.differences.append(found)

    def _will_be_read(self, row: _Row, proof: Proven, since: datetime) -> bool:
        """Tell whether the mirror has yet to read a row in its turn, and is not late with it."""
        if proof.proven_at >= since:
            return False
        interval = self.interval or _USUAL_INTERVAL
        age = self._now() - row.time
        if isinstance(row, Link) and age > _SETTLED:
            due = _DAY
        else:
            due = min(max(interval, age / 8), timedelta(seconds=PERIOD))
        if age > LISTS[self.resource].lookback:
            return False
        return self._now() - proof.proven_at <= due + 2 * interval

    async def _missed(self, ids: Sequence[int]) -> set[int]:
        """Return which of these rows a reading has missed that has not said yet that they are gone.

        It reads on up to the present first, or waits for another one, where all are missing.
        """
        table = ROWS[self.resource].c
        marked: set[int] = set()
        async with self.store.connect() as connection:
            for first in range(0, len(ids), _AT_ONCE):
                found = select(table.id).where(
                    table.account == self._account,
                    table.id.in_(ids[first : first + _AT_ONCE]),
                    table.missing_since.is_not(None),
                )
                marked.update(await connection.scalars(found))
        return marked

    # The two sides

    async def _rows(self, start: datetime | None, end: datetime | None) -> Sequence[_Row]:
        return await self.store.rows(self._account, self.resource, start, end)

    async def _rows_by_id(self, ids: Iterable[int]) -> dict[int, _Row]:
        found = await self.store.rows_by_id(self._account, self.resource, list(ids))
        return {row.id: row for row in found}

    async def _read(
        self, start: datetime | None, end: datetime | None, *, count: bool = False
    ) -> AsyncGenerator[Window[Link] | Window[Exchange] | Window[Payout], None]:
        """Yield the windows of a range as the site has them now."""

        def note(row: UnreadableRow) -> None:
            self.unreadable += count
            if row.id is not None:
                self._unreadable_ids.add(row.id)

        stream = self._stream(start, end, note)
        async with contextlib.aclosing(stream.read()) as windows:
            async for window in windows:
                yield window

    def _stream(
        self, start: datetime | None, end: datetime | None, on_unreadable: OnUnreadable
    ) -> Stream[Link] | Stream[Exchange] | Stream[Payout]:
        if self.resource == "links":
            return self.session.iter_links(start, end, on_unreadable=on_unreadable)
        if self.resource == "exchanges":
            return self.session.iter_exchanges(start, end, on_unreadable=on_unreadable)
        return self.session.iter_payouts(start, end, on_unreadable=on_unreadable)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self.clock(), UTC)


def _merged(times: Sequence[datetime], apart: timedelta) -> list[tuple[datetime, datetime]]:
    """Return ranges that hold all the times, which are sorted; what is nearer than that is one."""
    spans: list[tuple[datetime, datetime]] = []
    for time_ in times:
        if spans and time_ - spans[-1][1] <= apart:
            spans[-1] = spans[-1][0], time_
        else:
            spans.append((time_, time_))
    return spans

"""Polls accounts into the mirror, as a fleet polls them, and delivers the changes."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import AsyncGenerator, Callable, Collection
from datetime import UTC, datetime, timedelta
from typing import TypeAlias
from weakref import WeakKeyDictionary

from attrs import define, field

from ppapi_async.account import Account
from ppapi_async.errors import MethodNotSupportedError, PPAPIError, StateError
from ppapi_async.fleet.fleet import Fleet
from ppapi_async.fleet.member import Member
from ppapi_async.mirror.info_reading import MirrorReader
from ppapi_async.mirror.journal import revision_of
from ppapi_async.mirror.records import MirrorChange
from ppapi_async.mirror.store import MirrorStore, Place
from ppapi_async.models import UnreadableRow
from ppapi_async.protocol.unreadable import unreadable_error
from ppapi_async.session import connection_of
from ppapi_async.transport.connection import Connection
from ppapi_async.watching.changes import RowsUnreadable
from ppapi_async.watching.delivery import Delivery, Poller
from ppapi_async.watching.poll_policy import PollPolicy, phase_of
from ppapi_async.watching.poll_slots import PollSlot, TakeSlot
from ppapi_async.watching.resources import INFO, LISTS, Record

__all__ = ["MakeReader", "MirrorFleet", "MirrorPoller"]

MakeReader: TypeAlias = Callable[[Connection, str, float, TakeSlot], MirrorReader]
"""Makes the reader of a resource, for passes at this interval in seconds."""
_OFTEN_ENOUGH = timedelta(minutes=1)
_AT_ONCE = 200
"""Changes that are read from the database in one go."""


@define(eq=False)
class CaughtUp:
    """When everything of an account that is followed was caught up last, as the database has it."""

    store: MirrorStore
    account: Account
    resources: set[str]
    """Those that the site has."""
    _read_at: dict[str, datetime] = field(factory=dict)
    _noted: datetime | None = None

    async def note(self, resource: str, began: datetime) -> None:
        """Note that a resource was read up to the present; written once a minute at the most.

        Raises:
            StateError: the database could not be written.
        """
        self._read_at[resource] = began
        if not self.resources <= self._read_at.keys():
            return
        at = min(self._read_at[name] for name in self.resources)
        if self._noted is None or at - self._noted >= _OFTEN_ENOUGH:
            await self.store.caught_up(self.account, at)
            self._noted = at

    def leave_out(self, resource: str) -> None:
        """Wait no more for a resource that the site does not have."""
        self.resources.discard(resource)


@define(eq=False)
class MirrorPoller:
    """Brings a resource up to date with each poll, and delivers what has changed.

    Changes are in the database before they are delivered. What was not acknowledged, because the
    process ended, say, is delivered first by whoever polls next.
    """

    reader: MirrorReader
    store: MirrorStore
    caught_up: CaughtUp

    @property
    def method(self) -> str:
        """The API method."""
        resource = self.reader.resource
        return "get_info" if resource == INFO else LISTS[resource].method

    @property
    def worked(self) -> bool:
        """Whether anything could ever be read."""
        return self.reader.worked

    async def poll(self) -> AsyncGenerator[Delivery[Record], None]:
        """Yield what is to be delivered, one by one as they are acknowledged.

        All changes come from the database, in order: so none is passed over that a synchronisation
        has found meanwhile. While they are delivered nothing is held that others wait for.
        """
        place = await self.reader.place()
        if place.delivered is None:
            await self._look_anew(place)
        if place.delivered is None:
            await self.store.deliver_from_now(place)
        async with contextlib.aclosing(self._waiting(place)) as waiting:
            async for delivery in waiting:
                yield delivery
        clock = self.reader.connection.transport.hooks.clock
        began = datetime.fromtimestamp(clock(), UTC)
        has_changed, unreadable, problem = await self._read()
        if has_changed:
            async with contextlib.aclosing(self._waiting(place)) as waiting:
                async for delivery in waiting:
                    yield delivery
        if unreadable:
            report = self._report(unreadable)
            yield report
            report.check()
        if problem is not None:
            if isinstance(problem, MethodNotSupportedError) and not self.worked:
                self.caught_up.leave_out(self.reader.resource)
            raise problem
        await self.caught_up.note(self.reader.resource, began)

    async def _read(self) -> tuple[bool, tuple[UnreadableRow, ...], PPAPIError | None]:
        """Return whether anything has changed, what could not be read, and what went wrong.

        Raises:
            StateError: the database could not be read or written.
        """
        has_changed, unreadable = False, list[UnreadableRow]()
        problem: PPAPIError | None = None
        try:
            async with contextlib.aclosing(self.reader.read()) as commits:
                async for commit in commits:
                    has_changed = has_changed or bool(commit.changes)
                    unreadable += commit.unreadable
        except StateError:
            raise
        except PPAPIError as error:  # what was read before it is delivered first
            problem = error
        return has_changed, tuple(unreadable), problem

    async def _waiting(self, place: Place) -> AsyncGenerator[Delivery[Record], None]:
        """Yield the changes that wait to be delivered."""
        is_over = False
        try:
            while await self.store.undelivered(place, 1):
                await self._look_anew(place)  # another process may have delivered them
                for change in await self.store.undelivered(place, _AT_ONCE):
                    delivery = self._delivery(place, change)
                    yield delivery
                    delivery.check()
            is_over = True
        finally:
            if not is_over:  # what was delivered may have been saved or not
                place.is_stale = True

    async def _look_anew(self, place: Place) -> None:
        """Look how far other processes are, unless somebody reads, who sees to it."""
        if not place.reading.locked():
            async with place.reading:
                await self.store.look_anew(place)

    def _delivery(self, place: Place, change: MirrorChange[Record]) -> Delivery[Record]:
        deliver = functools.partial(self.store.deliver, place, revision_of(change))
        return Delivery(change, deliver)

    def _report(self, rows: tuple[UnreadableRow, ...]) -> Delivery[Record]:
        name = self.reader.connection.account.name
        error = unreadable_error(rows, account=name, method=self.method)
        return Delivery(RowsUnreadable(name, error), _nothing_to_save)


async def _nothing_to_save() -> None:
    """Save nothing: what cannot be read is in the database already."""


class MirrorFleet(Fleet):
    """A fleet whose polls bring a mirror up to date; everything else is a fleet's."""

    _make_reader: MakeReader | None = None
    _store: MirrorStore | None = None
    _resources: Collection[str] = ()
    _caught_up: WeakKeyDictionary[Member, CaughtUp]

    def attach(
        self, store: MirrorStore, make_reader: MakeReader, resources: Collection[str]
    ) -> None:
        """Take the database, once it is open, what makes the readers, and what there is to read."""
        self._store, self._make_reader, self._resources = store, make_reader, resources
        self._caught_up = WeakKeyDictionary()

    def chosen(self, names: Collection[str] | None) -> list[Member]:
        """Return the members of these names, or all.

        Raises:
            KeyError: there is none of a name.
        """
        if names is None:
            return list(self._roster.members.values())
        return [self._member(name) for name in dict.fromkeys(names)]

    def reader(self, member: Member, resource: str) -> MirrorReader:
        """Return the reader of a resource, the one that polls use, too."""
        poller = member.pollers.get(resource)
        if poller is None:
            poller = member.pollers[resource] = self._make_poller(member, resource)
        if not isinstance(poller, MirrorPoller):
            raise TypeError("a poller of a mirror is a MirrorPoller")
        return poller.reader

    def set_interval(self, interval: float) -> None:
        """Poll at this interval, in seconds, from the next loop over the events on."""
        self._interval = self._roster.interval = self._open_scheduler.interval = interval
        for member in self._roster.members.values():
            member.phase = phase_of(member.name, interval)
            member.policy = PollPolicy(interval, may_pass=(StateError,))
            for poller in member.pollers.values():
                if isinstance(poller, MirrorPoller):
                    poller.reader.set_interval(interval)

    def followed_every(self) -> timedelta | None:
        """Return the interval at which accounts are polled just now; None where they are not."""
        scheduler = self._scheduler
        polls = scheduler is not None and scheduler.running
        return timedelta(seconds=self._interval) if polls else None

    def _make_poller(self, member: Member, resource: str) -> Poller[Record]:
        if self._store is None or self._make_reader is None:
            raise RuntimeError("the mirror is not open; use it inside `async with Mirror(…)`")
        connection = connection_of(member.session)
        take_slot = functools.partial(PollSlot, member.host.slots, self._slots)
        reader = self._make_reader(connection, resource, self._interval, take_slot)
        if (caught_up := self._caught_up.get(member)) is None:
            caught_up = CaughtUp(self._store, member.session.account, set(self._resources))
            self._caught_up[member] = caught_up
        return MirrorPoller(reader, self._store, caught_up)

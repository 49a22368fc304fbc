"""What one watch has in the store, and a change on its way to the consumer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Generic, Protocol, TypeVar, cast

import attrs
from attrs import define, field

from ppapi_async.errors import PPAPIError, StateError
from ppapi_async.models import Info, Row
from ppapi_async.storage import SQLiteState, State
from ppapi_async.watching.changes import Change, RowsUnreadable

__all__ = ["IN_HAND", "Delivery", "Poller", "WatchStore", "differing", "in_use"]

RecordT_co = TypeVar("RecordT_co", covariant=True, bound=Row | Info)
IN_HAND = "in hand"
"""The entry of what is being delivered, while it is not known whether it was: after a restart it
may have to be taken back, if the row is by then what it was before."""


@contextlib.asynccontextmanager
async def in_use(state: State) -> AsyncIterator[None]:
    """Keep a store open that can be opened, such as `SQLiteState`.

    Raises:
        StateError: it is a file that can never be used: to poll on would help nobody.
    """
    async with contextlib.AsyncExitStack() as stack:
        if isinstance(state, AbstractAsyncContextManager):
            await stack.enter_async_context(state)
        if isinstance(state, SQLiteState):
            try:
                await state.check()
            except StateError as error:
                if not error.may_pass:
                    raise
        yield


@define(eq=False)
class WatchStore:
    """What one watch has in the store. What could not be saved is saved with what comes next."""

    state: State
    watch: str
    former: Sequence[str] = ()
    """What the watch may have been called before, likeliest first."""
    _put: dict[str, str] = field(factory=dict)
    _drop: set[str] = field(factory=set)

    async def load(self) -> dict[str, str]:
        """Return all entries; if there are none, those that the watch left under a former name.

        They are copied and left where they are, for an earlier version may be started again.
        """
        entries = dict(await self.state.load(self.watch))
        for former in () if entries else self.former:
            entries = dict(await self.state.load(former))
            if entries:
                await self.state.save(self.watch, entries)
                break
        return entries

    async def read(self, name: str) -> str | None:
        """Return one entry."""
        return self._put.get(name) or await self.state.read(self.watch, name)

    def put(self, name: str, text: str) -> None:
        """Have an entry saved with the next `flush`."""
        self._put[name] = text
        self._drop.discard(name)

    def drop(self, names: Iterable[str]) -> None:
        """Have entries dropped with the next `flush`."""
        for name in names:
            self._put.pop(name, None)
            self._drop.add(name)

    async def announce(self, name: str, text: str) -> None:
        """Save an entry now, if the store works; if not, what is delivered after it will say so."""
        self.put(name, text)
        with contextlib.suppress(StateError):
            await self.flush()

    async def flush(self) -> None:
        """Save what there is to save, all or nothing."""
        put, drop = self._put, self._drop
        if not (put or drop):
            return
        self._put, self._drop = {}, set()
        saved = False
        try:
            await self.state.save(self.watch, put, drop)
            saved = True
        finally:
            if not saved:
                self._put, self._drop = put | self._put, (drop - self._put.keys()) | self._drop


@define(eq=False)
class Delivery(Generic[RecordT_co]):
    """A change, or a report, on its way to the consumer.

    It counts as delivered once `acknowledge` has been called.
    """

    change: Change[RecordT_co] | RowsUnreadable
    _save: Callable[[], Awaitable[None]]
    acknowledged: asyncio.Event = field(factory=asyncio.Event)
    error: PPAPIError | None = None
    """Why it could not be saved."""
    _delivered: bool = False

    async def acknowledge(self) -> None:
        """Count it as delivered, and save that."""
        try:
            await self._save()
            self._delivered = True
        except PPAPIError as error:
            self.error = error
        self.acknowledged.set()

    def fail(self, error: PPAPIError) -> None:
        """Note that it could not be saved, for a reason that `acknowledge` did not expect."""
        self.error = error
        self.acknowledged.set()

    def check(self) -> None:
        """Go on only if it has been delivered and saved.

        Raises:
            PPAPIError: it could not be saved.
            RuntimeError: nobody has acknowledged it.
        """
        if self.error is not None:
            raise self.error
        if not self._delivered:
            raise RuntimeError("acknowledge what was delivered before you ask for the next")


class Poller(Protocol[RecordT_co]):
    """Polls one method of one account."""

    @property
    def method(self) -> str:
        """The API method."""

    @property
    def worked(self) -> bool:
        """Whether anything could ever be read."""

    def poll(self) -> AsyncGenerator[Delivery[RecordT_co], None]:
        """Yield what is to be delivered, oldest first, one by one as they are acknowledged.

        Raises:
            PPAPIError: the poll failed; the next one covers what it missed.
        """


def differing(one: Row | Info, other: Row | Info) -> tuple[str, ...]:
    """Return the names of the fields in which two records of one kind differ."""
    names = (field.name for field in attrs.fields(cast("type[attrs.AttrsInstance]", type(one))))
    return tuple(name for name in names if getattr(one, name) != getattr(other, name))

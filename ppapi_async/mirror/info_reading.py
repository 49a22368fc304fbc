"""What brings a resource up to date; and that of get_info, which is asked anew each time."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from typing import Protocol

from attrs import define

from ppapi_async.mirror.store import Commit, MirrorStore, Place
from ppapi_async.transport.connection import Connection
from ppapi_async.watching.poll_slots import TakeSlot
from ppapi_async.watching.resources import INFO, ResourceName

__all__ = ["InfoReader", "MirrorReader"]


class MirrorReader(Protocol):
    """Brings one resource of one account up to date."""

    connection: Connection
    resource: ResourceName
    requests: int
    """Sent so far, as far as they belong to windows."""

    @property
    def worked(self) -> bool:
        """Whether anything could ever be read."""

    @property
    def read_to(self) -> datetime | None:
        """All rows before it have been read; None: up to the present."""

    def set_interval(self, interval: float) -> None:
        """Read as often as this, in seconds: it decides what a pass reads."""

    @property
    def fraction(self) -> float | None:
        """How much of what there is to read has been, 0 to 1; None where that is not known."""

    async def place(self) -> Place:
        """Return the resource's place in the database: the same one each time."""

    def read(self, *, anew: bool = False) -> AsyncGenerator[Commit, None]:
        """Read what is due, and yield what each transaction has changed.

        Two that read the same resource of an account take turns.

        Args:
            anew: look first how far others have brought it meanwhile.

        Raises:
            PPAPIError: the site did not answer as it should; the next call goes on.
            MirrorConflict: somebody else keeps this account up to date.
            StateError: the database could not be read or written.
        """


@define(eq=False, kw_only=True)
class InfoReader:
    """Brings balance, minimum and payout methods of one account up to date."""

    connection: Connection
    store: MirrorStore
    take_slot: TakeSlot
    resource: ResourceName = INFO
    requests: int = 0
    read_to: datetime | None = None
    fraction: float | None = None
    _place: Place | None = None

    @property
    def worked(self) -> bool:
        """Whether it could ever be read."""
        return self._place is not None and self._place.document is not None

    def set_interval(self, interval: float) -> None:
        """Do nothing: it is asked for in each pass."""

    async def place(self) -> Place:
        """Return the resource's place in the database."""
        if self._place is None:
            account = self.connection.account
            number = await self.store.account(account)
            self._place = await self.store.shared_place(number, account.name, self.resource)
        return self._place

    async def read(self, *, anew: bool = False) -> AsyncGenerator[Commit, None]:
        """Ask for the info, and write it if it is news."""
        place = await self.place()
        async with place.reading:
            if anew or place.is_stale:
                await self.store.look_anew(place)
            done = False
            try:
                async with self.take_slot() as slot:
                    info = await self.connection.transport.get_info()
                    self.requests += 1
                    if slot is not None:
                        slot.end_reading()
                    seen_at = datetime.fromtimestamp(self.connection.transport.hooks.clock(), UTC)
                    yield await self.store.commit_info(place, info, seen_at, "{}")
                    done = True
            finally:
                place.is_stale = place.is_stale or not done

"""Where the polls of an account save that workers share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING

from attrs import define, evolve

from ppapi_async.errors import StateError
from ppapi_async.storage.stores import StateChange, check

if TYPE_CHECKING:
    from ppapi_async.storage.postgres_session import PostgresSession

__all__ = ["HeldState"]


@define(eq=False)
class HeldState:
    """A state on the connection that holds an account's shard, for as long as it does.

    Each group has entries of its own: another polls the same accounts for another end. It begins
    with what was saved for the account while nothing was shared.

    Args:
        connection: holds the shard.
        group: the name of the group.
        is_held: tells whether it still does.
    """

    connection: PostgresSession
    group: str
    is_held: Callable[[], bool]

    async def load(self, watch: str) -> Mapping[str, str]:
        """Return all entries of a watch."""
        check(watch)
        own = self._own(watch)
        entries = await self._session.load(own)
        if not entries and (entries := await self._session.load(watch)):
            await self._session.save(StateChange(own, entries, ()))
        return entries

    async def read(self, watch: str, name: str) -> str | None:
        """Return one entry."""
        check(watch, name)
        return await self._session.read(self._own(watch), name)

    async def save(self, watch: str, put: Mapping[str, str], drop: Collection[str] = ()) -> None:
        """Drop the named entries, then put these in."""
        change = StateChange.of(watch, put, drop)
        await self._session.save(evolve(change, watch=self._own(watch)))

    def _own(self, watch: str) -> str:
        return f"{self.group}: {watch}"

    @property
    def _session(self) -> PostgresSession:
        if not self.is_held():
            raise StateError(
                "this worker has lost the account, which may be another's by now; what was not"
                " saved is delivered again by whoever has it"
            )
        return self.connection

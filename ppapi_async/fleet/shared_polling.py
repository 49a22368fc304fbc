"""Polls of a scheduler, of those accounts only that a worker of a group owns."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Self

from attrs import define, field

from ppapi_async.account import Account
from ppapi_async.errors import StateError
from ppapi_async.fleet.member import Member
from ppapi_async.fleet.scheduler import Scheduler
from ppapi_async.fleet.sharing import Sharing
from ppapi_async.fleet.status import ShardsGained, ShardsLost
from ppapi_async.storage.postgres import PostgresState

__all__ = ["SharedPolling"]


@define(eq=False)
class SharedPolling:
    """Has a scheduler poll what `sharing` gives it: an owner of shards, and its `Allocation`.

    To be entered once the scheduler has started, and left after it has stopped; its members are
    `elsewhere` until then.

    Args:
        scheduler: polls the accounts.
        state: where the workers meet.
        group: which of them share.
        accounts: those that this worker can poll.
        patience: seconds that a poll under way may take to end when its account is handed over.
    """

    scheduler: Scheduler
    state: PostgresState
    group: str
    accounts: Iterable[Account]
    patience: float
    sharing: Sharing = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.sharing = Sharing(self.state, self.group, self, self.accounts)

    async def __aenter__(self) -> Self:
        """Join the group.

        Raises:
            StateError: the database cannot be reached, or cannot be used for this.
        """
        self.scheduler.allocation = self
        await self.sharing.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.scheduler.allocation = None
        await self.sharing.aclose()

    # What the scheduler asks

    def may_poll(self, name: str) -> bool:
        """Tell whether an account may be polled at this moment."""
        return self.sharing.is_mine(name)

    def planned(self, name: str, due: float) -> None:
        """Note when an account is polled next."""
        self.sharing.plan(name, due)

    # What the sharing tells

    def take(self, accounts: Mapping[str, float | None]) -> None:
        """Poll these accounts."""
        self.scheduler.announce(ShardsGained(tuple(sorted(accounts))))
        for member in self._members(accounts):
            self.scheduler.take(member, accounts[member.name])

    async def hand_over(self, names: Collection[str]) -> None:
        """Poll these accounts no more, once what is under way has ended."""
        await self.scheduler.hand_over(list(self._members(names)), self.patience)
        self.scheduler.announce(ShardsLost(tuple(sorted(names))))

    def lose(self, names: Collection[str], error: StateError) -> None:
        """Break off the polls of these accounts."""
        self.scheduler.lose(list(self._members(names)))
        self.scheduler.announce(ShardsLost(tuple(sorted(names)), error))

    def fail(self, error: BaseException) -> None:
        """Raise an error where the events are iterated."""
        self.scheduler.fail(error)

    def _members(self, names: Iterable[str]) -> Iterator[Member]:
        members = self.scheduler.members
        return (members[name] for name in names if name in members)

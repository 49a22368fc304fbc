"""An account in a fleet, and the host that it shares with others."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from types import TracebackType

from attrs import define, field

from ppapi_async.breaker import Breaker
from ppapi_async.health import Health
from ppapi_async.models import AccountPhase, AccountStatus
from ppapi_async.notes import Poller
from ppapi_async.session import Session
from ppapi_async.sources import Record

__all__ = ["Gate", "Host", "Member", "Turn"]


class Gate:
    """Held during each request to a host: so many at once, and no more than so many a second."""

    def __init__(self, at_once: int, pace: AbstractAsyncContextManager[object] | None) -> None:
        self._places = asyncio.Semaphore(at_once)
        self._pace = pace

    async def __aenter__(self) -> None:
        await self._places.acquire()
        if self._pace is None:
            return
        entered = False
        try:
            await self._pace.__aenter__()
            entered = True
        finally:
            if not entered:
                self._places.release()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._places.release()
        if self._pace is not None:
            await self._pace.__aexit__(kind, error, traceback)


class Turn:
    """Held while a window is read and told: a place of the host's, then one of the fleet's.

    In this order, so that accounts of a host that hangs do not take all places of the fleet.
    """

    def __init__(self, of_host: int, places: asyncio.Semaphore) -> None:
        self._of_host = asyncio.Semaphore(of_host)
        self._places = places

    async def __aenter__(self) -> None:
        await self._of_host.acquire()
        taken = False
        try:
            taken = await self._places.acquire()
        finally:
            if not taken:
                self._of_host.release()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._places.release()
        self._of_host.release()


@define(eq=False)
class Host:
    """What the accounts of one host share."""

    gate: Gate
    turn: Turn
    breaker: Breaker
    members: set[str] = field(factory=set)
    """The names of the accounts."""


@define(eq=False)
class Member:
    """An account in a fleet."""

    session: Session
    host: Host
    phase: float
    """When in the interval it is polled, in seconds."""
    health: Health = field(factory=Health)
    pollers: dict[str, Poller[Record]] = field(factory=dict)
    unsupported: set[str] = field(factory=set)
    """Sources that the site does not have."""
    put_off: int = 0
    """Polls in a row that were put off because the host does not answer others."""
    suspended: bool = False
    paused: bool = False
    due: float | None = None
    """When the next poll begins; None if none is planned."""
    ticket: int = 0
    """Of its valid place in the schedule; older ones are void."""
    task: asyncio.Task[float | None] | None = None
    """The poll under way."""

    @property
    def name(self) -> str:
        """The account's name."""
        return self.session.account.name

    @property
    def worked(self) -> bool:
        """Whether anything could ever be read."""
        return any(poller.worked for poller in self.pollers.values())

    @property
    def _phase_name(self) -> AccountPhase:
        if self.task is not None:
            return AccountPhase.POLLING
        if self.suspended:
            return AccountPhase.SUSPENDED
        return AccountPhase.PAUSED if self.paused else AccountPhase.WAITING

    def status(self, now: float) -> AccountStatus:
        """Return how it gets on."""
        began, health = self.health.last_success, self.health
        return AccountStatus(
            phase=self._phase_name,
            dialect=self.session.dialect,
            last_success=None if began is None else datetime.fromtimestamp(began, UTC),
            next_poll=None if self.due is None else datetime.fromtimestamp(self.due, UTC),
            failures=health.failures,
            last_error=health.last_error,
            lag=None if began is None else timedelta(seconds=max(0.0, now - began)),
        )

"""An account in a fleet, and the host that it shares with others."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from attrs import define, field

from ppapi_async.breaker import Breaker
from ppapi_async.health import Health
from ppapi_async.models import AccountPhase, AccountStatus
from ppapi_async.notes import Poller
from ppapi_async.places import Gate
from ppapi_async.session import Session
from ppapi_async.sources import Record

__all__ = ["Host", "Member"]


@define(eq=False)
class Host:
    """What the accounts of one host share."""

    gate: Gate
    places: asyncio.Semaphore
    """For windows that are read of it at once."""
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
            clock_warning=self.session.clock_check.warning,
        )

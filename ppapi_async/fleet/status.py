"""How polling goes: what the events of a fleet say of it, and its status."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TypeAlias

from attrs import frozen

from ppapi_async.account import Dialect
from ppapi_async.errors import PPAPIError
from ppapi_async.watching.changes import RowsUnreadable

__all__ = [
    "AccountEvent",
    "AccountFailed",
    "AccountPhase",
    "AccountRecovered",
    "AccountStatus",
    "AccountSuspended",
    "ShardsGained",
    "ShardsLost",
    "WorkerStatus",
    "are_healthy",
]

_LATE = 3  # intervals


@frozen
class AccountFailed:
    """Polls of an account began to fail; they go on, ever more seldom."""

    account: str
    """The account's name."""
    error: PPAPIError


@frozen
class AccountRecovered:
    """Polls of an account work again; what was missed has been delivered before this."""

    account: str


@frozen
class AccountSuspended:
    """An account is polled no more, or one of its methods is not: `error.method` says which.

    Nothing could ever be read, and the error will not pass by itself. `Fleet.resume` tries again.
    """

    account: str
    error: PPAPIError


@frozen
class ShardsGained:
    """This worker of a shared fleet polls these accounts from now on."""

    accounts: tuple[str, ...]
    """Their names."""
    account: str = ""
    """No single one: always empty."""


@frozen
class ShardsLost:
    """This worker of a shared fleet polls these accounts no more: others of its group do, or will.

    What was delivered of them, and not acknowledged, is delivered again by another.
    """

    accounts: tuple[str, ...]
    """Their names."""
    error: PPAPIError | None = None
    """Why they were lost; None: they were handed over, so that all workers have a fair share."""
    account: str = ""
    """No single one: always empty."""


AccountEvent: TypeAlias = (
    RowsUnreadable | AccountFailed | AccountRecovered | AccountSuspended | ShardsGained | ShardsLost
)
"""How polling goes, whatever is polled. The last two come of shared fleets only."""


class AccountPhase(StrEnum):
    """What a fleet does with an account."""

    WAITING = "waiting"
    """For its next poll; all is well so far."""
    POLLING = "polling"
    """Its poll is under way; all is well so far."""
    FAILING = "failing"
    """Its latest poll has failed. It is polled again, ever more seldom, or just now."""
    ELSEWHERE = "elsewhere"
    """Another worker of a shared fleet polls it, or nobody here asks for events."""
    PAUSED = "paused"
    """It is not polled until `Fleet.resume`."""
    SUSPENDED = "suspended"
    """Nothing could ever be read, and that will not pass by itself: `Fleet.resume` tries again."""


@frozen(kw_only=True)
class AccountStatus:
    """How a fleet gets on with an account."""

    phase: AccountPhase
    dialect: Dialect | None
    last_success: datetime | None
    """When the last poll began that worked, in UTC."""
    next_poll: datetime | None
    """None while it is being polled, paused or suspended."""
    failures: int
    """Polls in a row that failed."""
    last_error: PPAPIError | None
    """Of the latest trouble, even if it is over; `failures` says."""
    lag: timedelta | None
    """How old what you know may be; None where no poll has worked yet."""
    clock_warning: str | None = None
    """What is wrong with the times of its rows, and what to do; None if nothing is."""
    host: str = ""
    """Of its site, as `Account.host`."""
    interval: timedelta | None = None
    """From one poll to the next."""
    polls: int = 0
    """Polls that have begun since the fleet was opened."""
    polls_failed: int = 0
    """Those of them that have failed."""
    failing_since: datetime | None = None
    """When the first of the polls failed that have failed in a row, in UTC; None: none has."""
    unsettled_payouts: int = 0
    """Payouts of which this process does not know what became: `Session.unsettled_payouts`."""

    @property
    def ok(self) -> bool:
        """Whether nothing is known to be wrong: no failure since the last poll that worked.

        An account that has not been read yet is ok; `last_success` is None then.
        """
        return not self.failures and self.phase is not AccountPhase.SUSPENDED


@frozen(kw_only=True)
class WorkerStatus:
    """A worker of the group."""

    name: str
    """Its machine and process."""
    since: datetime
    """When it joined, in UTC."""
    seen: datetime
    """When it was last heard of, in UTC."""
    shards: int
    """How many it holds."""
    accounts: int
    """How many accounts are in them."""
    is_self: bool
    """Whether it is this one."""
    is_present: bool = True
    """Whether it is connected; if not, it is expected back, for the server was started anew."""


def are_healthy(statuses: Iterable[AccountStatus], interval: float) -> bool | None:
    """Return whether all is well with accounts that are polled here; None where it is not known.

    What was read more than three intervals ago, in seconds, says no more how an account is.
    """
    known, late = True, _LATE * interval
    for status in statuses:
        if status.phase in (AccountPhase.PAUSED, AccountPhase.ELSEWHERE):
            continue
        if not status.ok:
            return False
        known = known and status.lag is not None and status.lag.total_seconds() <= late
    return True if known else None

"""An account in a fleet: its session, its pollers, and how it gets on."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from attrs import define, field

from ppapi_async.account import Account
from ppapi_async.errors import PPAPIError, TransportError
from ppapi_async.fleet.host import Host
from ppapi_async.fleet.status import AccountPhase, AccountStatus
from ppapi_async.protocol import Reader
from ppapi_async.session import Session, connection_of
from ppapi_async.transport.closing import wait_until_done
from ppapi_async.watching.delivery import Poller
from ppapi_async.watching.poll_policy import PollPolicy
from ppapi_async.watching.resources import Record

__all__ = ["Member", "unforeseen"]

T = TypeVar("T")


@define(eq=False)
class Member:
    """An account in a fleet."""

    session: Session
    host: Host
    phase: float
    """When in the interval it is polled, in seconds."""
    policy: PollPolicy
    pollers: dict[str, Poller[Record]] = field(factory=dict)
    unsupported: set[str] = field(factory=set)
    """Resources that the site does not have."""
    put_off: int = 0
    """Polls in a row that were put off because the host does not answer others."""
    suspended: bool = False
    paused: bool = False
    elsewhere: bool = False
    """Whether it is not this worker that polls it."""
    regained: float | None = None
    """When it is due, given while a poll that was broken off had not ended yet."""
    due: float | None = None
    """When the next poll begins; None if none is planned."""
    ticket: int = 0
    """Of its valid entry in the schedule; older ones are void."""
    task: asyncio.Task[float | None] | None = None
    """The poll under way."""
    asking: set[asyncio.Task[object]] = field(factory=set)
    """What is asked of it for a call that asks all accounts."""
    predecessor: asyncio.Task[None] | None = None
    """Lets go of an account of the same name, before this one is polled: they share their state."""
    polls: int = 0
    """Polls that have begun."""
    polls_failed: int = 0
    """Polls that have failed."""
    failing_since: float | None = None
    """When the first of the polls failed that have failed in a row."""
    gone: bool = False
    """Whether the account has been let go, or the fleet is being closed."""

    @property
    def name(self) -> str:
        """The account's name."""
        return self.session.account.name

    async def ask(self, question: Coroutine[object, object, T]) -> T | PPAPIError:
        """Return what comes of a question to this account, an error as a value.

        The question is a task of its own: so it ends when the account is let go, and nothing that
        goes wrong with one account is raised to whoever asks all of them.
        """
        if self.gone:
            question.close()
            return self._gone_error()
        task = asyncio.create_task(question)
        # If whoever asks is cancelled in the moment in which it fails, nobody looks at its error.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        self.asking.add(task)
        try:
            await asyncio.wait([task])
        finally:
            self.asking.discard(task)
            if not task.done():
                task.cancel()
                await wait_until_done([task])
        if task.cancelled():
            return self._gone_error()
        error = task.exception()
        if error is None:
            return task.result()
        return error if isinstance(error, PPAPIError) else unforeseen(self.session.account, error)

    def _gone_error(self) -> PPAPIError:
        text = "the account was removed from the fleet, or the fleet closed, before all was read"
        return TransportError(text, account=self.name, sent=False)

    async def aclose(self) -> None:
        """Break off what is under way for this account, and close its session."""
        self.gone, self.due, self.ticket = True, None, 0
        tasks = [*self.asking] if self.task is None else [*self.asking, self.task]
        for task in tasks:
            task.cancel()
        try:
            await wait_until_done(tasks)
        finally:
            await self.session.aclose()

    @property
    def worked(self) -> bool:
        """Whether anything could ever be read."""
        return any(poller.worked for poller in self.pollers.values())

    def forget(self) -> None:
        """Forget what is known of it: another worker may poll it meanwhile."""
        self.pollers.clear()
        self.unsupported.clear()
        self.policy, self.suspended, self.put_off = self.policy.renewed(), False, 0

    def begins_to_fail(self, now: float) -> None:
        """Note since when it fails, before `policy` counts the failure."""
        if self.policy.failures == 0:
            self.failing_since = now

    def status(self, now: float) -> AccountStatus:
        """Return how it gets on."""
        began, is_polled = self.policy.last_success, self.task is not None
        if self.suspended:
            phase = AccountPhase.SUSPENDED
        elif self.elsewhere and not is_polled:
            phase = AccountPhase.ELSEWHERE
        elif self.paused and not is_polled:
            phase = AccountPhase.PAUSED
        elif self.policy.failures:
            phase = AccountPhase.FAILING
        else:
            phase = AccountPhase.POLLING if is_polled else AccountPhase.WAITING
        since = self.failing_since if self.policy.failures else None
        return AccountStatus(
            phase=phase,
            host=self.host.name,
            interval=timedelta(seconds=self.policy.interval),
            dialect=self.session.dialect,
            last_success=None if began is None else datetime.fromtimestamp(began, UTC),
            next_poll=None if self.due is None else datetime.fromtimestamp(self.due, UTC),
            failures=self.policy.failures,
            last_error=self.policy.last_error,
            lag=None if began is None else timedelta(seconds=max(0.0, now - began)),
            clock_warning=connection_of(self.session).clock_check.warning,
            polls=self.polls,
            polls_failed=self.polls_failed,
            failing_since=None if since is None else datetime.fromtimestamp(since, UTC),
            unsettled_payouts=len(self.session.unsettled_payouts),
        )


def unforeseen(account: Account, error: BaseException) -> PPAPIError:
    """Return what to say of an exception that nobody expected: its class, its text, its place.

    It is no cause of the new one: its frames may hold the key.
    """
    text = "".join(traceback.format_exception_only(error)).strip()
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    if frames:
        text += f" (at {Path(frames[-1].f_code.co_filename).name}:{frames[-1].f_lineno})"
    clipped = Reader(account, "").clip(text)
    return PPAPIError(f"unforeseen, please report it: {clipped}", account=account.name)

"""Watches accounts until it is stopped."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from attrs import frozen
from yarl import URL

from ppapi_async.account import Account
from ppapi_async.cli.exits import CommandFailed, exit_of
from ppapi_async.cli.metrics_server import Address, serving_metrics
from ppapi_async.cli.output import is_terminal, note, plain, say
from ppapi_async.cli.watching.delivery import Deliveries, FreshState, Recipient
from ppapi_async.cli.watching.program import Program
from ppapi_async.cli.watching.texts import (
    AnyChange,
    change_document,
    change_line,
    document_text,
)
from ppapi_async.cli.watching.webhook import Webhook
from ppapi_async.fleet.fleet import Fleet
from ppapi_async.fleet.status import AccountPhase, AccountRecovered, AccountSuspended
from ppapi_async.mirror.writer_lock import WriterLock
from ppapi_async.secret import Secret
from ppapi_async.storage import SQLiteState
from ppapi_async.transport.hooks import Hooks
from ppapi_async.watching.changes import Change
from ppapi_async.watching.resources import ResourceName

__all__ = ["WatchPlan", "watch"]

HOOKS = Hooks()


@frozen(kw_only=True)
class WatchPlan:
    """What is to be watched, and who gets to know."""

    accounts: Sequence[Account]
    resources: Sequence[ResourceName]
    interval: timedelta
    since: datetime | None
    state: Path
    from_now: bool
    as_json: bool
    utc: bool
    timeout: timedelta
    skip_refused: bool
    words: Sequence[str] | None = None
    """Of the program that each change is handed to."""
    webhook: tuple[URL, Secret] | None = None
    metrics: Address | None = None
    """Where they are served."""


async def watch(plan: WatchPlan) -> None:
    """Watch for ever.

    Raises:
        PPAPIError: the state cannot be used.
        CommandFailed: a recipient refuses a change, or no account can be watched.
    """
    path = plan.state.absolute()  # ":memory:" is a file, too
    async with SQLiteState(path) as state:
        await state.check()  # before a lock is put beside a file that is something else
    async with contextlib.AsyncExitStack() as stack:
        lock = await WriterLock.take(path, wait=0)
        stack.callback(lock.release)
        state = await stack.enter_async_context(SQLiteState(path))
        recipients: list[Recipient] = []
        seconds = plan.timeout.total_seconds()
        if plan.words:
            recipients.append(Program(plan.words, seconds=seconds))
        if plan.webhook:
            url, secret = plan.webhook
            hook = Webhook(url, secret, seconds=seconds, hooks=HOOKS)
            recipients.append(await stack.enter_async_context(hook))
        deliveries = Deliveries(state, recipients, plan.skip_refused, HOOKS)
        metrics = stack.enter_context(serving_metrics(plan.metrics))
        fleet = Fleet(
            plan.accounts,
            interval=plan.interval,
            first="now",
            state=FreshState(state) if plan.from_now else state,
            since=plan.since,
            on_request=metrics.on_request,
        )
        await stack.enter_async_context(fleet)
        metrics.tell_of(fleet)
        await _follow(plan, fleet, deliveries)


async def _follow(plan: WatchPlan, fleet: Fleet, deliveries: Deliveries) -> None:
    zones = {one.name: UTC if plan.utc else ZoneInfo(one.timezone) for one in plan.accounts}
    colour = is_terminal() and not os.environ.get("NO_COLOR")

    def show(change: AnyChange) -> None:
        if plan.as_json:
            say(document_text(change_document(change)))
        else:
            now = datetime.fromtimestamp(HOOKS.clock(), UTC)
            say(change_line(change, now, zones[change.account], colour=colour))
        sys.stdout.flush()

    _greet(plan)
    async with fleet.events(*plan.resources) as events:
        async for event in events:
            # What fails, and what cannot be read, the log tells.
            if isinstance(event, Change):
                await deliveries.deliver(event)
                show(event)
            elif isinstance(event, AccountRecovered):
                note(f"{plain(event.account)}: works again")
            elif isinstance(event, AccountSuspended):
                _end_if_idle(fleet)


def _greet(plan: WatchPlan) -> None:
    if is_terminal(error=True):
        count = len(plan.accounts)
        who = plain(plan.accounts[0].name) if count == 1 else f"{count:,} accounts"
        note(f"watching {', '.join(plan.resources)} of {who}; Ctrl-C ends it")


def _end_if_idle(fleet: Fleet) -> None:
    """End where nothing can come any more.

    Raises:
        CommandFailed: no account is polled any more.
    """
    statuses = fleet.status().values()
    if all(one.phase is AccountPhase.SUSPENDED for one in statuses):
        errors = [one.last_error for one in statuses if one.last_error is not None]
        raise CommandFailed("no account can be watched; see above", exit_of(errors))

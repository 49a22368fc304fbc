"""What `sync --follow` does: keeps the copy up to date for ever, and prints what changes.

A change goes to stdout, how the accounts get on to stderr. A change is printed before it counts as
delivered: what was not, because the process was killed, say, is printed by the next run.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Sequence
from contextlib import AsyncExitStack, aclosing, suppress
from datetime import UTC, timedelta, tzinfo
from zoneinfo import ZoneInfo

from ppapi_async.cli.copying.syncing import MirrorOptions
from ppapi_async.cli.exits import CommandFailed, exit_of
from ppapi_async.cli.failures import words_of
from ppapi_async.cli.metrics_server import Address, serving_metrics
from ppapi_async.cli.output import duration_text, is_terminal, note, plain, say
from ppapi_async.cli.watching.texts import change_document, change_line, document_text
from ppapi_async.fleet.status import (
    AccountPhase,
    AccountSuspended,
    ShardsGained,
    ShardsLost,
)
from ppapi_async.mirror import Mirror, MirrorChange, MirrorEvent
from ppapi_async.watching.changes import RowsUnreadable
from ppapi_async.watching.resources import Record

__all__ = ["follow"]

_LOOK = 1.0
"""Seconds between two looks at how many accounts are caught up."""
_SELDOM = 30.0
"""Seconds between two lines that say so."""


async def follow(
    options: MirrorOptions,
    *,
    interval: timedelta,
    fields: Sequence[str] | None,
    is_utc: bool,
    metrics: Address | None = None,
) -> None:
    """Follow the accounts until cancelled.

    Args:
        options: the copy.
        interval: from one look at an account to the next.
        fields: of the JSON that is printed for each change; None prints lines for people.
        is_utc: show times in UTC, not in the zone of their account.
        metrics: where to serve them.

    Raises:
        StateError: the database cannot be opened, or is another process's.
        CommandFailed: no account has ever worked, and that will not pass by itself.
    """
    zones = {one.name: ZoneInfo("UTC" if is_utc else one.timezone) for one in options.accounts}
    # The library's log says which accounts fail; that one works again is for those who follow.
    log = logging.getLogger("ppapi_async")
    log.setLevel(min(log.level, logging.INFO))
    async with AsyncExitStack() as stack:
        served = stack.enter_context(serving_metrics(metrics))
        mirror = options.mirror(first="now", on_request=served.on_request)
        await stack.enter_async_context(mirror)
        served.tell_of(mirror)
        note(f"following {_accounts(len(options.accounts))}, each every {duration_text(interval)}")
        telling = asyncio.create_task(_tell_when_caught_up(mirror))
        try:
            async with aclosing(mirror.follow(interval=interval)) as events:
                async for event in events:
                    _print(event, fields, zones.get(event.account, UTC))
                    if isinstance(event, AccountSuspended):
                        _end_if_nothing_works(mirror)
        finally:
            telling.cancel()
            with suppress(asyncio.CancelledError):
                await telling


async def _tell_when_caught_up(mirror: Mirror) -> None:
    """Say now and then how many accounts were read to the end, until nobody is on the way."""
    loop = asyncio.get_running_loop()
    told = loop.time()
    while True:
        await asyncio.sleep(_LOOK)
        mine = [one for one in mirror.status().values() if one.phase is not AccountPhase.ELSEWHERE]
        done = sum(one.last_success is not None for one in mine)
        text = f"{done:,} of {_accounts(len(mine))} caught up"
        if mine and all(one.last_success is not None or not one.ok for one in mine):
            note(text)
            return
        if loop.time() - told >= _SELDOM:
            told = loop.time()
            note(f"{text} …")


def _accounts(count: int) -> str:
    return f"{count:,} account{'' if count == 1 else 's'}"


def _print(event: MirrorEvent, fields: Sequence[str] | None, zone: tzinfo) -> None:
    match event:
        case MirrorChange():
            as_json = None if fields is None else _json_line(event, fields)
            colour = is_terminal() and not os.environ.get("NO_COLOR")
            say(as_json or change_line(event, event.seen_at, zone, colour=colour))
        case RowsUnreadable(account=name, error=error):
            note(f"{plain(name)}: {words_of(error)}")
        case ShardsGained(accounts=names):
            note(f"follows {_named(names)}")
        case ShardsLost(accounts=names, error=trouble):
            why = "" if trouble is None else f": {words_of(trouble)}"
            note(f"lets {_named(names)} go{why}")


def _named(names: Sequence[str]) -> str:
    shown = ", ".join(map(plain, names[:3]))
    return f"{shown} and {len(names) - 3:,} more" if len(names) > 3 else shown


def _end_if_nothing_works(mirror: Mirror) -> None:
    statuses = mirror.status().values()
    errors = [one.last_error for one in statuses if one.phase is AccountPhase.SUSPENDED]
    if len(errors) == len(statuses):
        found = [error for error in errors if error is not None]
        raise CommandFailed("no account works, and that will not pass by itself", exit_of(found))


def _json_line(change: MirrorChange[Record], fields: Sequence[str]) -> str:
    """Return a change as a line of JSON: amounts as exact text, instants in ISO 8601."""
    whole = {
        **change_document(change),
        "seen_at": change.seen_at.isoformat(),
        "cursor": change.cursor,
    }
    return document_text({name: whole[name] for name in fields})

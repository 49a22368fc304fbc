"""Say what becomes of your rewards: expected, accrued, taken back, changed, cancelled; and sums.

    pip install ppapi-async
    export ONE_KEY=…
    python rewards.py --accounts accounts.toml --state rewards.sqlite --since 2026-01-01

An exchange brings a reward. Until it has `accrued` the amount is a forecast. An operator may take
an accrual back, change the amount, or cancel the order; a site does not tell, a poll sees it.

Amounts are in the base currency of each site, which the API does not name: so there is a sum for
each account, and none over all of them. Sums are of what this run has seen. `classify` and `gain`
are yours to import: they are pure.

To try it without an account, let a sandbox make orders, and an operator of its change them by hand:

    python -m ppapi_async sandbox --pace 3600 --meddling --accounts accounts.toml

Ctrl-C and SIGTERM end it; the sums come last.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import StrEnum

from ppapi_async import Change, ChangeKind, Exchange, Fleet, SQLiteState, load_accounts

CANCELLED = frozenset({"cancel", "delete"})  # statuses; 2.7 sites tell them, and may add their own


class News(StrEnum):
    """What has become of a reward."""

    EXPECTED = "new reward"
    """A new exchange that has not accrued: the amount is a forecast."""
    ACCRUED = "accrued"
    TAKEN_BACK = "taken back"
    """It had accrued, and has no longer."""
    CHANGED = "reward changed"
    CANCELLED = "order cancelled"
    FORGOTTEN = "changed long after"
    """How it was before is not known: it changed after more than the fleet's `lookback`."""


def classify(change: Change[Exchange]) -> tuple[News, ...]:
    """Return what a change means for the reward; often nothing, sometimes several things.

    A status alone, such as `payed`, is nothing new about a reward.
    """
    now, before = change.record, change.previous
    is_cancelled = now.status in CANCELLED
    if before is None:
        if change.kind is ChangeKind.CHANGED:
            return (News.FORGOTTEN,)
        if now.accrued:
            return (News.ACCRUED,)
        if is_cancelled:
            return (News.CANCELLED,)
        return (News.EXPECTED,) if now.partner_reward else ()
    found: list[News] = []
    if now.accrued != before.accrued:
        found.append(News.ACCRUED if now.accrued else News.TAKEN_BACK)
    if now.partner_reward != before.partner_reward:
        found.append(News.CHANGED)
    if is_cancelled and before.status not in CANCELLED:
        found.append(News.CANCELLED)
    return tuple(found)


def gain(change: Change[Exchange]) -> Decimal:
    """Return what a change adds to what has accrued; less than 0 if it takes something away.

    0 where it is not known what had accrued before (`News.FORGOTTEN`).
    """
    now, before = change.record, change.previous
    if before is None and change.kind is ChangeKind.CHANGED:
        return Decimal()
    had = before.partner_reward if before is not None and before.accrued else Decimal()
    return (now.partner_reward if now.accrued else Decimal()) - had


def line(change: Change[Exchange]) -> str | None:
    """Return what is printed of a change, None for nothing."""
    now, before, news = change.record, change.previous, classify(change)
    if not news:
        return None
    amount = f"{now.partner_reward:f}"
    if News.CHANGED in news and before is not None:
        amount = f"{before.partner_reward:f} → {amount}"
    pair = f"{now.currency_code_give} → {now.currency_code_get}"
    return f"{change.account}: {', '.join(news)}: {amount} for exchange {now.id} ({pair})"


async def follow(fleet: Fleet, sums: dict[str, Decimal], write: Callable[[str], object]) -> None:
    """Print and sum up until the fleet is closed."""
    async with fleet.events("exchanges") as events:
        async for event in events:
            if not isinstance(event, Change):
                write(f"{event.account}: {type(event).__name__}")  # how its polls get on
                continue
            sums[event.account] = sums.get(event.account, Decimal()) + gain(event)
            if (text := line(event)) is not None:
                write(text)


async def serve(fleet: Fleet, write: Callable[[str], object]) -> dict[str, Decimal]:
    """Print until a signal comes; return the sums."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C cancels this task
            loop.add_signal_handler(number, stop.set)
    sums: dict[str, Decimal] = {}
    async with fleet:
        following = asyncio.create_task(follow(fleet, sums, write))
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait([following, stopping], return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            await fleet.aclose()
            for name, amount in sorted(sums.items()):
                write(f"{name}: {amount:+f} in this run, in the site's base currency")
        await following
    return sums


def main() -> None:
    """Run the program."""
    parser = argparse.ArgumentParser(description="Say what becomes of your rewards.")
    parser.add_argument("--accounts", default="accounts.toml", help="default: %(default)s")
    parser.add_argument("--state", default="rewards.sqlite", help="default: %(default)s")
    parser.add_argument("--since", type=date.fromisoformat, help="begin then, not now")
    parser.add_argument("--interval", type=float, default=60.0, help="seconds, from poll to poll")
    options = parser.parse_args()
    fleet = Fleet(
        load_accounts(options.accounts),
        interval=options.interval,
        first="now",
        since=options.since and datetime.combine(options.since, time(), UTC),
        state=SQLiteState(options.state),
    )
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(fleet, lambda text: print(text, flush=True)))


if __name__ == "__main__":
    main()

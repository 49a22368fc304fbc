"""What a partner's service does, for type checkers (`python -m tests.face.typed.program` runs)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import assert_never, assert_type

from ppapi_async import (
    Account,
    AccountFailed,
    AccountRecovered,
    AccountSuspended,
    Change,
    ChangeKind,
    Exchange,
    FileCheckpoint,
    Fleet,
    FleetEvent,
    Info,
    Link,
    Payout,
    PayoutNotSent,
    PayoutOutcomeUnknown,
    PayoutReceipt,
    PayoutRejected,
    PPAPIError,
    Progress,
    RequestFacts,
    RowsUnreadable,
    SearchOutcome,
    Session,
    ShardsGained,
    ShardsLost,
    SQLiteState,
    UnreadableRow,
)
from ppapi_async.mirror import Mirror, MirrorChange

ACCOUNT = Account("https://site.example", "the key", timezone="Europe/Moscow", dialect="delegating")
START = datetime(2026, 1, 1, tzinfo=UTC)


def on_request(facts: RequestFacts) -> None:
    """Measure."""
    print(facts.method, facts.seconds)


async def on_progress(progress: Progress) -> None:
    """Show how far it is."""
    print(progress.fraction)


async def on_error(error: PPAPIError | None) -> None:
    """Tell somebody."""
    print("works again" if error is None else error.account)


async def read(session: Session) -> Decimal:
    """Read rows, one by one and window by window."""
    assert_type(await session.get_info(), Info)
    assert_type(await session.get_links(START), list[Link])
    total = Decimal()
    unreadable = list[UnreadableRow]()
    stream = session.iter_exchanges(
        START,
        1_800_000_000,
        window=timedelta(days=1),
        checkpoint=FileCheckpoint("site.json"),
        progress=on_progress,
        on_unreadable=unreadable.append,
    )
    async with stream:
        async for exchange in stream:
            assert_type(exchange, Exchange)
            total += exchange.partner_reward
            show(exchange.to_dict(), exchange.extra)
    async for window in session.iter_payouts(START).windows():
        assert_type(window.records, list[Payout])
    return total


def show(row: dict[str, object], extra: Mapping[str, object]) -> None:
    """Print a row."""
    print(row, dict(extra))


async def watch(session: Session) -> None:
    """Follow one account."""
    async for change in session.watch_exchanges(interval=60, state="state.db", on_error=on_error):
        assert_type(change, Change[Exchange])
        if change.previous is not None and "accrued" in change.fields:
            print(change.record.id, change.previous.accrued, change.record.accrued)
    async for news in session.watch_info(interval=timedelta(minutes=5)):
        assert_type(news.record, Info)


async def follow_one(fleet: Fleet) -> None:
    """One resource: its events are narrowed by its name."""
    async for event in fleet.events("exchanges"):
        match event:
            case Change():
                assert_type(event.record, Exchange)
            case RowsUnreadable():
                print(event.error.problems)
            case AccountFailed() | AccountSuspended():
                print(event.account, event.error)
            case AccountRecovered():
                print(event.account)
            case ShardsGained() | ShardsLost():
                print(event.accounts)
            case _:
                assert_never(event)


async def follow_others(fleet: Fleet) -> None:
    """The same for the other resources."""
    async for news in fleet.events("info", initial_info=True):
        if isinstance(news, Change):
            assert_type(news.record, Info)
    async for click in fleet.events("links"):
        if isinstance(click, Change):
            assert_type(click.record, Link)
    async for payout in fleet.events("payouts"):
        if isinstance(payout, Change):
            assert_type(payout.record, Payout)


async def follow(fleet: Fleet) -> None:
    """Several resources: by the record."""
    async for event in fleet.events("links", "exchanges", "payouts", "info"):
        handle(event)
    async for name, row in fleet.iter_exchanges(START):
        if isinstance(row, PPAPIError):
            print(name, row)
        else:
            assert_type(row, Exchange)
    for name, answer in (await fleet.get_info()).items():
        print(name, answer.balance if isinstance(answer, Info) else answer)


def handle(event: FleetEvent) -> None:
    """Tell rows from trouble."""
    match event:
        case Change(record=Exchange(accrued=True) as exchange):
            assert_type(exchange, Exchange)
        case Change(record=Payout() as payout, previous=previous):
            print(payout.status, previous)
        case Change():
            print(event.record)
        case AccountFailed(account=name, error=error):
            print(name, error)
        case _:
            print(event.account)


async def pay(session: Session) -> PayoutReceipt | None:
    """Ask for a payout, and find out what became of it."""
    try:
        return await session.add_payout(11, "wallet", at_least=Decimal(100))
    except PayoutRejected as refusal:
        print(refusal.reason)
    except PayoutNotSent as error:
        print(error.reason)
    except PayoutOutcomeUnknown as unknown:
        search = await session.find_payout(unknown)
        if search.outcome is SearchOutcome.FOUND:
            print(search.payouts[0].id)
    return None


async def keep(mirror: Mirror) -> str | None:
    """Keep a copy, and look at what has changed."""
    report = await mirror.sync(progress=lambda at: print(at.account, at.fraction))
    assert_type(report.failed, dict[str, PPAPIError])
    cursor = None
    async for change in mirror.changes("exchanges", since=START):
        assert_type(change.record, Exchange)
        cursor = change.cursor
    for total in await mirror.rewards(("day",)):
        assert_type(total.accrued, Decimal)
    async for event in mirror.follow(interval=timedelta(minutes=1)):
        match event:
            case MirrorChange(record=Payout() as payout, kind=ChangeKind.GONE):
                print(payout.id, event.seen_at)
            case AccountFailed():
                print(event.error)
            case _:
                return cursor
    return cursor


async def main() -> None:
    """Use all of it."""
    async with Session(ACCOUNT, on_request=on_request) as session:
        print(await read(session), await pay(session))
        await watch(session)
    async with Fleet([ACCOUNT], state=SQLiteState("state.db"), first="now") as fleet:
        assert_type(fleet.status()["site.example"].ok, bool)
        await follow_one(fleet)
        await follow_others(fleet)
        await follow(fleet)
    async with Mirror("sqlite:///partner.db", [ACCOUNT]) as mirror:
        await keep(mirror)


if __name__ == "__main__":
    asyncio.run(main())

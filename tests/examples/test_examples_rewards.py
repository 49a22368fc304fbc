"""What the rewards example makes of changes, and that its sums are those of the books."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from attrs import evolve

from examples import rewards
from examples.rewards import News, classify, gain
from ppapi_async import Account, Change, ChangeKind, Dialect, Exchange, Fleet, SQLiteState
from ppapi_async.sandbox import Books, Partner, Rates, Sandbox
from tests import virtual_time
from tests.examples.test_examples import KEY, ON_POSIX, TWO_KINDS, books_of, fleet_on, run, site_of

HOUR = 3600


def exchange(reward: str = "1.5", *, accrued: bool = False, status: str | None = "new") -> Exchange:
    """Return an exchange."""
    return Exchange(
        id=7,
        time=datetime(2026, 1, 31, tzinfo=UTC),
        amount_give=Decimal(1),
        amount_get=Decimal(1),
        exchange_success=accrued,
        accrued=accrued,
        partner_reward=Decimal(reward),
        currency_code_give="BTC",
        currency_code_get="USDT",
        status=status,
    )


def new(record: Exchange) -> Change[Exchange]:
    """Return what a watch delivers of a new exchange."""
    return Change(ChangeKind.NEW, record, account="one")


def changed(record: Exchange, previous: Exchange | None) -> Change[Exchange]:
    """Return what it delivers of one that has changed."""
    return Change(ChangeKind.CHANGED, record, previous, ("x",), "one")


WAITING, DONE = exchange(), exchange(accrued=True, status="success")
GONE = exchange(status="cancel")


@pytest.mark.parametrize(
    ("change", "news", "amount"),
    [
        (new(WAITING), [News.EXPECTED], "0"),
        (new(exchange("0")), [], "0"),
        (new(DONE), [News.ACCRUED], "1.5"),
        (new(GONE), [News.CANCELLED], "0"),
        (changed(DONE, WAITING), [News.ACCRUED], "1.5"),
        (changed(WAITING, DONE), [News.TAKEN_BACK], "-1.5"),
        (changed(GONE, WAITING), [News.CANCELLED], "0"),
        (changed(GONE, DONE), [News.TAKEN_BACK, News.CANCELLED], "-1.5"),
        (changed(GONE, exchange(status="delete")), [], "0"),
        (changed(exchange("2"), WAITING), [News.CHANGED], "0"),
        (changed(exchange("1.50"), WAITING), [], "0"),
        (changed(exchange("2", accrued=True), WAITING), [News.ACCRUED, News.CHANGED], "2"),
        (changed(exchange("2", accrued=True), DONE), [News.CHANGED], "0.5"),
        (changed(exchange("1", accrued=True), DONE), [News.CHANGED], "-0.5"),
        (changed(exchange("9"), DONE), [News.TAKEN_BACK, News.CHANGED], "-1.5"),
        (changed(exchange(status="payed"), WAITING), [], "0"),
        (changed(exchange(status=None), exchange(status=None)), [], "0"),
        (changed(DONE, None), [News.FORGOTTEN], "0"),
        (changed(WAITING, None), [News.FORGOTTEN], "0"),
    ],
)
def test_what_a_change_means(change: Change[Exchange], news: Sequence[News], amount: str) -> None:
    """For the reward, and for what has accrued."""
    assert classify(change) == tuple(news)
    assert gain(change) == Decimal(amount)
    assert (rewards.line(change) is None) == (not news)


def test_a_line_says_what_and_how_much() -> None:
    """With the account, the exchange, and the former amount where that has changed."""
    assert rewards.line(changed(evolve(DONE, partner_reward=Decimal(2)), WAITING)) == (
        "one: accrued, reward changed: 1.5 → 2 for exchange 7 (BTC → USDT)"
    )


async def end_after(task: asyncio.Task[dict[str, Decimal]], seconds: float) -> dict[str, Decimal]:
    """Let the program run for so long, end it by a signal, and return its sums."""
    await asyncio.sleep(seconds)
    signal.raise_signal(signal.SIGTERM)
    return await task


@ON_POSIX
@TWO_KINDS
def test_a_reward_is_followed_to_its_end(dialect: Dialect, tmp_path: Path) -> None:
    """Expected, accrued, changed by hand, taken back; the sums come when a signal ends it."""

    async def main() -> None:
        books, lines = books_of(""), list[str]()
        loop = asyncio.get_running_loop()

        def move(status: str) -> None:
            books.move_order(1, int(virtual_time.now()), status)

        since = datetime.fromtimestamp(virtual_time.BEGINNING - HOUR, UTC)
        async with site_of(books, dialect) as site:
            loop.call_later(100, move, "success")
            loop.call_later(300, lambda: books.set_by_hand(1, accrued=True, reward="2"))
            loop.call_later(500, move, "cancel")
            fleet = fleet_on(site, tmp_path / "state", since=since, first="now")
            sums = await end_after(asyncio.create_task(rewards.serve(fleet, lines.append)), 700)
        what = "for exchange 1 (BTC → A&B)"
        cancelled = ", order cancelled" if dialect is Dialect.DELEGATING else ""
        assert lines == [
            f"one: new reward: 1.5 {what}",
            f"one: accrued: 1.5 {what}",
            f"one: reward changed: 1.5 → 2 {what}",
            f"one: taken back{cancelled}: 2 {what}",
            "one: +0.0 in this run, in the site's base currency",
        ]
        assert sums == {"one": 0}

    run(main)


@pytest.mark.untraced
@ON_POSIX
@TWO_KINDS
def test_the_sums_are_those_of_the_books(dialect: Dialect, tmp_path: Path) -> None:
    """A live sandbox whose operator meddles, from its beginning: what has accrued, and no more."""

    async def main() -> None:
        begun = int(virtual_time.now())
        partner = Partner(api_key=KEY)
        rates = Rates(orders_per_hour=200, by_hand_per_hour=60)
        books = Books.generate(3, 20, begun - HOUR, begun, rates=rates, partner=partner)
        since = datetime.fromtimestamp(begun - 2 * HOUR, UTC)
        async with Sandbox(dialect, books=books, clock=virtual_time.now, live=True) as site:
            fleet = Fleet(
                [Account(site.url, KEY, name="one")],
                interval=300,
                first="now",
                since=since,
                state=SQLiteState(tmp_path / "state"),
                hooks=virtual_time.hooks(),
            )
            task = asyncio.create_task(rewards.serve(fleet, list[str]().append))
            await asyncio.sleep(HOUR)
            site._live = False
            sums = await end_after(task, HOUR)
        accrued = sum(Decimal(order.reward) for order in books.orders if order.accrued)
        assert sums["one"] == accrued > 0

    run(main)

"""An audit of sites that live, and of a mirror that is followed meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ppapi_async import Account, Dialect
from ppapi_async.mirror import Audit, Mirror
from ppapi_async.sandbox import Books, Rates, Sandbox
from tests.mirror.clock import NOW, Clock

DAY = 86_400
LIVELY = Rates(
    orders_per_hour=4000,
    clicks_per_hour=1500,
    by_hand_per_hour=2000,
    baskets_per_hour=300,
    basket_time=240,
    payouts_per_hour=120,
    payout_delay=120,
    pace=0.2,
    around_the_clock=True,
)


@contextlib.asynccontextmanager
async def followed(mirror: Mirror, clock: Clock) -> AsyncIterator[None]:
    """Follow a mirror, while time flies, but not so that nobody could keep up."""

    async def follow() -> None:
        async for _ in mirror.follow(interval=120):
            pass

    async def tick() -> None:
        while True:
            clock.advance(0.2)
            await asyncio.sleep(0.002)

    tasks = [asyncio.create_task(follow()), asyncio.create_task(tick())]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.untraced
@pytest.mark.parametrize("dialect", [Dialect.CLASSIC, Dialect.DELEGATING])
async def test_a_site_that_lives_and_is_followed_differs_in_nothing(
    tmp_path: Path, dialect: Dialect
) -> None:
    """Orders come and move, operators change and hide rows: no audit takes that for a difference.

    When the site is quiet at last, and the mirror has read all of it, nothing is left open.
    """
    clock = Clock()
    url = f"sqlite:///{tmp_path / 'mirror.db'}"
    books = Books.generate(3, 100, NOW - 20 * DAY, NOW, rates=LIVELY, clicks=50)
    async with Sandbox(dialect, books=books, clock=clock, live=True) as site:
        account = Account(site.url, site.api_key, name="one")
        async with Mirror(url, [account], hooks=clock.hooks()) as mirror:
            assert (await mirror.sync()).ok
            async with asyncio.timeout(60), followed(mirror, clock):
                for _ in range(4):
                    await asyncio.sleep(0.05)
                    result = await mirror.audit()
                    assert result.differences == ()
                    assert result.ok
                site._live = False
                clock.advance(7 * 3600)  # all is due to be read again
                while not is_settled(result := await mirror.audit()):
                    clock.advance(600)
                    await asyncio.sleep(0.1)
    hidden = len(books.hidden_orders) + len(books.hidden_payouts)
    assert result.rows == len(books.orders) + len(books.clicks) + len(books.payouts) - hidden


def is_settled(result: Audit) -> bool:
    """Tell whether an audit could compare all there is, and nothing differs."""
    return result.ok and not (result.uncovered or result.unsettled)

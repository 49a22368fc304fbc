"""The client against a server of version 2.7 that was made from the notes on the wire alone."""

from __future__ import annotations

from collections import Counter

import pytest

from ppapi_async import Account, Hooks, IncompleteError, Session
from tests.standin import StandIn

NOW = 1_780_000_000
PAGE_SIZES = (500, 400, 300, 250, 200, 100, 50, 20, 10)


async def no_sleep(_: float) -> None:
    """Stand in for sleeping."""


HOOKS = Hooks(sleep=no_sleep, chance=lambda: 0.5, clock=lambda: float(NOW))


async def read(site: StandIn, page_size: int) -> Counter[int] | None:
    """Read all clicks as a user would; None where the stream says that it cannot prove them."""
    account = Account(site.url, site.key, timezone=site.timezone)
    async with Session(account, hooks=HOOKS, page_size=page_size) as session:
        got: Counter[int] = Counter()
        try:
            async for click in session.iter_links():
                got[click.id] += 1
        except IncompleteError:
            assert max(got.values(), default=1) == 1
            return None
        return got


@pytest.mark.parametrize("page_size", PAGE_SIZES)
async def test_promise_1_ordinary_seconds_are_read_complete_at_any_page_size(
    page_size: int,
) -> None:
    """Two thousand clicks, at most nine of them in a second."""
    async with StandIn(timezone="Europe/Moscow") as site:
        walls = [site.tables.wall(NOW - 200_000 + 13 * (n // (1 + n % 9))) for n in range(2_000)]
        site.tables.insert("clicks", [{"time": wall} for wall in walls])
        got = await read(site, page_size)
        assert got is not None
        assert got == Counter(site.tables.ids("clicks"))

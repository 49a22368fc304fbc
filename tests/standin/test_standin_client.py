"""The client against a server of version 2.7 that was made from the notes on the wire alone."""

from __future__ import annotations

from collections import Counter

import pytest

from ppapi_async import Account, Hooks, IncompleteError, Session
from tests.sites.raw import instantly
from tests.sites.standin import StandIn
from tests.sites.standin.tables import Ties

NOW = 1_780_000_000
PAGE_SIZES = (500, 400, 300, 250, 200, 100, 50, 20)


HOOKS = Hooks(sleep=instantly, chance=lambda: 0.5, clock=lambda: float(NOW))


def crowd(site: StandIn, *seconds: int) -> None:
    """Store seconds with so many clicks each, and some around them."""
    rows = [{"time": site.tables.wall(NOW - 5_000 - 7 * n)} for n in range(40)]
    for number, count in enumerate(seconds):
        rows += [{"time": site.tables.wall(NOW - 9_000 - number)}] * count
    rows += [{"time": site.tables.wall(NOW - 20_000 - 7 * n)} for n in range(40)]
    site.tables.insert("clicks", rows)


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
@pytest.mark.parametrize("seconds", [(700,), (571,), (500,), (100, 100)], ids=str)
@pytest.mark.parametrize("ties", ["query", "rotated", "random"])
async def test_promise_1_ties_of_any_order_are_read_complete_or_not_at_all(
    ties: Ties, seconds: tuple[int, ...], page_size: int
) -> None:
    """Never fewer rows in silence, whatever the order inside a second, and none twice."""
    async with StandIn(ties=ties) as site:
        crowd(site, *seconds)
        got = await read(site, page_size)
        if got is not None:
            assert got == Counter(site.tables.ids("clicks"))


@pytest.mark.parametrize("page_size", [500, 250])
@pytest.mark.parametrize("seconds", [(700,), (571,), (500,), (100, 100)], ids=str)
async def test_promise_1_ties_fixed_for_a_query_are_read_complete(
    seconds: tuple[int, ...], page_size: int
) -> None:
    """At these page sizes every row comes."""
    async with StandIn(ties="query") as site:
        crowd(site, *seconds)
        got = await read(site, page_size)
        assert got is not None
        assert got == Counter(site.tables.ids("clicks"))


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

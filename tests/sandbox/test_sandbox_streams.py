"""Streams over sandboxes that are as bad as real sites and their copies, in all ways at once."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from ppapi_async import Account, Dialect, Hooks, IncompleteError, Session
from ppapi_async.sandbox import Books, Click, Sandbox
from tests.conftest import IS_THOROUGH
from tests.sites.raw import instantly

NOW = 1_780_000_000
START = NOW - 400_000


HOOKS = Hooks(sleep=instantly, chance=lambda: 0.5, clock=lambda: float(NOW))


def books_of(draw: random.Random) -> Books:
    """Return clicks: scattered, in bursts, and some seconds with more of them than a page."""
    times = [draw.randrange(START, NOW) for _ in range(draw.choice((0, 30, 900)))]
    for _ in range(draw.randrange(4)):
        times += [draw.randrange(START, NOW)] * draw.choice((2, 9, 60, 150, 700))
    draw.shuffle(times)
    return Books(clicks=[Click(id=n, created=at) for n, at in enumerate(times, 1)])


async def read(sandbox: Sandbox, start: int | None, end: int | None, size: int) -> set[int] | None:
    """Read a range as a user would; None where the stream says that it cannot prove it."""
    account = Account(sandbox.url, sandbox.api_key, api_login=sandbox.api_login,
                      timezone=sandbox.timezone)  # fmt: skip
    got: Counter[int] = Counter()
    async with Session(account, hooks=HOOKS, page_size=size) as session:
        try:
            async for click in session.iter_links(start, end):
                got[click.id] += 1
        except IncompleteError:
            return None
        finally:
            assert max(got.values(), default=1) == 1, "a row came twice"
    return set(got)


@pytest.mark.untraced
@pytest.mark.parametrize("seed", range(400 if IS_THOROUGH else 20))
async def test_promise_1_complete_or_unproven_whatever_the_site_is_like(seed: int) -> None:
    """Envelope, caps that change, ties, order and bounds at once: no row lost in silence."""
    draw = random.Random(seed)
    dialect = draw.choice((Dialect.CLASSIC, *[Dialect.DELEGATING] * 3, Dialect.CLONE))
    cap: Any = draw.choice((500, 200, 50, 20, (500, 200), (500, 20, 100), None))
    ties: Any = draw.choice(("shuffled", "rotated", "random", "by id"))
    order: Any = draw.choice(("newest first", "newest first", "oldest first", "by id"))
    bounds: Any = draw.choice(
        ("inclusive", "inclusive", "start exclusive", "end exclusive", "exclusive")
    )
    own: dict[str, Any] = {"ties": ties, "order": order, "bounds": bounds}
    if dialect is not Dialect.CLASSIC:
        own |= {"cap": cap, "default_limit": draw.choice((100, 20))}
    books = books_of(draw)
    zone = draw.choice(("UTC", "Asia/Tokyo"))
    async with Sandbox(dialect, books=books, timezone=zone, own_keys=True, **own) as sandbox:
        for start, end in ((None, None), (START + 90_000, NOW - 90_000)):
            got = await read(sandbox, start, end, draw.choice((500, 100, 20)))
            truth = {click.id for click in books.links_in(start, end)}
            assert got is None or got == truth, f"{dialect} {own}: {len(truth - got)} lost"

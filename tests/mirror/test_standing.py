"""What `Mirror.standing` counts, on both databases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import insert, update

from ppapi_async import Account, Retry
from ppapi_async.mirror import Mirror, MirrorStanding, schema
from tests.mirror.clock import NOW, Clock
from tests.mirror.test_mirror import account_of, site

pytestmark = pytest.mark.either_database

PRESENT = datetime.fromtimestamp(NOW, UTC)


async def test_a_standing_is_what_the_database_has(mirror_url: str) -> None:
    """Rows by resource, gone ones too; when all was caught up; what was never read is empty."""
    clock = Clock()
    async with site(clock) as sandbox:
        accounts = [account_of(sandbox), Account("http://127.0.0.1:9", "k3y", name="dead")]
        retry = Retry(attempts=1)
        async with Mirror(mirror_url, accounts, retry=retry, hooks=clock.hooks()) as mirror:
            before = await mirror.standing()
            await mirror.sync()
            async with mirror.connect() as connection:  # a row is gone: it stays
                await connection.execute(update(schema.payouts).values(gone_at=PRESENT))
                await connection.commit()
            after = await mirror.standing()
        books, host = sandbox.books, accounts[0].host
    nothing = {"links": 0, "exchanges": 0, "payouts": 0}
    empty = MirrorStanding(host=host, rows=nothing, last_synced=None, unreadable=0, holes=0)
    assert before["one"] == empty
    assert after == {
        "one": MirrorStanding(
            host=host,
            rows={
                "links": len(list(books.clicks)),
                "exchanges": len(list(books.orders)),
                "payouts": len(list(books.payouts)),
            },
            last_synced=PRESENT,
            unreadable=0,
            holes=0,
        ),
        "dead": MirrorStanding(
            host="127.0.0.1:9", rows=nothing, last_synced=None, unreadable=0, holes=0
        ),
    }


@pytest.mark.parametrize(
    ("ranges", "holes"),
    [
        ([(None, 1), (1, 2), (2, 3)], 0),
        ([(None, 1), (2, 3)], 1),
        ([(1, 2), (3, 4), (5, 6)], 2),  # before the first is nothing that was promised
        ([], 0),
    ],
    ids=["whole", "one", "two", "nothing"],
)
async def test_a_hole_lies_between_proven_times(
    mirror_url: str, ranges: list[tuple[int | None, int]], holes: int
) -> None:
    """Each time that is not proven, of each resource by itself, and each unreadable row."""
    clock = Clock()
    async with site(clock, rows=0) as sandbox:
        account = account_of(sandbox)
        async with Mirror(mirror_url, account, resources=["info"], hooks=clock.hooks()) as mirror:
            await mirror.sync()
            days = [
                {
                    "start": None if first is None else PRESENT + timedelta(first),
                    "end": PRESENT + timedelta(last),
                }
                for first, last in ranges
            ]
            async with mirror.connect() as connection:
                for resource in ("links", "payouts"):
                    place = {"account": 1, "resource": resource, "proven_at": PRESENT}
                    for one in days:
                        await connection.execute(insert(schema.coverage).values(**place, **one))
                seen = {"first_seen": PRESENT, "last_seen": PRESENT, "problems": []}
                for digest in ("a", "b"):
                    values = {"account": 1, "resource": "links", "digest": digest, **seen}
                    await connection.execute(insert(schema.unreadable).values(**values))
                await connection.commit()
            standing = (await mirror.standing())["one"]
    assert (standing.holes, standing.unreadable) == (2 * holes, 2)

"""A mirror that is followed, brought up to date and audited at once, in one process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from attrs import define, field

from ppapi_async import Account, AuthError
from ppapi_async.fleet.status import AccountFailed, AccountSuspended
from ppapi_async.mirror import Mirror, MirrorChange, MirrorEvent
from ppapi_async.sandbox import Sandbox
from tests.mirror.clock import Clock
from tests.mirror.test_interruptions import put_order
from tests.mirror.test_mirror import account_of, assert_like_books, changes_of, rows_of, site

pytestmark = pytest.mark.either_database

NAMES = ("one", "two")


@define(eq=False)
class Following:
    """What following has delivered so far."""

    clock: Clock
    seen: list[MirrorEvent] = field(factory=list)

    @property
    def orders(self) -> list[tuple[str, int | None]]:
        """Account and id of the orders that were delivered."""
        return [
            (one.account, one.id)
            for one in self.seen
            if isinstance(one, MirrorChange) and one.resource == "exchanges"
        ]

    @property
    def failures(self) -> list[AccountFailed]:
        """What went wrong."""
        return [one for one in self.seen if isinstance(one, AccountFailed)]

    async def until(self, orders: int) -> None:
        """Let time go on until so many orders have been delivered, or something goes wrong."""
        async with asyncio.timeout(15):
            while len(self.orders) < orders and not self.failures:
                self.clock.advance(5)
                await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def followed(mirror: Mirror, clock: Clock) -> AsyncIterator[Following]:
    """Follow a mirror meanwhile."""
    following = Following(clock)

    async def follow() -> None:
        async for one in mirror.follow(interval=60):
            following.seen.append(one)

    task = asyncio.create_task(follow())
    try:
        yield following
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@contextlib.asynccontextmanager
async def mirrored(clock: Clock, rows: int = 9) -> AsyncIterator[Sequence[Sandbox]]:
    """Yield sites, all with the same rows."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(site(clock, rows=rows)) for _ in NAMES]


def opened(url: str, sites: Sequence[Sandbox], clock: Clock) -> Mirror:
    """Return a mirror of an account at each site, which polls at once."""
    accounts = [account_of(one, name) for one, name in zip(sites, NAMES, strict=True)]
    return Mirror(url, accounts, first="now", hooks=clock.hooks())


async def assert_all_is_there(mirror: Mirror, sites: Sequence[Sandbox], seen: Following) -> None:
    """Each order that came while it was followed was delivered once, and is there once."""
    assert seen.failures == []
    assert len(set(seen.orders)) == len(seen.orders)
    new = [row for resource, _, row in await changes_of(mirror) if resource == "exchanges"]
    assert sorted(new, key=str) == sorted((row for _, row in seen.orders), key=str)
    if len(sites) == 1:
        assert_like_books(await rows_of(mirror), sites[0].books)


@pytest.mark.parametrize("turns", [0, 20], ids=lambda turns: f"{turns} turns")
@pytest.mark.parametrize("is_first", [True, False], ids=["follow first", "sync first"])
async def test_a_fresh_mirror_is_followed_and_brought_up_to_date(
    is_first: bool, turns: int, mirror_url: str
) -> None:
    """Neither takes the other for another process, and nothing is lost."""
    clock = Clock()
    async with (
        mirrored(clock) as sites,
        opened(mirror_url, sites, clock) as mirror,
        AsyncExitStack() as stack,
    ):
        syncs = [] if is_first else [asyncio.create_task(mirror.sync())]
        for _ in range(0 if is_first else turns):
            await asyncio.sleep(0)
        following = await stack.enter_async_context(followed(mirror, clock))
        for _ in range(turns if is_first else 0):
            await asyncio.sleep(0)
        syncs += [asyncio.create_task(mirror.sync()) for _ in range(2)]
        reports = await asyncio.gather(*syncs)
        assert [report.failed for report in reports] == [{}] * len(syncs)
        for one in sites:
            put_order(one, clock)
        await following.until(len(sites))
        assert (await mirror.sync()).ok
        await assert_all_is_there(mirror, sites, following)


async def test_what_a_sync_finds_is_delivered_by_a_follow(mirror_url: str) -> None:
    """Whoever of them finds a change: each is delivered once, in order."""
    clock = Clock()
    async with site(clock, rows=9) as sandbox:
        account = account_of(sandbox)
        async with (
            Mirror(mirror_url, [account], first="now", hooks=clock.hooks()) as mirror,
            followed(mirror, clock) as following,
        ):
            assert (await mirror.sync()).ok
            put: list[tuple[str, int | None]] = []
            for turns in range(0, 120, 12):
                put.append(("one", put_order(sandbox, clock)))
                clock.advance(61)
                for _ in range(turns):
                    await asyncio.sleep(0)
                syncing = asyncio.create_task(mirror.sync())
                put.append(("one", put_order(sandbox, clock)))
                assert (await syncing).failed == {}
            put.append(("one", put_order(sandbox, clock)))
            await following.until(len(put))
            assert following.orders == put
            await assert_all_is_there(mirror, [sandbox], following)


@pytest.mark.untraced
async def test_whoever_is_delivered_a_change_may_bring_all_up_to_date(mirror_url: str) -> None:
    """It would wait for ever if a delivery held up a synchronisation."""
    clock = Clock()
    async with site(clock, rows=9) as sandbox:
        account = account_of(sandbox)
        async with Mirror(mirror_url, [account], first="now", hooks=clock.hooks()) as mirror:
            assert (await mirror.sync()).ok
            put_order(sandbox, clock)
            clock.advance(61)
            async with asyncio.timeout(15), contextlib.aclosing(mirror.follow()) as events:
                async for one in events:
                    assert not isinstance(one, AccountFailed)
                    assert (await mirror.sync()).ok
                    if isinstance(one, MirrorChange) and one.resource == "exchanges":
                        break


@pytest.mark.parametrize("turns", [3, 30])
async def test_a_sync_that_is_cancelled_beside_a_follow(turns: int, mirror_url: str) -> None:
    """The follow goes on, and so does the next synchronisation; an audit finds no difference."""
    clock = Clock()
    async with site(clock, rows=9) as sandbox:
        account = account_of(sandbox)
        async with (
            Mirror(mirror_url, [account], first="now", hooks=clock.hooks()) as mirror,
            followed(mirror, clock) as following,
        ):
            for _ in range(4):
                syncing = asyncio.create_task(mirror.sync())
                for _ in range(turns):
                    await asyncio.sleep(0)
                syncing.cancel()
                await asyncio.wait([syncing])
            report, audit = await asyncio.gather(mirror.sync(), mirror.audit())
            assert report.failed == {}
            assert audit.differences == ()
            put_order(sandbox, clock)
            await following.until(1)
            await assert_all_is_there(mirror, [sandbox], following)


async def test_an_account_that_is_let_go_and_taken_in_again(mirror_url: str) -> None:
    """What of it is still under way is not taken for another process."""
    clock = Clock()
    async with site(clock, rows=9) as sandbox:
        account = account_of(sandbox)
        async with Mirror(mirror_url, [account], hooks=clock.hooks()) as mirror:
            for turns in range(0, 200, 20):
                syncing = asyncio.create_task(mirror.sync())
                for _ in range(turns):
                    await asyncio.sleep(0)
                mirror.remove("one")
                mirror.add(account)
                assert (await mirror.sync()).failed == {}
                await syncing
            assert_like_books(await rows_of(mirror), sandbox.books)


async def test_a_poll_that_fails_says_why(tmp_path: Path) -> None:
    """What the site refuses is an event, and not an error of the database."""
    clock = Clock()
    async with site(clock, rows=9) as sandbox:
        account = Account(sandbox.url, "another-key", name="one")
        url = f"sqlite:///{tmp_path / 'mirror.db'}"
        async with Mirror(url, [account], first="now", hooks=clock.hooks()) as mirror:
            async with asyncio.timeout(15), contextlib.aclosing(mirror.follow()) as events:
                async for one in events:
                    assert isinstance(one, AccountFailed | AccountSuspended)
                    assert isinstance(one.error, AuthError)
                    break

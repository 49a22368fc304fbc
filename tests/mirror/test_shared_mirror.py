"""Mirrors on one PostgreSQL that follow the accounts together."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable

import pytest
from attrs import define, field

from ppapi_async import Account, ChangeKind, Dialect
from ppapi_async.mirror import Mirror, MirrorChange
from ppapi_async.sandbox import Books, Order, Sandbox

pytestmark = pytest.mark.untraced  # in real time; other tests go through all lines, too

DAY = 86_400


@define(eq=False)
class Worker:
    """Follows, and notes what it was delivered and whom it asked."""

    url: str
    accounts: list[Account]
    delivered: list[MirrorChange[object]] = field(factory=list)
    asked: set[str] = field(factory=set)
    task: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Follow for ever."""
        async with Mirror(
            self.url,
            self.accounts,
            resources=["exchanges"],
            shared="test",
            hung_after=2,
            on_request=lambda facts: self.asked.add(facts.account),
        ) as mirror:
            async for event in mirror.follow(interval=0.5):
                if isinstance(event, MirrorChange):
                    self.delivered.append(event)


@contextlib.asynccontextmanager
async def running(*workers: Worker) -> AsyncIterator[None]:
    """Have workers follow."""
    for worker in workers:
        worker.task = asyncio.create_task(worker.run())
    try:
        yield
    finally:
        for worker in workers:
            if worker.task is not None:
                worker.task.cancel()
        tasks = [worker.task for worker in workers if worker.task is not None]
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(reached: Callable[[], bool], *workers: Worker) -> None:
    """Wait until something is so, or a worker has failed."""
    async with asyncio.timeout(15):
        while not reached():
            await asyncio.sleep(0.05)
            for worker in workers:
                if worker.task is not None and worker.task.done():
                    worker.task.result()


async def test_promise_9_workers_share_the_accounts_of_a_mirror(postgres_url: str) -> None:
    """Each account has one worker; who leaves, leaves its accounts to the other; nothing twice."""
    now = int(time.time())
    async with contextlib.AsyncExitStack() as stack:
        sites = [
            await stack.enter_async_context(
                Sandbox(Dialect.DELEGATING, books=Books.uniform(50, now - 9 * DAY, now - DAY))
            )
            for _ in range(6)
        ]
        accounts = [
            Account(site.url, site.api_key, name=f"site {n}") for n, site in enumerate(sites)
        ]
        async with Mirror(postgres_url, accounts, resources=["exchanges"]) as mirror:
            assert (await mirror.sync()).ok
        one, other = Worker(postgres_url, accounts), Worker(postgres_url, accounts)

        def order_everywhere() -> None:
            for site in sites:
                order = Order(id=site.books.orders.next_id, created=int(time.time()), reward="1")
                site.books.orders.put(order)

        async with running(one, other):
            await until(
                lambda: len(one.asked | other.asked) == 6 and bool(one.asked and other.asked),
                one,
                other,
            )
            await asyncio.sleep(1)  # whoever was first has handed over by now
            one.asked.clear()
            other.asked.clear()
            order_everywhere()
            await until(lambda: len(one.delivered + other.delivered) >= 6, one, other)
            assert not one.asked & other.asked
            assert len(one.asked | other.asked) == 6
            if other.task is not None:
                other.task.cancel()
                await asyncio.wait([other.task])
                other.task = None
            order_everywhere()
            await until(lambda: len(one.delivered + other.delivered) >= 12, one)
        found = [change for worker in (one, other) for change in worker.delivered]
        assert Counter(change.cursor for change in found).most_common(1)[0][1] == 1
        async with Mirror(postgres_url, accounts, resources=["exchanges"]) as mirror:
            kept = [change async for change in mirror.changes("exchanges")]
        by_account = defaultdict(list)
        for change in kept:
            assert change.kind is ChangeKind.NEW
            by_account[change.account].append(change.id)
        assert len(by_account) == 6
        assert all(ids == [51, 52] for ids in by_account.values())

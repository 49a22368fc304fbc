"""Fleets that share accounts, in one process: who polls what, and what becomes of a delivery."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import psycopg
import pytest
from attrs import define, field

from ppapi_async import (
    Account,
    AccountPhase,
    Change,
    Exchange,
    Fleet,
    FleetEvent,
    MemoryState,
    PostgresState,
    ShardsGained,
    ShardsLost,
    StateError,
)
from ppapi_async.sandbox import Books, Fault, Sandbox
from ppapi_async.sandbox.records import Order
from tests.fleet.test_sharing import until
from tests.leaks import assert_absent
from tests.postgres import PostgresServer

INTERVAL = 0.3


@define(eq=False)
class Worker:
    """A fleet of a group, and what it delivers."""

    fleet: Fleet
    heard: list[FleetEvent] = field(factory=list)
    going_on: asyncio.Event = field(factory=asyncio.Event)
    """Whether the consumer asks for the next event."""

    @property
    def polled(self) -> set[str]:
        """The names of the accounts that it polls."""
        phases = self.fleet.status().items()
        return {name for name, one in phases if one.phase is not AccountPhase.ELSEWHERE}

    @property
    def has_polled(self) -> bool:
        """Whether a poll of each account has worked: what comes from now on is new."""
        return all(one.last_success is not None for one in self.fleet.status().values())

    @property
    def orders(self) -> list[int]:
        """The ids that were delivered."""
        changes = (one.record for one in self.heard if isinstance(one, Change))
        return [record.id for record in changes if isinstance(record, Exchange)]

    def names(self, kind: type[ShardsGained | ShardsLost]) -> set[str]:
        """Return the accounts that events of this kind were about."""
        events = [event for event in self.heard if isinstance(event, kind)]
        return {name for event in events for name in event.accounts}

    async def listen(self) -> None:
        """Take in what is delivered."""
        self.going_on.set()
        async for event in self.fleet.events("exchanges"):
            self.heard.append(event)
            await self.going_on.wait()


@contextlib.asynccontextmanager
async def working(
    accounts: list[Account], url: str, *, drain: float = 1.0, interval: float = INTERVAL
) -> AsyncIterator[Worker]:
    """Run a worker; leave it as a program does that gets a signal."""
    state = PostgresState(url, hung_after=1.0)
    fleet = Fleet(accounts, interval=interval, state=state, shared="group", drain=drain)
    async with fleet:
        worker = Worker(fleet)
        listening = asyncio.create_task(worker.listen())
        try:
            yield worker
        finally:
            await fleet.aclose()
            await listening


@contextlib.asynccontextmanager
async def sites(count: int) -> AsyncIterator[tuple[list[Sandbox], list[Account]]]:
    """Run sandboxes with an account each, on as many hosts."""
    async with contextlib.AsyncExitStack() as stack:
        running = [await stack.enter_async_context(Sandbox(books=Books())) for _ in range(count)]
        yield running, [site.account(f"account {n}") for n, site in enumerate(running)]


def order(row_id: int) -> Order:
    """Return an order of this moment."""
    return Order(id=row_id, created=int(time.time()), success=True, reward="1")


@pytest.mark.untraced
async def test_workers_share_what_is_polled(postgres_url: str) -> None:
    """Each account is polled by one; a second worker gets its share, which comes back from it."""
    async with sites(6) as (_, accounts), working(accounts, postgres_url) as one:
        await until(lambda: len(one.polled) == 6)
        await until(lambda: one.fleet.healthy is True)
        async with working(accounts, postgres_url) as two:
            await until(lambda: len(one.polled) == len(two.polled) == 3)
            assert not one.polled & two.polled
            await until(lambda: [w.accounts for w in one.fleet.workers()] == [3, 3])
            own = [worker.is_self for worker in one.fleet.workers()]
            assert own == [True, False]
        gained = two.names(ShardsGained)
        lost = one.names(ShardsLost)
        assert len(gained) == 3
        assert lost == gained
        await until(lambda: len(one.polled) == 6)
    assert one.fleet.workers() == ()


@pytest.mark.untraced
async def test_what_is_new_is_delivered_by_one(postgres_url: str) -> None:
    """Whoever has the account delivers; whoever gets it goes on where the other has stopped."""
    async with sites(2) as (sandboxes, accounts), working(accounts, postgres_url) as one:
        await until(lambda: one.has_polled)
        async with working(accounts, postgres_url) as two:
            await until(lambda: len(one.polled) == len(two.polled) == 1)
            for number, site in enumerate(sandboxes):
                site.books.orders.put(order(100 + number))
            await until(lambda: len(one.orders) == len(two.orders) == 1)
        await until(lambda: len(one.polled) == 2)
        await asyncio.gather(*(site.arrived(site.requests_count + 2) for site in sandboxes))
    assert sorted(one.orders + two.orders) == [100, 101]


async def test_no_key_is_in_the_database(postgres_url: str) -> None:
    """Accounts go by their fingerprints there, workers by machine and process."""
    async with sites(2) as (sandboxes, accounts), working(accounts, postgres_url) as one:
        await until(lambda: one.has_polled)
        sandboxes[0].books.orders.put(order(100))
        await until(lambda: one.orders == [100])
    with psycopg.connect(postgres_url) as connection:
        text = ""
        for table in ("ppapi_state", "ppapi_entries", "ppapi_workers", "ppapi_polls"):
            text += str(connection.execute(f"SELECT * FROM {table}".encode()).fetchall())
    assert accounts[0].fingerprint in text
    for site in sandboxes:
        assert_absent(site.api_key, text)


async def test_a_slow_consumer_does_not_keep_an_account(postgres_url: str) -> None:
    """After `drain` its poll is broken off; what it has not acknowledged the other delivers."""
    async with sites(2) as (sandboxes, accounts), working(accounts, postgres_url, drain=0.2) as one:
        await until(lambda: one.has_polled)
        one.going_on.clear()
        for number, site in enumerate(sandboxes):
            site.books.orders.put(order(100 + number))
        await until(lambda: len(one.orders) == 1)
        async with working(accounts, postgres_url) as two:
            await until(lambda: len(one.polled) == len(two.polled) == 1)
            await until(lambda: len(two.orders) == 1)
            one.going_on.set()
            await until(lambda: {*one.orders, *two.orders} == {100, 101})
            [name] = two.polled
            await until(lambda: name in one.names(ShardsLost))
            after = one.heard[[type(event) for event in one.heard].index(ShardsLost) :]
            assert not [event for event in after if event.account == name]


async def test_an_overdue_account_is_polled_at_once(postgres_url: str) -> None:
    """Nobody polled it for a while: the next worker does not wait for its turn."""
    async with sites(1) as (sandboxes, accounts):
        async with working(accounts, postgres_url):
            await sandboxes[0].arrived(1)
        await asyncio.sleep(INTERVAL)
        began = time.monotonic()
        async with working(accounts, postgres_url, interval=3600):
            await sandboxes[0].arrived(sandboxes[0].requests_count + 1)
        assert time.monotonic() - began < 2


async def test_a_time_that_lies_too_far_ahead_is_not_believed(postgres_url: str) -> None:
    """The clock of the worker before was wrong: the account has its turn as ever."""
    async with sites(1) as (sandboxes, accounts):
        async with working(accounts, postgres_url) as one:
            await until(lambda: one.has_polled)
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute("UPDATE ppapi_polls SET due = due + 86400")
        async with working(accounts, postgres_url):
            await asyncio.wait_for(sandboxes[0].arrived(sandboxes[0].requests_count + 1), 3)


async def test_a_poll_that_hangs_is_broken_off_and_begins_again() -> None:
    """Lost and taken again before it has ended; handed over, it gets its time to end."""
    async with sites(1) as (sandboxes, accounts):
        sandboxes[0].faults.add(Fault.HANG, times=2)
        async with Fleet(accounts, interval=3600, first="now") as fleet:
            listening = asyncio.ensure_future(anext(aiter(fleet.events("exchanges"))))
            await sandboxes[0].arrived(1)
            scheduler, [member] = fleet._open_scheduler, fleet._roster.members.values()
            scheduler.lose([member])
            assert fleet.status()[member.name].phase is AccountPhase.POLLING
            scheduler.take(member, time.time())
            await sandboxes[0].arrived(2)
            began = time.monotonic()
            await scheduler.hand_over([member], 0.2)
            assert 0.2 <= time.monotonic() - began < 2
            assert fleet.status()[member.name].phase is AccountPhase.ELSEWHERE
            assert fleet.healthy is True
            scheduler.fail(ZeroDivisionError("a mistake"))
            with pytest.raises(ZeroDivisionError):
                await listening


async def test_accounts_are_added_and_removed(postgres_url: str) -> None:
    """As in a fleet of its own, beginning with the next beat."""
    async with sites(2) as (_, accounts), working(accounts[:1], postgres_url) as one:
        await until(lambda: len(one.polled) == 1)
        one.fleet.add(accounts[1])
        await until(lambda: one.has_polled)
        one.fleet.remove(accounts[0].name)
        assert one.polled == {accounts[1].name}
        one.fleet.add(accounts[0])
        await until(lambda: len(one.polled) == 2)


async def test_a_database_that_goes_takes_the_accounts_along(own_postgres: PostgresServer) -> None:
    """Polls stop at once, and go on when it is back; the events say so, and `healthy`."""
    async with sites(2) as (sandboxes, accounts), working(accounts, own_postgres.url) as one:
        await until(lambda: one.has_polled)
        await asyncio.to_thread(own_postgres.stop)
        await until(lambda: not one.polled)
        assert one.fleet.healthy is None
        count = sum(site.requests_count for site in sandboxes)
        await asyncio.sleep(2 * INTERVAL)
        assert sum(site.requests_count for site in sandboxes) == count
        sandboxes[0].books.orders.put(order(100))
        await asyncio.to_thread(own_postgres.start)
        await until(lambda: one.orders == [100])
        lost = [event for event in one.heard if isinstance(event, ShardsLost)]
        assert [type(event.error) for event in lost] == [StateError]


async def test_what_cannot_be_shared_is_refused() -> None:
    """Without a database to meet in, or a name, at once; where it is not there, by the events."""
    with pytest.raises(ValueError, match=r"shared: needs state=PostgresState"):
        Fleet([], state=MemoryState(), shared="group")
    state = PostgresState("postgresql://127.0.0.1:1/none")
    with pytest.raises(ValueError, match=r"shared: pass a name"):
        Fleet([], state=state, shared=" ")
    for name in ("", "a\0b", "x" * 201):
        with pytest.raises(ValueError, match=r"shared: pass a name of 1 to 200 characters"):
            Fleet([], state=state, shared=name)
    with pytest.raises(ValueError, match="half of a surrogate pair"):
        Fleet([], state=state, shared="\ud83d")
    with pytest.raises(TypeError, match=r"shared: pass the name"):
        Fleet([], state=state, shared=1)  # type: ignore[arg-type]
    async with Fleet([], state=state, shared="group") as fleet:
        with pytest.raises(StateError, match="could not be used"):
            async for _ in fleet.events():
                pass

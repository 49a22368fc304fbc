"""A fleet is opened, cancelled, closed and opened again, on real loops of each kind."""

from __future__ import annotations

import asyncio
import functools
import gc
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import anyio
import pytest

from ppapi_async import (
    Account,
    Change,
    Dialect,
    Exchange,
    Fleet,
    Info,
    PPAPIError,
    TransportError,
)
from ppapi_async.sandbox import Books, Fault, Sandbox
from tests.fleet.test_fleet import fleet_of, park
from tests.loops import LOOPS, cancel_often, run, sockets, tasks_of_ours
from tests.watching.test_watch import run as run_virtually

START = int(time.time()) - 5 * 86_400
"""Of the books; it stands in no name of a test."""

THREE = (Dialect.CLASSIC, Dialect.DELEGATING, Dialect.CLONE)


@asynccontextmanager
async def sites(
    count: int = 2, *, rows: int = 30
) -> AsyncIterator[tuple[list[Sandbox], list[Account]]]:
    """Run sandboxes by the real clock, with two accounts on each."""
    async with AsyncExitStack() as stack:
        sandboxes = [
            await stack.enter_async_context(
                Sandbox(
                    Dialect.DELEGATING if number % 2 else Dialect.CLASSIC,
                    books=Books.uniform(rows, START, START + 4 * 86_400),
                )
            )
            for number in range(count)
        ]
        yield (
            sandboxes,
            [
                Account(sandbox.url, sandbox.api_key, name=f"{number}-{place}")
                for number, sandbox in enumerate(sandboxes)
                for place in range(2)
            ],
        )
        for sandbox in sandboxes:
            sandbox.faults.clear()


def quick_fleet(accounts: list[Account], **options: Any) -> Fleet:
    """Return a fleet that polls as fast as it can and tells all there is."""
    return Fleet(accounts, interval=0.01, since=START, drain=0.2, **options)


async def consume(fleet: Fleet, has_heard: asyncio.Event) -> None:
    """Open the fleet, and listen for ever."""
    count = 0
    async with fleet:
        async for _ in fleet.events("exchanges"):
            count += 1
            if count == 40:
                has_heard.set()


async def consume_in_scope(
    fleet: Fleet, has_heard: asyncio.Event, scope: anyio.CancelScope
) -> None:
    """Do so in a scope of anyio, which cancels at every wait again."""
    with scope:
        await consume(fleet, has_heard)


async def works(fleet: Fleet, accounts: list[Account]) -> None:
    """See that the fleet can be opened and its events be iterated twice, whatever came before."""
    heard: list[tuple[str, int]] = []
    async with fleet:
        for _ in range(2):
            async for event in fleet.events("exchanges"):
                assert isinstance(event, Change)
                assert isinstance(event.record, Exchange)
                heard.append((event.account, event.record.id))
                if len(heard) % 20 == 0:
                    break
        assert set(await fleet.get_info()) == {account.name for account in accounts}
    assert len(heard) == 40


@pytest.mark.untraced
@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("how", ["once", "twenty times", "scope"])
@pytest.mark.parametrize("hangs", [False, True], ids=["waiting", "hanging"])
def test_promise_6_a_cancelled_fleet_closes_everything_and_opens_again(
    loop: str, how: str, hangs: bool
) -> None:
    """However often it is cancelled: no task or connection stays, and it works again."""

    async def main() -> None:
        async with sites() as (sandboxes, accounts):
            before = sockets()
            found = asyncio.Event()
            fleet = quick_fleet(accounts)
            if hangs:
                sandboxes[0].faults.add(Fault.HANG, skip=5, times=None)
            scope = anyio.CancelScope()
            is_scoped = how == "scope"
            task = asyncio.create_task(
                consume_in_scope(fleet, found, scope) if is_scoped else consume(fleet, found)
            )
            await found.wait()
            if how == "scope":
                scope.cancel()
                await asyncio.wait([task])
            else:
                await cancel_often(task, 20 if how == "twenty times" else 1)
            assert task.done()
            assert how == "scope" or task.cancelled()
            assert "closed" in repr(fleet)
            assert not tasks_of_ours()
            for sandbox in sandboxes:
                sandbox.faults.clear()
            await works(fleet, accounts)
            await asyncio.sleep(0.05)
            assert not tasks_of_ours()
            assert sockets() <= before

    run(loop, main)


@pytest.mark.untraced
@pytest.mark.parametrize("loop", LOOPS)
def test_promise_6_one_fleet_in_one_loop_after_another(loop: str) -> None:
    """What belongs to a loop is made when the fleet is opened."""

    async def main(fleets: list[Fleet], port: int) -> int:
        books = Books.uniform(20, START, START + 3600)
        async with Sandbox(books=books, port=port, api_key="k" * 35) as sandbox:
            if not fleets:
                account = Account(sandbox.url, sandbox.api_key, name="site")
                fleets.append(quick_fleet([account], per_host=1))
            (fleet,) = fleets
            async with fleet:
                answers = await asyncio.gather(*(fleet.get_info() for _ in range(5)))
                assert all(isinstance(answer["site"], Info) for answer in answers)
                assert len([row async for row in fleet.iter_exchanges()]) == 20
                async for _ in fleet.events("exchanges"):
                    break
            return int(sandbox.url.rsplit(":", 1)[1])

    fleets: list[Fleet] = []
    port = 0
    for _ in range(3):
        port = run(loop, functools.partial(main, fleets, port))


@pytest.mark.parametrize("after", [0, 3])
@pytest.mark.parametrize("scoped", [False, True])
def test_promise_6_cancelling_while_a_fleet_drains_breaks_it_off(scoped: bool, after: int) -> None:
    """Who is cancelled does not wait for requests that may end by themselves.

    Cancelled at once, closing has not come to the polls yet: they went on until `drain` was over.
    """

    async def main() -> None:
        async with park(Dialect.CLASSIC) as ((sandbox,), accounts):
            fleet = fleet_of(accounts, drain=50, timeout=500)
            await fleet.__aenter__()
            loop, found = asyncio.get_running_loop(), list[object]()
            task = asyncio.create_task(listen(fleet, found))
            sandbox.faults.add(Fault.HANG, times=None)
            await asyncio.sleep(70)
            began = loop.time()
            if scoped:
                with anyio.move_on_after(after):
                    await fleet.aclose()
            else:
                closing = asyncio.create_task(fleet.aclose())
                await asyncio.sleep(after)
                await cancel_often(closing, 20)
                assert closing.cancelled()
            assert loop.time() - began < 4
            await asyncio.wait_for(task, 1)
            sandbox.faults.clear()
            async with fleet:
                assert isinstance((await fleet.get_info())["site 0"], Info)

    run_virtually(main)


async def listen(fleet: Fleet, found: list[object]) -> None:
    """Listen to an open fleet."""
    async for event in fleet.events():
        found.append(event)  # noqa: PERF401 - what came before it is cancelled counts


def test_promise_7_removing_during_a_question_to_all_ends_that_account_only() -> None:
    """Its answer is an error that says so; the others' come."""

    async def main() -> None:
        async with park(Dialect.CLASSIC, Dialect.DELEGATING, Dialect.CLONE) as (
            sandboxes,
            accounts,
        ):
            async with fleet_of(accounts[:2], timeout=500, concurrency=5) as fleet:
                sandboxes[0].faults.add(Fault.HANG, times=None)
                sandboxes[1].faults.add(Fault.SLOW, seconds=20, times=None)
                asking = asyncio.create_task(fleet.get_info())
                await asyncio.sleep(5)
                fleet.remove("site 0")
                fleet.add(accounts[2])
                answers = await asyncio.wait_for(asking, 60)
                assert isinstance(answers["site 1"], Info)
                assert isinstance(answers["site 0"], PPAPIError)
                assert "removed" in str(answers["site 0"])
                assert set(await fleet.get_info()) == {"site 1", "site 2"}
                sandboxes[0].faults.clear()

    run_virtually(main)


@pytest.mark.parametrize("concurrency", [1, 5])
def test_promise_7_removing_while_all_rows_are_read_ends_that_account_only(
    concurrency: int,
) -> None:
    """It ends with an error, whether its rows were being read or not yet; the others' all come."""

    async def main() -> None:
        async with park(Dialect.CLASSIC, Dialect.DELEGATING, Dialect.CLONE) as (
            sandboxes,
            accounts,
        ):
            async with fleet_of(accounts, timeout=500, concurrency=concurrency) as fleet:
                sandboxes[0].faults.add(Fault.HANG, method="get_exchanges", skip=1, times=None)
                rows, errors = list[tuple[str, int]](), list[tuple[str, str]]()

                async def read() -> None:
                    async for name, row in fleet.iter_exchanges(1):
                        if isinstance(row, PPAPIError):
                            errors.append((name, str(row)))
                        else:
                            rows.append((name, row.id))

                task = asyncio.create_task(read())
                await asyncio.sleep(5)
                fleet.remove("site 0")
                fleet.remove("site 2") if concurrency == 1 else None
                await asyncio.wait_for(task, 60)
                assert {name for name, _ in errors} >= {"site 0"}
                assert all("removed" in text for _, text in errors)
                assert sorted(i for name, i in rows if name == "site 1") == list(range(1, 21))
                sandboxes[0].faults.clear()

    run_virtually(main)


def test_rows_of_a_fleet_that_is_closed_are_not_taken_for_complete() -> None:
    """The loop over them fails, for it has not got all."""

    async def main() -> None:
        async with park(Dialect.CLASSIC, Dialect.DELEGATING) as (_, accounts):
            async with fleet_of(accounts) as fleet:
                rows = aiter(fleet.iter_exchanges(1))
                await anext(rows)
            with pytest.raises(TransportError, match="closed"):
                await anext(rows)

    run_virtually(main)


def test_accounts_of_one_host_share_its_limit_however_it_is_spelled() -> None:
    """`per_host` holds for a port, a case and a dot that make no difference."""
    urls = (
        "https://обмен.рф",
        "https://ОБМЕН.рф:443/api.html",
        "https://xn--90aiufb.xn--p1ai.",
        "https://XN--90AIUFB.xn--p1ai:443",
    )
    accounts = [Account(url, "k" * 35, name=str(n)) for n, url in enumerate(urls)]

    async def main() -> None:
        async with fleet_of(accounts) as fleet:
            limiters = {id(fleet.session(a.name)._connection.transport.limiter) for a in accounts}
            assert len(limiters) == 1
            assert len(fleet._roster._hosts) == 1
            for account in accounts:
                fleet.remove(account.name)
            assert not fleet._roster._hosts

    run_virtually(main)


def test_a_cancelled_opening_leaves_nothing() -> None:
    """Nor does it keep the fleet from being opened later."""
    accounts = [Account("https://site.example", "k" * 35, name=str(n)) for n in range(250)]

    async def main() -> None:
        fleet = fleet_of(accounts)
        task = asyncio.create_task(fleet.__aenter__())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert "closed" in repr(fleet)
        async with fleet:
            assert len(fleet.status()) == 250

    run_virtually(main)


def test_the_events_of_a_fleet_that_was_closed_end_at_once() -> None:
    """Also after it has been opened again: they belong to that opening."""

    async def main() -> None:
        async with park(Dialect.CLASSIC) as (_, accounts):
            fleet = fleet_of(accounts)
            async with fleet:
                events = fleet.events()
            async with fleet:
                assert [event async for event in events] == []

    run_virtually(main)


@pytest.mark.parametrize("turns", range(3))
async def test_an_error_in_the_moment_of_leaving_is_not_complained_about(turns: int) -> None:
    """Whoever asks an account may be cancelled just when its question fails."""
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, about: complaints.append(about))

    async def fail() -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        raise TransportError("cut off", account="site")

    async with Fleet([Account("https://site.example", "k3y-of-the-site", name="site")]) as fleet:
        asking = asyncio.create_task(fleet._roster.members["site"].ask(fail()))
        for _ in range(1 + turns):
            await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        del asking
        gc.collect()
    assert complaints == []

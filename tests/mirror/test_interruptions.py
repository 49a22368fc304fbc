"""A mirror that is interrupted: overtaken, cancelled, cut off, or closed while it is at work."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import warnings
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Connection, event, text

from ppapi_async import StateError
from ppapi_async.mirror import Mirror, MirrorChange, schema
from ppapi_async.mirror.database import MirrorDatabase, parse_url
from ppapi_async.mirror.store import MirrorConflict, MirrorStore
from ppapi_async.sandbox import Order, Sandbox
from ppapi_async.watching.resources import Record
from tests.loops import threads_down_to
from tests.mirror.clock import NOW, Clock
from tests.mirror.test_mirror import account_of, assert_like_books, changes_of, rows_of, site
from tests.mirror.test_store import ACCOUNT, count, exchange, place_of, reading
from tests.postgres import Cable


def put_order(sandbox: Sandbox, clock: Clock) -> int:
    """Book an order at a site, and return its id."""
    order = Order(id=sandbox.books.orders.next_id, created=int(clock.time), reward="1.5")
    sandbox.books.orders.put(order)
    return order.id


@pytest.mark.untraced
async def test_a_follow_that_was_overtaken_goes_on(postgres_url: str) -> None:
    """What another process has read between two polls is delivered, once, and then what comes."""
    clock, later = Clock(), Clock(NOW + 3600.0)
    async with site(clock, rows=50) as sandbox:
        account = account_of(sandbox)
        async with (
            Mirror(postgres_url, [account], resources=["exchanges"], hooks=clock.hooks()) as one,
            Mirror(postgres_url, [account], resources=["exchanges"], hooks=later.hooks()) as other,
        ):
            assert (await one.sync()).ok
            found: asyncio.Queue[MirrorChange[Record]] = asyncio.Queue()
            following = asyncio.create_task(follow(one, found))
            ids: list[int] = []
            try:
                async with asyncio.timeout(15):
                    ids.append(put_order(sandbox, clock))
                    seen = [await next_of(found, clock)]
                    await asyncio.sleep(0.1)  # until the poll is over
                    ids.extend(put_order(sandbox, clock) for _ in range(3))
                    assert (await other.sync()).accounts["one"].new == 3
                    seen += [await next_of(found, clock) for _ in range(3)]
                    ids.append(put_order(sandbox, clock))
                    seen.append(await next_of(found, clock))
            finally:
                following.cancel()
            assert seen == ids
            assert [row for _, _, row in await changes_of(one)] == ids


async def follow(mirror: Mirror, found: asyncio.Queue[MirrorChange[Record]]) -> None:
    """Collect the changes of rows."""
    async for one in mirror.follow(interval=60):
        if isinstance(one, MirrorChange):
            found.put_nowait(one)


async def next_of(found: asyncio.Queue[MirrorChange[Record]], clock: Clock) -> int | None:
    """Return the id of the next change; time goes on until it comes."""
    while found.empty():
        clock.advance(5)
        await asyncio.sleep(0.005)
    return found.get_nowait().id


@contextlib.contextmanager
def at_commit(store: MirrorStore, disturb: Callable[[], None], number: int = 1) -> Iterator[None]:
    """Disturb the transaction of this number when it is about to be committed."""
    left = [number]

    def commit(_: Connection) -> None:
        left[0] -= 1
        if not left[0]:
            disturb()

    event.listen(store.engine.sync_engine, "commit", commit)
    yield
    event.remove(store.engine.sync_engine, "commit", commit)


@pytest.mark.untraced
@pytest.mark.parametrize("is_done", [False, True], ids=["before the server", "behind it"])
async def test_a_connection_that_is_lost_in_the_commit(postgres_url: str, is_done: bool) -> None:
    """Whether it was made is not known; the place that is got anew says so."""
    async with Cable.to(postgres_url) as cable:
        store = await MirrorStore.open(cable.url(postgres_url))
        place = await place_of(store)
        disturb = cable.close_at_answer if is_done else cable.close
        with at_commit(store, disturb), pytest.raises(StateError, match="closed the connection"):
            await store.commit(place, reading(exchange(1), document='{"there": 1}'))
        assert place.version == 0
        anew = await place_of(store)
        assert (anew.version, anew.document) == ((1, '{"there": 1}') if is_done else (0, None))
        assert await count(store, schema.exchanges) == is_done
        if is_done:
            with pytest.raises(MirrorConflict):
                await store.commit(place, reading(exchange(1)))
        await store.commit(anew, reading(exchange(1), exchange(2)))
        assert await count(store, schema.exchanges) == await count(store, schema.changes) == 2
        await store.aclose()


@pytest.mark.untraced
@pytest.mark.parametrize("is_raw", [False, True], ids=["statement", "copy"])
async def test_a_connection_that_had_worked_is_not_the_urls_fault(
    postgres_url: str, is_raw: bool
) -> None:
    """Whether SQLAlchemy knows of it or not, the advice is to try again."""
    async with Cable.to(postgres_url) as cable:
        store = await MirrorStore.open(cable.url(postgres_url))

        async def ask() -> None:
            async with store.connect() as connection:
                raw = (await connection.get_raw_connection()).driver_connection
                assert raw is not None
                cable.close()
                if is_raw:
                    await raw.execute("SELECT 1")
                await connection.execute(text("SELECT 1"))

        with pytest.raises(StateError, match=r"; the connection broke; try again$"):
            await ask()
        await store.account(ACCOUNT)
        await store.aclose()


@pytest.mark.parametrize("is_done", [False, True], ids=["before the server", "behind it"])
async def test_a_sync_that_is_cut_off_in_commits(postgres_url: str, is_done: bool) -> None:
    """It fails and goes on; in the end each row is there once, and each change."""
    clock = Clock()
    async with site(clock, rows=100) as sandbox, Cable.to(postgres_url) as cable:
        url, account = cable.url(postgres_url), account_of(sandbox)
        disturb = cable.close_at_answer if is_done else cable.close
        async with Mirror(url, [account], hooks=clock.hooks()) as mirror:
            failed = 0
            for number in (5, 2, 3, 4, 1):
                with at_commit(store_of(mirror), disturb, number):
                    error = (await mirror.sync()).accounts["one"].error
                assert error is None or isinstance(error, StateError)
                assert not isinstance(error, MirrorConflict)
                failed += error is not None
            assert failed > 2
            assert (await mirror.sync()).ok
            assert_like_books(await rows_of(mirror), sandbox.books)
            assert [kind for resource, kind, _ in await changes_of(mirror)] == ["new"]  # the info


def store_of(mirror: Mirror) -> MirrorStore:
    """Return the database of a mirror that is open."""
    return mirror._open_store


async def test_what_is_delivered_while_the_connection_is_lost(postgres_url: str) -> None:
    """A delivery of which the end is not known is made again; the others follow."""
    clock = Clock()
    async with site(clock, rows=50) as sandbox, Cable.to(postgres_url) as cable:
        url, account = cable.url(postgres_url), account_of(sandbox)
        async with Mirror(url, [account], resources=["exchanges"], hooks=clock.hooks()) as mirror:
            assert (await mirror.sync()).ok
            found: asyncio.Queue[MirrorChange[Record]] = asyncio.Queue()
            following = asyncio.create_task(follow(mirror, found))
            ids: list[int] = []
            try:
                async with asyncio.timeout(15):
                    ids.append(put_order(sandbox, clock))
                    seen = [await next_of(found, clock)]
                    await asyncio.sleep(0.1)
                    ids.extend(put_order(sandbox, clock) for _ in range(3))
                    # The rows are committed first, then each delivery.
                    with at_commit(store_of(mirror), cable.close_at_answer, 3):
                        while seen[-1] != ids[-1]:
                            seen.append(await next_of(found, clock))
            finally:
                following.cancel()
            assert list(dict.fromkeys(seen)) == ids
            assert len(seen) <= len(ids) + 1


@pytest.mark.parametrize("is_done", [False, True], ids=["before the server", "behind it"])
async def test_a_delivery_that_is_cut_off_is_not_in_the_way_of_who_reads(
    postgres_url: str, is_done: bool
) -> None:
    """Its commit is known as this process's own; what another has written is a conflict still."""
    async with Cable.to(postgres_url) as cable:
        store = await MirrorStore.open(cable.url(postgres_url))
        place = await place_of(store)
        await store.commit(place, reading(exchange(1), document='{"there": 1}'))
        disturb = cable.close_at_answer if is_done else cable.close
        with at_commit(store, disturb), pytest.raises(StateError, match="closed the connection"):
            await store.deliver(place, 1)
        await store.commit(place, reading(exchange(1), exchange(2), document='{"there": 2}'))
        anew = await place_of(store)
        assert (anew.version, anew.document) == (place.version, '{"there": 2}')
        assert anew.delivered == place.delivered == (1 if is_done else None)

        with at_commit(store, disturb), pytest.raises(StateError, match="closed the connection"):
            await store.deliver(place, 2)
        await store.deliver(await place_of(store), 2)
        with pytest.raises(MirrorConflict):
            await store.commit(place, reading(exchange(3), document='{"there": 3}'))
        assert await count(store, schema.exchanges) == 2
        await store.aclose()


async def test_two_that_write_to_one_place_take_turns(store: MirrorStore) -> None:
    """A mirror that is followed and brought up to date at once is not in its own way."""
    place = await place_of(store)
    await asyncio.gather(*(store.deliver(place, one) for one in range(1, 6)))
    assert place.version == (await place_of(store)).version == 5


async def test_connections_that_are_lent_while_it_is_closed(mirror_url: str) -> None:
    """They are closed when they are given back, and there are no more."""
    store = await MirrorStore.open(mirror_url)
    place = await place_of(store)
    before = threading.active_count()
    async with store.connect() as lent:
        await lent.execute(text("SELECT 1"))
        await store.aclose()
        await lent.execute(text("SELECT 1"))
    for work in (store.held(place, None), store.deliver(place, 1), place_of(store)):
        with pytest.raises(StateError, match="is closed"):
            await work
    await store.aclose()
    gc.collect()
    if store.engine.dialect.name == "sqlite":
        assert await threads_down_to(before - 1) < before


async def close_while_given_back(url: str) -> None:
    """Lend a connection of a database that is closed while its transaction is rolled back."""
    database = await MirrorDatabase.open(parse_url(url))
    closing: list[asyncio.Task[None]] = []

    def close(_: Connection) -> None:
        closing.append(asyncio.create_task(database.aclose()))

    event.listen(database.engine.sync_engine, "rollback", close, once=True)
    async with database.connect() as connection:
        await connection.execute(text("SELECT 1"))
    assert closing
    await asyncio.gather(*closing)


async def test_a_connection_that_is_given_back_while_all_are_closed(mirror_url: str) -> None:
    """It is closed with them, rather than kept by a pool that nobody has any more."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        await close_while_given_back(mirror_url)
        gc.collect()
    assert [str(one.message) for one in caught] == []


@pytest.mark.untraced
@pytest.mark.parametrize("turns", [20, 120])
async def test_a_mirror_that_is_closed_while_it_is_brought_up_to_date(
    turns: int, mirror_url: str
) -> None:
    """The synchronisation ends with an error, and what is in the database is in order."""
    clock = Clock()
    async with site(clock, rows=100) as sandbox:
        account = account_of(sandbox)
        mirror = await Mirror(mirror_url, [account], hooks=clock.hooks()).__aenter__()
        threads = threading.active_count()
        syncing = asyncio.create_task(mirror.sync())
        for _ in range(turns):
            await asyncio.sleep(0)
        await mirror.aclose()
        assert (await syncing).accounts["one"].error is not None
        gc.collect()
        assert await threads_down_to(threads) <= threads
        async with Mirror(mirror_url, [account], hooks=clock.hooks()) as mirror:
            assert (await mirror.sync()).ok
            assert_like_books(await rows_of(mirror), sandbox.books)


async def test_errors_of_the_borrower_are_the_borrowers(store: MirrorStore) -> None:
    """A file that is not there, or a timeout, says nothing of the database."""

    async def fail() -> None:
        async with store.connect() as connection:
            await connection.execute(text("SELECT 1"))
            raise FileNotFoundError("nowhere")

    async def wait() -> None:
        async with store.connect() as connection, asyncio.timeout(0):
            await connection.execute(text("SELECT 1"))
            await asyncio.sleep(1)

    with pytest.raises(FileNotFoundError, match="nowhere"):
        await fail()
    with pytest.raises(TimeoutError):
        await wait()
    assert await count(store, schema.exchanges) == 0


async def test_a_long_query_that_is_cancelled_ends_at_once(store: MirrorStore) -> None:
    """Nobody waits for it, no thread goes on with it, and others write meanwhile."""
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT SUM(i) FROM n"

    async def ask() -> None:
        async with store.connect() as connection:
            await connection.execute(text(endless))

    place = await place_of(store)
    async with asyncio.timeout(15):
        for number in range(3):
            asking = asyncio.create_task(ask())
            await asyncio.sleep(0.05)
            asking.cancel()
            await asyncio.wait([asking])
            assert asking.cancelled()
            await store.deliver(place, number)
    assert place.version == 3

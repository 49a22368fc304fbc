"""What seldom happens to a mirror: opened twice, without a resource, with rows that are odd."""

from __future__ import annotations

import asyncio
import importlib
import sqlite3
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
from sqlalchemy import func, select

import ppapi_async.mirror
from ppapi_async import (
    Account,
    AccountPhase,
    ChangeKind,
    Dialect,
    MethodNotSupportedError,
    Retry,
    RowsUnreadable,
    StateError,
)
from ppapi_async.mirror import Mirror, MirrorChange, writer_lock
from ppapi_async.mirror.polling import MirrorFleet
from ppapi_async.mirror.schema import accounts, coverage
from ppapi_async.mirror.store import MirrorStore
from ppapi_async.mirror.writer_lock import WriterLock
from ppapi_async.sandbox import Books, Fault, Order, Sandbox
from tests.mirror.clock import NOW, Clock
from tests.mirror.test_mirror import account_of, changes_of, site

pytestmark = pytest.mark.either_database

DAY = 86_400


async def test_odd_rows_are_reported_once_while_following(mirror_url: str) -> None:
    """Changes that wait from before come first, then what the next reading finds."""
    clock = Clock()
    books, broken = Books.generate(1, 60, NOW - 9 * DAY, NOW), set[str]()

    def break_row(method: str, row: dict[str, object]) -> dict[str, object]:
        odd = method == "get_exchanges" and str(row["id"]) in broken
        return {**row, "amount_give": "many"} if odd else row

    async with Sandbox(Dialect.CLASSIC, books=books, clock=clock, row_filter=break_row) as sandbox:
        account = account_of(sandbox)
        async with Mirror(
            mirror_url, [account], resources=["info", "exchanges"], hooks=clock.hooks()
        ) as mirror:
            assert (await mirror.sync()).ok
            newest = max(books.orders, key=lambda order: order.created)
            broken.add(str(newest.id))
            ticking = asyncio.create_task(_tick(clock))
            try:
                async with asyncio.timeout(30):
                    async for event in mirror.follow(interval=60):  # the first time: from now on
                        assert isinstance(event, RowsUnreadable)
                        assert event.error.problems[0][0] == f"items(id={newest.id}).amount_give"
                        break
                    books.set_by_hand(newest.id, accrued=not newest.accrued, reward="7")
                    broken.clear()
                    report = await mirror.sync()
                    assert report.accounts["one"].changed == 2  # and the balance
                    new = Order(id=books.orders.next_id, created=int(clock.time), reward="1.5")
                    books.orders.put(new)
                    later: list[MirrorChange[object]] = []
                    async for event in mirror.follow(interval=30):
                        if isinstance(event, MirrorChange) and event.resource == "exchanges":
                            later.append(event)
                            if event.id == new.id:
                                break
            finally:
                ticking.cancel()
        assert [(one.kind, one.id) for one in later] == [
            (ChangeKind.CHANGED, newest.id),
            (ChangeKind.NEW, new.id),
        ]


async def _tick(clock: Clock) -> None:
    while True:
        await asyncio.sleep(0.005)
        clock.advance(5)


async def test_it_is_opened_once_and_closed_as_often_as_one_likes(mirror_url: str) -> None:
    """Opened twice it says so; what could not be opened leaves nothing behind."""
    async with site(Clock()) as sandbox:
        mirror = Mirror(mirror_url, [account_of(sandbox)])
        async with mirror:
            with pytest.raises(RuntimeError, match="open already"):
                await mirror.__aenter__()
            assert mirror.workers() == ()
            assert mirror.status()["one"].phase is AccountPhase.WAITING
            mirror.add(Account("https://other.example", "k" * 32, name="other"))
            mirror.remove("other")
            assert list(mirror.status()) == ["one"]
        await mirror.aclose()
        closed = aiohttp.ClientSession()
        await closed.close()
        lent = Mirror(mirror_url, [account_of(sandbox)], http=closed)
        with pytest.raises(ValueError, match="closed"):
            await lent.__aenter__()
        async with mirror:  # nothing holds the database
            assert (await mirror.sync()).ok


async def test_what_is_shared_needs_a_server(postgres_url: str) -> None:
    """A SQLite file is one process's."""
    with pytest.raises(ValueError, match="needs PostgreSQL"):
        Mirror("sqlite:///a.db", [], shared="group")
    with pytest.raises(TypeError, match="shared"):
        Mirror(postgres_url, [], shared=3)  # type: ignore[arg-type]
    for name in ("", " ", "a\0b", "ж" * 194):
        with pytest.raises(ValueError, match=r"^shared: pass a name of 1 to 193 characters"):
            Mirror(postgres_url, [], shared=name)
    for name in ("group", "ж" * 193, "'%s\"; --"):
        async with Mirror(postgres_url, [], shared=name) as mirror:
            assert (await mirror.sync()).accounts == {}


async def test_a_resource_that_a_site_does_not_have(mirror_url: str) -> None:
    """It is in the report; the others are caught up. Without any the account has failed."""
    clock = Clock()
    async with site(clock, Dialect.DELEGATING) as sandbox:
        sandbox.books.partner.methods = frozenset({"get_info", "get_links"})
        async with Mirror(
            mirror_url, [account_of(sandbox)], hooks=clock.hooks(), resources=["links", "payouts"]
        ) as mirror:
            report = (await mirror.sync()).accounts["one"]
            assert report.error is None
            assert report.unsupported == ("payouts",)
            assert report.rows == len(sandbox.books.clicks)
        async with Mirror(
            mirror_url, [account_of(sandbox)], hooks=clock.hooks(), resources=["payouts"]
        ) as mirror:
            report = (await mirror.sync()).accounts["one"]
            assert isinstance(report.error, MethodNotSupportedError)


async def test_a_report_says_so_if_it_could_not_be_written_down(
    mirror_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An account that could not be noted as caught up is not."""

    async def fail(*_: object) -> None:
        raise StateError("the disk is full")

    async with site(Clock()) as sandbox, Mirror(mirror_url, [account_of(sandbox)]) as mirror:
        monkeypatch.setattr(MirrorStore, "caught_up", fail)
        report = (await mirror.sync()).accounts["one"]
        assert str(report.error) == "the disk is full"


@pytest.mark.untraced
async def test_an_info_that_fails_is_asked_again(mirror_url: str) -> None:
    """Its place is looked up anew, and nothing is written for what did not come."""
    clock = Clock()
    async with site(clock) as sandbox:
        async with Mirror(
            mirror_url,
            [account_of(sandbox)],
            resources=["info"],
            hooks=clock.hooks(),
        ) as mirror:
            sandbox.faults.add(Fault.API_DISABLED)
            assert not (await mirror.sync()).ok
            assert (await mirror.sync()).ok
            assert len(await changes_of(mirror)) == 1


def test_without_its_packages_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLAlchemy is an extra."""
    monkeypatch.setitem(sys.modules, "alembic", None)
    with pytest.raises(ImportError, match=r"pip install 'ppapi-async\[mirror\]'"):
        importlib.reload(ppapi_async.mirror)


async def test_a_fleet_of_a_mirror_needs_the_mirror() -> None:
    """Nobody has told it where to write."""
    account = Account("https://a.example", "k" * 32)
    async with MirrorFleet([account]) as fleet:
        [member] = fleet.chosen(None)
        with pytest.raises(RuntimeError, match="async with Mirror"):
            fleet.reader(member, "info")
        member.pollers["info"] = object()  # type: ignore[assignment]
        with pytest.raises(TypeError, match="MirrorPoller"):
            fleet.reader(member, "info")


# The lock of a file


async def test_a_lock_that_cannot_be_had_says_why(tmp_path: Path) -> None:
    """No directory, or a file that is something else."""
    with pytest.raises(StateError, match="directory must exist"):
        await WriterLock.take(tmp_path / "nowhere" / "partner.db", wait=0)
    (tmp_path / f"odd.db{writer_lock.SUFFIX}").write_text("no database, but a text " * 50)
    with pytest.raises(StateError, match="let this process read and write"):
        await WriterLock.take(tmp_path / "odd.db", wait=0)


async def test_a_lock_says_to_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rights were not what was wrong."""

    def full(connection: object) -> str:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    monkeypatch.setattr(writer_lock, "_hold", full)
    with pytest.raises(StateError, match=r"is full; make room, then try again$"):
        await WriterLock.take(tmp_path / "partner.db", wait=0)


async def test_a_lock_that_nobody_waits_for_any_more_is_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancelled while it was being taken, it is free again."""
    begun, go_on = threading.Event(), threading.Event()
    take, held = writer_lock._try, list[object]()

    def slowly(path: Path) -> sqlite3.Connection | str:
        begun.set()
        go_on.wait(10)
        held.append(take(path))
        found = held[0]
        assert isinstance(found, sqlite3.Connection)
        return found

    monkeypatch.setattr(writer_lock, "_try", slowly)
    taking = asyncio.create_task(WriterLock.take(tmp_path / "partner.db", wait=0))
    await asyncio.to_thread(begun.wait, 10)
    taking.cancel()
    await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await taking
    await asyncio.sleep(0.01)
    monkeypatch.undo()
    (await WriterLock.take(tmp_path / "partner.db", wait=5)).release()


async def test_the_first_poll_may_be_at_once(mirror_url: str) -> None:
    """Whatever the interval: time stands still here."""
    clock = Clock()
    async with Sandbox(Dialect.CLASSIC, rows=3, clock=clock) as sandbox:
        async with Mirror(
            mirror_url,
            [account_of(sandbox)],
            resources=["info"],
            first="now",
            hooks=clock.hooks(),
        ) as mirror:
            async with asyncio.timeout(30):
                async for event in mirror.follow(interval=86_400):
                    assert isinstance(event, MirrorChange)
                    break
    with pytest.raises(ValueError, match="first"):
        Mirror(mirror_url, [], first="soon")  # type: ignore[arg-type]


@pytest.mark.untraced
@pytest.mark.parametrize("dialect", [Dialect.CLASSIC, Dialect.DELEGATING], ids=str)
async def test_nothing_of_the_time_after_a_reading_is_proven_by_it(
    mirror_url: str, dialect: Dialect
) -> None:
    """An order that comes right after a sync is none that an audit misses: it came later.

    Passes ask for a day beyond the present, for sites' clocks may be ahead.
    """
    clock = Clock()
    books = Books.generate(1, 60, NOW - 9 * DAY, NOW)
    async with Sandbox(dialect, books=books, clock=clock) as sandbox:
        async with Mirror(
            mirror_url, [account_of(sandbox)], resources=["exchanges"], hooks=clock.hooks()
        ) as mirror:
            for _ in range(3):  # the first reading, and passes
                clock.advance(90)
                assert (await mirror.sync()).ok
            proven = datetime.fromtimestamp(clock.time, UTC)
            clock.advance(2)
            new = Order(id=books.orders.next_id, created=int(clock.time), reward="1.5")
            books.orders.put(new)
            clock.advance(70)
            audit = await mirror.audit()
            async with mirror.connect() as connection:
                ends = (await connection.execute(select(func.max(coverage.c.end)))).scalar_one()
    assert ends <= proven
    assert (audit.differences, audit.uncovered) == ((), 1)


@pytest.mark.parametrize(
    ("trouble", "goes_on"), [(None, True), ("unsupported", True), ("failing", False)], ids=str
)
async def test_a_mirror_that_is_followed_says_how_far_it_is(
    mirror_url: str, trouble: str | None, goes_on: bool
) -> None:
    """Caught up is what everything of the account was, whether by `sync` or by `follow`."""
    clock = Clock()
    books = Books.generate(1, 30, NOW - 9 * DAY, NOW)
    async with Sandbox(Dialect.DELEGATING, books=books, clock=clock) as sandbox:
        if trouble == "unsupported":
            text = "Method not supported"
            sandbox.faults.add(Fault.API_ERROR, method="get_links", times=None, code=3, text=text)
        async with Mirror(
            mirror_url, [account_of(sandbox)], hooks=clock.hooks(), retry=Retry(attempts=1)
        ) as mirror:
            await mirror.sync()
            before = await _last_synced(mirror)
            if trouble == "failing":
                sandbox.faults.add(Fault.HTML_503, method="get_links", times=None)
            ticking = asyncio.create_task(_tick(clock))
            following = asyncio.create_task(_follow(mirror))
            try:
                async with asyncio.timeout(30):
                    await clock.sleep(900)
            finally:
                following.cancel()
                ticking.cancel()
                await asyncio.wait([following, ticking])
            after = await _last_synced(mirror)
    assert before == datetime.fromtimestamp(NOW, UTC)
    if goes_on:
        assert after >= before + timedelta(minutes=10)
    else:
        assert after == before


async def _last_synced(mirror: Mirror) -> datetime:
    async with mirror.connect() as connection:
        found: datetime = (await connection.execute(select(accounts.c.last_synced))).scalar_one()
        return found


async def _follow(mirror: Mirror) -> None:
    async for _ in mirror.follow(interval=60):
        pass

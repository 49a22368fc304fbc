"""The database itself: urls, who may write, faults of every kind, and what errors say."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import event, text

from ppapi_async import StateError
from ppapi_async.mirror import schema
from ppapi_async.mirror.store import MirrorStore, Place
from tests.mirror.test_store import count, exchange, place_of, reading

HOLD = """
import asyncio, sys
from ppapi_async.mirror.store import MirrorStore

async def hold():
    await MirrorStore.open(sys.argv[1])
    print("held", flush=True)
    await asyncio.sleep(600)

asyncio.run(hold())
"""


@contextlib.contextmanager
def holder(url: str) -> Iterator[subprocess.Popen[bytes]]:
    """Give a process that has the mirror open."""
    command = [sys.executable, "-c", HOLD, url]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        yield other
        other.kill()


@pytest.fixture
def sqlite_path(tmp_path: Path) -> Path:
    """Return where a mirror in SQLite may be."""
    return tmp_path / "mirror.db"


@pytest.mark.parametrize(
    "url",
    ["partner.db", "sqlite://", "sqlite:///:memory:", "sqlite:///a.db?mode=ro", "mysql://host/db",
     "postgresql+asyncpg://host/db", "postgresql://user:p%@ss@host:port/db"],
)  # fmt: skip
async def test_other_urls_are_refused(url: str) -> None:
    """The message says what to pass, and nothing of what was."""
    with pytest.raises(ValueError, match=r"^url: .*; pass 'sqlite:///partner") as e:
        await MirrorStore.open(url)
    assert "p%@ss" not in str(e.value)
    assert e.value.__context__ is None


async def test_a_url_is_a_text() -> None:
    """Anything else is a mistake in the program."""
    with pytest.raises(TypeError, match="url: is not a str"):
        await MirrorStore.open(Path("partner.db"))  # type: ignore[arg-type]


async def test_a_file_is_its_owners_only(sqlite_path: Path) -> None:
    """Nobody else reads what a partner earns."""
    store = await MirrorStore.open(f"sqlite:///{sqlite_path}")
    await place_of(store)
    for path in sqlite_path.parent.glob("mirror.db*"):
        if not path.name.endswith("-lock"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
    await store.aclose()


async def test_without_a_directory(tmp_path: Path) -> None:
    """A path that leads nowhere is refused at once."""
    with pytest.raises(StateError, match="its directory must exist and let you write"):
        await MirrorStore.open(f"sqlite:///{tmp_path / 'none' / 'mirror.db'}")


@pytest.mark.parametrize("name", ["folder", "n" * 252])
async def test_a_path_that_cannot_be_a_file_says_so(tmp_path: Path, name: str) -> None:
    """Rights to its directory would not help."""
    (tmp_path / "folder").mkdir()
    with pytest.raises(StateError, match="pass the path of another file"):
        await MirrorStore.open(f"sqlite:///{tmp_path / name}")


def test_what_is_no_database_is_refused(sqlite_path: Path) -> None:
    """A file of something else is not overwritten."""
    sqlite_path.write_bytes(b"no database " * 100)
    with pytest.raises(StateError, match="file is not a database; pass the path of another file"):
        asyncio.run(MirrorStore.open(f"sqlite:///{sqlite_path}"))
    assert sqlite_path.read_bytes() == b"no database " * 100


async def test_a_second_writer_is_refused(sqlite_path: Path) -> None:
    """It is told by whom the file is written; when that one closes, the file is free."""
    url = f"sqlite:///{sqlite_path}"
    first = await MirrorStore.open(url)
    with pytest.raises(StateError, match=f"mirror.db is written by process {os.getpid()} on ") as e:
        await MirrorStore.open(url)
    assert "allow a longer wait" in str(e.value)
    await first.aclose()
    second = await MirrorStore.open(url)
    await second.aclose()


async def test_a_second_writer_waits(sqlite_path: Path) -> None:
    """With `wait` it gets the file as soon as the first has closed it."""
    url = f"sqlite:///{sqlite_path}"
    first = await MirrorStore.open(url)
    waiting = asyncio.create_task(MirrorStore.open(url, wait=30))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    impatient = asyncio.create_task(MirrorStore.open(url, wait=30))
    await asyncio.sleep(0.01)
    impatient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await impatient
    await first.aclose()
    await (await waiting).aclose()


async def test_a_writer_that_dies_leaves_no_lock(sqlite_path: Path) -> None:
    """The system frees it, also after kill -9; until then its process is named."""
    url = f"sqlite:///{sqlite_path}"
    with holder(url) as other:
        with pytest.raises(StateError, match=f"written by process {other.pid} on "):
            await MirrorStore.open(url)
        other.send_signal(signal.SIGKILL)
        other.wait()
    await (await MirrorStore.open(url)).aclose()


async def commit_fails(store: MirrorStore, place: Place, message: str) -> None:
    """See that a window is refused as a whole, and that nothing was written."""
    before = place.version
    with pytest.raises(StateError, match=message) as caught:
        await store.commit(place, reading(*map(exchange, range(2, 60)), document='{"new": 1}'))
    assert place.version == before
    assert caught.value.__context__ is caught.value.__cause__ is None


async def check_written(store: MirrorStore, place: Place, rows: int) -> None:
    """See that rows, changes and position agree."""
    assert len(await store.rows(place.account, "exchanges", None, None)) == rows
    assert await count(store, schema.changes) == rows
    again = await place_of(store)
    assert (again.version, again.document) == (place.version, place.document)


async def test_a_full_disk(sqlite_path: Path) -> None:
    """Nothing of the window is written, the error says so, and it goes on when there is room."""
    store = await MirrorStore.open(f"sqlite:///{sqlite_path}")
    place = await place_of(store)
    await store.commit(place, reading(exchange(1)))
    pages = [0]

    @event.listens_for(store.engine.sync_engine, "checkout")
    def limit(connection: object, *_: object) -> None:
        cursor = connection.cursor()  # type: ignore[attr-defined]
        cursor.execute(f"PRAGMA max_page_count = {pages[0] or 1_000_000}")
        cursor.close()

    async with store.connect() as connection:
        pages[0] = (await connection.scalar(text("PRAGMA page_count"))) or 0
    await commit_fails(store, place, "database or disk is full; make room, then try again")
    pages[0] = 0
    await check_written(store, place, 1)
    await store.commit(place, reading(*map(exchange, range(1, 60)), document="{}"))
    await check_written(store, place, 59)
    await store.aclose()


async def test_a_locked_file(sqlite_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another program that writes to the file is waited for, but not for ever."""
    monkeypatch.setattr("ppapi_async.mirror.database._BUSY", 0.02)
    store = await MirrorStore.open(f"sqlite:///{sqlite_path}")
    place = await place_of(store)
    await store.commit(place, reading(exchange(1)))
    other = sqlite3.connect(sqlite_path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    await commit_fails(store, place, "database is locked; another process writes to it: try again")
    assert len(await store.rows(place.account, "exchanges", None, None)) == 1  # reading goes on
    other.close()
    await store.commit(place, reading(*map(exchange, range(1, 60))))
    await check_written(store, place, 59)
    await store.aclose()


async def waiting(connection: psycopg.AsyncConnection[tuple[int]]) -> int:
    """Return the number of the backend that waits for a lock, as soon as there is one."""
    question = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' LIMIT 1"
    while True:
        found = await (await connection.execute(question)).fetchone()
        if found is not None:
            return found[0]
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "lock",
    ["positions IN SHARE MODE", "exchanges IN SHARE MODE", "coverage"],
    ids=["at the fence", "while rows are copied", "behind the rows"],
)
async def test_a_connection_that_is_ended_in_a_transaction(postgres_url: str, lock: str) -> None:
    """Nothing of the window is written, and the next attempt has a new connection."""
    store = await MirrorStore.open(postgres_url)
    place = await place_of(store)
    await store.commit(place, reading(exchange(1)))
    async with await psycopg.AsyncConnection.connect(postgres_url) as other:
        await other.execute(f"LOCK TABLE {lock}")
        failing = asyncio.create_task(commit_fails(store, place, "terminating connection"))
        pid = await waiting(other)
        await other.execute("SELECT pg_terminate_backend(%s)", (pid,))
        await failing
    await check_written(store, place, 1)
    await store.commit(place, reading(*map(exchange, range(1, 60))))
    await check_written(store, place, 59)
    await store.aclose()


async def test_a_commit_is_cancelled_while_it_waits(postgres_url: str) -> None:
    """Nothing is written, and the place is as it was."""
    store = await MirrorStore.open(postgres_url)
    place = await place_of(store)
    async with await psycopg.AsyncConnection.connect(postgres_url) as other:
        await other.execute("LOCK TABLE coverage")
        task = asyncio.create_task(store.commit(place, reading(exchange(1))))
        await waiting(other)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await check_written(store, place, 0)
    await store.commit(place, reading(exchange(1)))
    await check_written(store, place, 1)
    await store.aclose()


@pytest.fixture
def _nothing_is_collected() -> Iterator[None]:
    """Keep what is left over: a statement that is under way would lock the file."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("_nothing_is_collected")
async def test_a_commit_is_cancelled_at_any_moment(store: MirrorStore) -> None:
    """All of it is written or nothing, the place says which, and it goes on from there."""
    place = await place_of(store)
    done = 0
    for number, turns in enumerate(range(0, 300, 6)):
        document = f'{{"turns": {turns}}}'
        row = exchange(number)
        task = asyncio.create_task(
            store.commit(place, reading(row, start=row.time, end=None, document=document))
        )
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        done += place.document == document
        await check_written(store, place, done)
    await store.commit(place, reading(*map(exchange, range(60))))
    await check_written(store, place, 60)


@pytest.mark.parametrize("turns", [1])
async def test_taking_a_connection_is_cancelled(store: MirrorStore, turns: int) -> None:
    """The cancellation comes through, and the next one gets a connection."""
    taking = asyncio.create_task(store._database.take())
    for _ in range(turns):
        await asyncio.sleep(0)
    taking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taking
    async with store.connect() as connection:
        assert (await connection.execute(text("SELECT 1"))).scalar() == 1
    assert not store._database._under_way


async def test_errors_do_not_show_the_password(postgres_url: str) -> None:
    """Neither the message nor the traceback, with all that it holds, has it."""
    password = "a-secret-pass/word"
    host = postgres_url.partition("@")[2].rpartition("/")[0]
    url = f"postgresql://someone:a-secret-pass%2Fword@{host}/there-is-none"
    with pytest.raises(
        StateError, match="look whether the server runs, and at user, password"
    ) as caught:
        await MirrorStore.open(url)
    error = caught.value
    shown = "".join(traceback.format_exception(error)) + repr(error.args)
    for secret in (password, "a-secret-pass%2Fword", "someone:"):
        assert secret not in shown
    assert error.__context__ is error.__cause__ is None


async def test_a_server_that_is_not_there() -> None:
    """The error says where nobody was, and what to do."""
    with pytest.raises(StateError, match="look whether the server runs, and at user"):
        await MirrorStore.open("postgresql://user:secret-word@127.0.0.1:1/database")


async def test_decimal_sum_in_sqlite(sqlite_path: Path) -> None:
    """Our connections add amounts up exactly, where SQLite's own sum makes a float."""
    store = await MirrorStore.open(f"sqlite:///{sqlite_path}")
    place = await place_of(store)
    await store.commit(place, reading(*map(exchange, range(1, 4))))
    async with store.connect() as connection:
        total = await connection.scalar(text("SELECT decimal_sum(amount_get) FROM exchanges"))
        nothing = await connection.scalar(text("SELECT decimal_sum(NULL)"))
    assert (total, nothing) == ("29100.370370367036", None)
    await store.aclose()

"""PostgresState: what it refuses, what it says, and that a connection that breaks is replaced."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import time
from typing import Any

import psycopg
import pytest

from ppapi_async import PostgresState, StateError
from ppapi_async.secret import Secret
from ppapi_async.storage.postgres_session import PostgresSession, since_boot
from ppapi_async.storage.stores import StateChange
from ppapi_async.storage.worker_table import PRESENCE, SHARDS, lock_class
from tests.postgres import Cable, PostgresServer
from tests.storage.pooler import Pooler

WATCH = "7f6b2c5a90d1e834/get_exchanges"
PASSWORD = "a-secret-word"


def run(url: str, *statements: str) -> list[tuple[Any, ...]]:
    """Do something in the database, and return the rows of the last statement."""
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


async def opened(url: str) -> PostgresSession:
    """Return a session."""
    return await PostgresSession.open(Secret(url))


@pytest.mark.parametrize(
    "url", ["", "partner.db", "sqlite:///x", "postgresql://h/db?nonsense=1", "postgresql://[h/db"]
)
def test_what_is_no_url_is_refused(url: str) -> None:
    """At once, and without showing what may be a password."""
    with pytest.raises(ValueError, match=r"^url: pass one such as 'postgresql://") as caught:
        PostgresState(url)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("hung_after", [0, 0.5, -1, 1e9])
def test_a_worker_hangs_after_a_second_to_a_day(hung_after: float) -> None:
    """Less would lose accounts whenever the machine is busy."""
    with pytest.raises(ValueError, match=r"^hung_after: "):
        PostgresState("postgresql://h/db", hung_after=hung_after)


def test_a_repr_shows_no_password() -> None:
    """Nor does the name in messages."""
    state = PostgresState(f"postgresql://user:{PASSWORD}@host:1/db?password={PASSWORD}")
    assert repr(state) == "<PostgresState postgresql://host:1/db closed>"
    assert PASSWORD not in str(state.url)


def test_without_psycopg_it_says_what_to_install() -> None:
    """And the package itself needs none."""
    code = (
        "import sys; sys.modules['psycopg'] = None\n"
        "import ppapi_async\n"
        "try: ppapi_async.PostgresState('postgresql://h/db')\n"
        "except ImportError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "PostgresState: needs psycopg; pip install 'ppapi-async[postgres]'\n"


async def test_an_unreachable_database_is_a_state_error() -> None:
    """Which says where, and nothing of the password."""
    state = PostgresState(f"postgresql://user:{PASSWORD}@127.0.0.1:1/db")
    with pytest.raises(
        StateError, match=r"127\.0\.0\.1:1/db could not be used: .*refused"
    ) as caught:
        await state.load(WATCH)
    assert PASSWORD not in str(caught.value)
    traceback = caught.value.__traceback__
    while traceback is not None:
        assert PASSWORD not in repr(traceback.tb_frame.f_locals)
        traceback = traceback.tb_next


async def test_an_unknown_database_is_named(postgres_url: str) -> None:
    """With what to do about it."""
    state = PostgresState(f"{postgres_url}_none")
    with pytest.raises(StateError, match="does not exist; create the database"):
        await state.load(WATCH)


async def test_many_that_start_at_once_make_the_tables_once(postgres_url: str) -> None:
    """None of them fails, whoever is first."""
    sessions = await asyncio.gather(*(opened(postgres_url) for _ in range(8)))
    await asyncio.gather(*(session.aclose() for session in sessions))
    assert run(postgres_url, "SELECT version FROM ppapi_state") == [(1,)]


async def test_tables_of_another_version_are_refused(postgres_url: str) -> None:
    """A later version of this package may keep other things in them."""
    async with PostgresState(postgres_url) as state:
        await state.save(WATCH, {"position": "1"})
    run(postgres_url, "UPDATE ppapi_state SET version = 2")
    with pytest.raises(
        StateError, match="of version 2, and this ppapi_async knows version 1"
    ) as caught:
        await state.load(WATCH)
    assert not caught.value.may_pass


async def test_tables_that_are_not_ours_are_refused(postgres_url: str) -> None:
    """A table of the same name with other columns."""
    run(postgres_url, "CREATE TABLE ppapi_state (x integer)")
    with pytest.raises(StateError, match="drop those called ppapi_") as caught:
        await PostgresState(postgres_url).load(WATCH)
    assert not caught.value.may_pass  # a fleet does not repeat it for ever


async def test_a_database_of_another_encoding_is_refused(own_postgres: PostgresServer) -> None:
    """It could not hold all texts."""
    run(
        own_postgres.url,
        "DROP DATABASE IF EXISTS latin",
        "CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'",
    )
    state = PostgresState(f"{own_postgres.url.removesuffix('postgres')}latin")
    with pytest.raises(StateError, match="of the encoding LATIN1"):
        await state.load(WATCH)


async def test_an_old_server_is_refused(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before 14, PostgreSQL ends no session that is idle."""
    monkeypatch.setattr(psycopg.ConnectionInfo, "server_version", 13_00_11)
    with pytest.raises(StateError, match=r"in PostgreSQL 13, .* use PostgreSQL 14 or later"):
        await PostgresState(postgres_url).load(WATCH)


async def test_saves_that_wait_are_written_together(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In their order; what one puts in and another drops is dropped."""
    written: list[int] = []
    write = PostgresSession._write

    async def counted(session: PostgresSession, changes: list[StateChange]) -> None:
        written.append(len(changes))
        await write(session, changes)

    monkeypatch.setattr(PostgresSession, "_write", counted)
    async with PostgresState(postgres_url) as state:
        await state.save(WATCH, {"a": "0", "b": "0"})
        await asyncio.gather(
            state.save(WATCH, {"a": "1"}),
            state.save(WATCH, {"c": "1"}, ["a", "b"]),
            state.save(WATCH, {"b": "2"}),
        )
        assert await state.load(WATCH) == {"b": "2", "c": "1"}
    assert written == [1, 3]


async def test_a_save_that_is_cancelled_is_made_or_not(postgres_url: str) -> None:
    """And the connection goes on."""
    async with PostgresState(postgres_url) as state:
        saving = asyncio.create_task(state.save(WATCH, {"a": "1", "b": "1"}))
        await asyncio.sleep(0)
        saving.cancel()
        await asyncio.wait([saving])
        assert await state.load(WATCH) in ({}, {"a": "1", "b": "1"})


async def test_a_connection_that_breaks_is_replaced(own_postgres: PostgresServer) -> None:
    """A server that was started anew costs no call, where it was idle meanwhile."""
    async with PostgresState(own_postgres.url) as state:
        await state.save(WATCH, {"a": "1"})
        await asyncio.to_thread(own_postgres.restart)
        await asyncio.sleep(0.05)
        assert await state.load(WATCH) == {"a": "1"}
        await state.save(WATCH, {}, ["a"])


async def test_a_connection_that_breaks_amid_a_call_is_an_error(postgres_url: str) -> None:
    """All who wait are told, nobody hangs, and the next call works."""
    async with Cable.to(postgres_url) as cable:
        async with PostgresState(cable.url(postgres_url)) as state:
            await state.save(WATCH, {"a": "1"})
            cable.hold()
            waiting = [asyncio.create_task(state.save(WATCH, {"a": str(n)})) for n in range(3)]
            waiting.append(asyncio.create_task(state.load(WATCH)))  # type: ignore[arg-type]
            await asyncio.sleep(0.05)
            cable.close()
            cable.release()
            done = await asyncio.gather(*waiting, return_exceptions=True)
            assert [type(one) for one in done] == [StateError] * 4
            assert "a" in await state.load(WATCH)


def test_another_loop_gets_another_connection(postgres_url: str) -> None:
    """A state that was left open in a loop that is gone."""
    state = PostgresState(postgres_url)
    asyncio.run(state.save(WATCH, {"a": "1"}))

    async def read() -> str | None:
        text = await state.read(WATCH, "a")
        await state.aclose()
        return text

    assert asyncio.run(read()) == "1"


# --- a session that holds locks


async def test_the_server_ends_a_session_that_is_not_heard_of(postgres_url: str) -> None:
    """And with it go its locks; that is known here at once, without asking."""
    broken: list[StateError] = []
    session = await PostgresSession.open(Secret(postgres_url), on_broken=broken.append)
    await session.check_that_it_stays()
    await session.limit(0.2)
    await session.ask("SELECT pg_try_advisory_lock(1, 2)")
    assert run(postgres_url, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == [(1,)]
    for _ in range(100):
        if broken:
            break
        await asyncio.sleep(0.02)
    assert "idle-session timeout" in str(broken[0])
    assert run(postgres_url, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == [(0,)]
    with pytest.raises(StateError, match="idle-session timeout"):
        await session.ask("SELECT 1")
    await session.aclose()


async def test_it_is_renewed_by_what_is_answered(postgres_url: str) -> None:
    """By when the statement was sent, not when its answer came."""
    session = await opened(postgres_url)
    before = since_boot()
    await session.ask("SELECT pg_sleep(0.1)")
    assert before <= session.renewed < since_boot() - 0.1
    await session.aclose()


@pytest.mark.parametrize(
    ("place", "own_key"),
    [(0, True), (-1, True), (0, False)],
    ids=["the longest idle", "the one used last", "a number of the server's own"],
)
async def test_a_pooler_of_transactions_is_refused(
    postgres_url: str, place: int, own_key: bool
) -> None:
    """Locks would stay with connections that are others' by then, whichever it takes next."""
    async with Pooler(postgres_url, lambda idle: idle[place], own_key=own_key) as pooler:
        session = await opened(pooler.own_url)
        with pytest.raises(StateError, match="behind a pooler") as caught:
            await session.check_that_it_stays()
        assert not caught.value.may_pass  # it is set up so
        await session.aclose()
        # As a store, without sharing, it does.
        async with PostgresState(pooler.own_url) as state:
            await state.save(WATCH, {str(n): "{}" for n in range(5_000)})
            assert len(await state.load(WATCH)) == 5_000


async def test_a_pooler_of_sessions_will_do(postgres_url: str) -> None:
    """What is locked stays with the client there."""
    pooler = Pooler(postgres_url, lambda idle: idle[-1], pooling="session")
    async with pooler:
        session = await opened(pooler.own_url)
        await session.check_that_it_stays()
        await session.aclose()


def test_lock_keys_are_the_same_everywhere() -> None:
    """Workers of different versions of this package must not each believe to be the owner."""
    assert (lock_class("group"), SHARDS, PRESENCE) == (1_668_490_545, 256, 256)


async def test_what_is_closed_while_it_opens_is_closed(postgres_url: str) -> None:
    """A save under way is made, and no connection stays behind."""
    state = PostgresState(postgres_url)
    save = asyncio.create_task(state.save("w/x", {"a": "1"}))
    await asyncio.sleep(0)
    assert state._opening is not None
    assert state._opening[1].locked()
    await state.aclose()
    await save
    assert "closed" in repr(state)
    assert run(postgres_url, "SELECT text FROM ppapi_entries") == [("1",)]


@pytest.mark.parametrize("turns", [0, 1, 3, 30])
async def test_a_close_that_is_cancelled_while_a_connection_opens(
    postgres_url: str, turns: int
) -> None:
    """No connection is left, whoever gives up; and the next save opens another one."""
    async with Cable.to(postgres_url) as cable:
        cable.delay = 0.002
        state = PostgresState(cable.url(postgres_url))
        await _give_up(state, 0.001 * turns)
        await state.aclose()
        gc.collect()  # psycopg closes there what was cancelled while it opened
        await _until_gone(cable)
        await state.save(WATCH, {"a": "1"})
        await state.aclose()
        await _until_gone(cable)


async def _give_up(state: PostgresState, seconds: float) -> None:
    """Cancel a save and a close; their errors, which hold the frames of both, are dropped."""
    save = asyncio.create_task(state.save(WATCH, {"a": "1"}))
    await asyncio.sleep(seconds)
    closing = asyncio.create_task(state.aclose())
    await asyncio.sleep(0)
    closing.cancel()
    save.cancel()
    await asyncio.gather(closing, save, return_exceptions=True)


async def _until_gone(cable: Cable) -> None:
    began = time.monotonic()
    while cable.connections:
        assert time.monotonic() - began < 30
        await asyncio.sleep(0.005)


def test_what_is_closed_from_another_loop_is_closed(postgres_url: str) -> None:
    """The connection of a loop that stands still does not stay open."""
    state = PostgresState(postgres_url)
    with asyncio.Runner() as first, asyncio.Runner() as second:
        first.run(state.save("w/x", {"a": "1"}))
        session = state._session
        assert session is not None
        second.run(state.aclose())
        first.run(asyncio.wait_for(asyncio.wait([session._running]), 2))
        assert session.error is not None

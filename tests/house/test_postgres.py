"""The PostgreSQL that the tests bring, and the cable to it."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from tests.postgres import Cable, Postgres, PostgresServer

_OWNER = """
import sys
from pathlib import Path
from tests.postgres import PostgresServer
with PostgresServer(Path(sys.argv[1])) as server:
    print(server.url, server.folder, flush=True)
    sys.stdin.read()
"""


def _answer(url: str, question: str) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(question).fetchone()
    return row and row[0]


def test_a_database_is_empty_and_of_a_version_that_sharing_needs(postgres_url: str) -> None:
    """It has no tables, takes any text as UTF-8, and can be written to."""
    assert _answer(postgres_url, "SELECT count(*) FROM pg_stat_user_tables") == 0
    assert int(str(_answer(postgres_url, "SHOW server_version_num"))) >= 140_000
    assert _answer(postgres_url, "SHOW server_encoding") == "UTF8"
    with psycopg.connect(postgres_url) as connection:
        connection.execute("CREATE TABLE kept (text text)")
        connection.execute("INSERT INTO kept VALUES ('ключ \N{SNOWMAN}')")
    assert _answer(postgres_url, "SELECT text FROM kept") == "ключ \N{SNOWMAN}"


def test_a_database_is_as_new_for_the_next_test(postgres_server: Postgres) -> None:
    """Whoever was still connected is sent away, and nothing of the test before remains."""
    url = postgres_server.lend()
    left = psycopg.connect(url, autocommit=True)
    left.execute("CREATE TABLE one (number int)")
    left.execute("CREATE SCHEMA two CREATE TABLE three (number int)")
    left.execute("SELECT pg_advisory_lock(7)")
    left.execute(f"ALTER DATABASE {left.info.dbname} SET idle_session_timeout = 77")
    postgres_server.take_back(url)
    with pytest.raises(psycopg.OperationalError):
        left.execute("SELECT 1")
    left.close()
    assert postgres_server.lend() == url
    assert _answer(url, "SELECT count(*) FROM pg_stat_user_tables") == 0
    assert _answer(url, "SELECT pg_try_advisory_lock(7)") is True
    assert _answer(url, "SHOW idle_session_timeout") == "0"
    postgres_server.take_back(url)


def test_both_kinds_of_databases_are_there(database_url: str) -> None:
    """The url names a database that can be written to, in SQLite and in PostgreSQL."""
    if urlsplit(database_url).scheme == "sqlite":
        file = sqlite3.connect(database_url.removeprefix("sqlite:///"))
        assert file.execute("SELECT 1").fetchone() == (1,)
        file.close()
    else:
        assert _answer(database_url, "SELECT 1") == 1


@pytest.mark.parametrize("ending", ["stop", "crash"])
def test_own_server_ends_and_comes_back(own_postgres: PostgresServer, ending: str) -> None:
    """What was committed is there when the server is back at the same url."""
    with psycopg.connect(own_postgres.url) as connection:
        connection.execute(f"CREATE TABLE {ending}ped AS SELECT 17 AS number")
    end = own_postgres.stop if ending == "stop" else own_postgres.crash
    end()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(own_postgres.url)
    own_postgres.start()
    assert _answer(own_postgres.url, f"SELECT number FROM {ending}ped") == 17


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True


def test_nothing_outlives_tests_that_are_killed(own_postgres: PostgresServer) -> None:
    """After a kill -9 of the tests their server ends too, and its files are removed."""
    command = [sys.executable, "-c", _OWNER, str(own_postgres.binaries)]
    owner = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert owner.stdin is not None
    assert owner.stdout is not None
    with owner.stdin, owner.stdout:
        url, folder = owner.stdout.readline().split()
        assert _answers(url)
        owner.send_signal(signal.SIGKILL)
        owner.wait()
    deadline = time.monotonic() + 30
    while _answers(url) or Path(folder).exists():
        assert time.monotonic() < deadline, "the server is still there"
        time.sleep(0.02)


async def _is_silent(connection: psycopg.AsyncConnection[tuple[object, ...]]) -> bool:
    """Ask something; return whether nothing came, neither an answer nor an end."""
    asked = asyncio.ensure_future(connection.execute("SELECT 1"))
    done, _ = await asyncio.wait([asked], timeout=0.1)
    if done:
        await asked
    else:
        asked.cancel()
        await asyncio.wait([asked], timeout=0.1)
    return not done


async def test_a_cable_passes_everything(postgres_url: str) -> None:
    """A large answer comes through whole, and the end of the connection too."""
    async with Cable.to(postgres_url) as cable:
        url = cable.url(postgres_url)
        async with await psycopg.AsyncConnection.connect(url) as connection:
            found = await connection.execute("SELECT repeat('x', 3_000_000)")
            assert await found.fetchone() == ("x" * 3_000_000,)
            assert cable.connections == 1
        async with asyncio.timeout(30):
            while cable.connections:  # noqa: ASYNC110 (nothing else waits for it)
                await asyncio.sleep(0.001)
    assert cable.forwarded > 3_000_000


async def test_a_cable_holds_back(postgres_url: str) -> None:
    """What is held back arrives when it is let go."""
    async with Cable.to(postgres_url) as cable:
        connection = await psycopg.AsyncConnection.connect(cable.url(postgres_url))
        cable.hold()
        asked = asyncio.ensure_future(connection.execute("SELECT 5"))
        assert not (await asyncio.wait([asked], timeout=0.05))[0]
        cable.release()
        assert await (await asked).fetchone() == (5,)
        await connection.close()


async def test_a_cut_cable_is_silent(postgres_url: str) -> None:
    """A connection that was cut answers nothing and does not end; a new one works."""
    async with Cable.to(postgres_url) as cable:
        url = cable.url(postgres_url)
        old = await psycopg.AsyncConnection.connect(url, autocommit=True)
        cable.cut()
        async with await psycopg.AsyncConnection.connect(url) as new:
            assert not await _is_silent(new)
            found = await new.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = "
                                      "current_database()")  # fmt: skip
            assert await found.fetchone() == (2,), "the server still sees the one that was cut"
        assert await _is_silent(old)
        await old.close()


async def test_a_cable_closes(postgres_url: str) -> None:
    """A connection that is closed in between is an error at once."""
    async with Cable.to(postgres_url) as cable:
        connection = await psycopg.AsyncConnection.connect(cable.url(postgres_url))
        cable.close()
        with pytest.raises(psycopg.OperationalError):
            await connection.execute("SELECT 1")
        await connection.close()


async def test_a_cable_cut_for_new_ones_is_silent_until_mended(postgres_url: str) -> None:
    """While the way is gone nobody gets through; then everybody does."""
    async with Cable.to(postgres_url) as cable:
        url = cable.url(postgres_url)
        cable.cut(new=True)
        trying = asyncio.ensure_future(psycopg.AsyncConnection.connect(url))
        assert not (await asyncio.wait([trying], timeout=0.05))[0]
        trying.cancel()
        await asyncio.wait([trying])
        cable.mend()
        await (await psycopg.AsyncConnection.connect(url)).close()

"""The mirror's guide says what is true: tables, promises, queries, how to move a database."""

from __future__ import annotations

import re
import shutil
import sqlite3
import subprocess
from collections.abc import Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from attrs import evolve
from sqlalchemy import Connection, Engine, select

from ppapi_async import Account, Exchange, Link
from ppapi_async.mirror.database import DecimalSum
from ppapi_async.mirror.queries import changes
from ppapi_async.mirror.schema import metadata
from ppapi_async.mirror.store import MirrorStore
from tests.mirror.copying import commit
from tests.mirror.documented import PAGE, documented
from tests.mirror.tables import (
    NOON,
    asked,
    connected,
    put_balance,
    put_exchange,
    put_link,
    put_payout,
)

TEXT = PAGE.read_text("utf-8")
QUERIES = re.findall(r"```sql\n(.*?)```", TEXT, re.DOTALL)
SCRIPTS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
ROOT = PAGE.parents[2]


def test_the_tables_are_described_as_they_are() -> None:
    """`python -m tests.mirror.documented` writes the page anew."""
    assert documented(TEXT) == TEXT
    for table in metadata.tables.values():
        assert table.comment
        for column in table.columns:
            assert column.comment, f"{table.name}.{column.name}"


def test_each_promise_names_a_test_that_is_there() -> None:
    """So that it can be looked at, and tried."""
    part = TEXT[TEXT.index("<!-- guarantees -->") : TEXT.index("What is not:")]
    named = re.findall(r"`(tests/[a-z_/0-9]+\.py)::(test_[a-z_0-9]+)`", part)
    assert len(named) >= part.count("\n| ") - 1  # without the heading
    for path, name in named:
        assert re.search(rf"^(async )?def {name}\(", (ROOT / path).read_text("utf-8"), re.MULTILINE)


@pytest.fixture
async def filled(mirror_url: str) -> str:
    """Give the url of a mirror's database in which something has happened."""
    store = await MirrorStore.open(mirror_url)
    account = Account("https://one.example", "k3y", name="one")
    place = await store.place(await store.account(account), "one", "exchanges")
    one = Decimal(1)
    row = Exchange(9, NOON, one, one, exchange_success=True, accrued=True, partner_reward=one)
    await commit(store, place, [row], NOON, backfill=True)
    await commit(store, place, [evolve(row, accrued=False)], NOON + timedelta(hours=1))
    await store.aclose()
    with connected(mirror_url) as connection:
        done = {"user_hash": "a", "accrued": True, "exchange_success": True}
        put_exchange(connection, 1, "0.1", **done)
        put_exchange(connection, 2, "0.2", **done)
        put_exchange(connection, 3, "7", accrued=True, gone_at=NOON)
        put_link(connection, 1, NOON, user_hash="a", query_string="sub=1")
        put_payout(connection, 1, "3", status="1")
        put_balance(connection, 1000, "20")
    return mirror_url


EXPECTED: Mapping[str, Sequence[tuple[object, ...]]] = {
    "What was earned, by month and account.": [("one", "2026-01", 0.3, 1)],
    "Which sub-ids bring orders.": [("sub=1", 1, 2, 2, 0.3)],
    "Where a payout is due, and where the books do not agree.": [
        ("one", 20, 10, "USD", 0, 15.7),
    ],
    "Orders that vanished with a credited reward.": [("one", 3, ..., 7, ...)],
    "Exact sums.": [("one", Decimal("0.3"))],
    "Rewards that were taken back.": [("one", 9, ..., 1)],
    "How far each account is behind, and which rows cannot be read.": [("one", None, 0)],
    "Which times are proven, when they were read last, and so where there are holes.": [
        ("one", "exchanges", None, ..., ...),
    ],
    "How orders went, step by step (2.7 sites).": [],
}
"""What each query of the page gives of what is filled in; numbers by their value."""


@pytest.mark.parametrize("number", range(len(QUERIES)))
def test_queries_give_what_they_say(filled: str, number: int) -> None:
    """In both databases, or in the one that they are said to be for."""
    head, _, query = QUERIES[number].removeprefix("-- ").partition("\n")
    title, _, only = head.partition(" Only in ")
    dialect = "SQLite" if filled.startswith("sqlite") else "PostgreSQL"
    if only.rstrip(".") in ("", dialect):
        with connected(filled) as connection:
            give_decimal_sum(connection)
            rows = [tuple(row.values()) for row in asked(connection, query)]
        expected = EXPECTED[title]
        assert len(rows) == len(expected)
        for row, wanted in zip(rows, expected, strict=True):
            told = [
                Decimal(str(value)) if isinstance(one, float | Decimal | int) else value
                for value, one in zip(row, wanted, strict=True)
            ]
            assert [
                value == (Decimal(str(one)) if isinstance(one, float) else one)
                for value, one in zip(told, wanted, strict=True)
                if one is not ...
            ].count(False) == 0, (row, wanted)


def give_decimal_sum(connection: Connection) -> None:
    """Give a connection to SQLite what sqlite3 has built in."""
    if connection.dialect.name == "sqlite":
        made = connection.connection.dbapi_connection
        assert isinstance(made, sqlite3.Connection)
        made.create_aggregate("decimal_sum", 1, DecimalSum)


@pytest.mark.skipif(shutil.which("sqlite3") is None, reason="needs the program sqlite3")
@pytest.mark.parametrize("number", range(len(QUERIES)))
def test_queries_run_in_the_program_sqlite3(filled: str, number: int) -> None:
    """With all that it has built in, and nothing of ours."""
    if not filled.startswith("sqlite") or "Only in PostgreSQL" in QUERIES[number]:
        return
    command = ["sqlite3", "-readonly", filled.removeprefix("sqlite:///")]
    done = subprocess.run(
        command, input=QUERIES[number], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


async def test_a_mirror_moves_to_postgresql_as_the_page_says(
    tmp_path: Path, postgres_url: str
) -> None:
    """Every row of every table; and the new one goes on, with cursors of the old one."""
    (script,) = (one for one in SCRIPTS if "create_engine" in one)
    sqlite_url = f"sqlite:///{tmp_path / 'partner.db'}"
    account = Account("https://one.example", "k3y", name="one")
    old = await MirrorStore.open(sqlite_url)
    place = await old.place(await old.account(account), "one", "links")
    odd = Link(1, NOON, query_string="a\0b\ud800", extra={"x": Decimal("1.50"), "y": ["\0"]})
    await commit(old, place, [odd], NOON)
    await commit(old, place, [evolve(odd, ip="10.0.0.1")], NOON + timedelta(hours=1))
    told = [change async for change in changes(old, "links")]
    await old.deliver(place, int(told[0].cursor.partition(".")[2]))
    await old.aclose()
    with connected(sqlite_url) as connection:
        put_exchange(connection, 7, "123456789012345678901234567890.000000000001")
    await (await MirrorStore.open(postgres_url)).aclose()
    url = postgres_url.replace("postgresql://", "postgresql+psycopg://")
    script = script.replace("sqlite:///partner.db", sqlite_url)
    names: dict[str, Engine] = {}
    exec(script.replace("postgresql+psycopg://user:password@host/db", url), names)
    names["source"].dispose()
    names["target"].dispose()
    for table in metadata.sorted_tables:
        with connected(sqlite_url) as here, connected(postgres_url) as there:
            statement = select(table).order_by(*table.primary_key)
            assert here.execute(statement).all() == there.execute(statement).all(), table.name
    new = await MirrorStore.open(postgres_url)
    try:
        assert [change async for change in changes(new, "links")] == told
        place = await new.place(await new.account(account), "one", "links")
        assert len(await new.undelivered(place, 10)) == 1
        await commit(new, place, [odd], NOON + timedelta(hours=2))
        later = [one async for one in changes(new, "links", since=told[0].cursor)]
        assert [one.record for one in later] == [told[1].record, odd]
    finally:
        await new.aclose()

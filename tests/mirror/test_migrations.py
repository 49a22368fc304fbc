"""The version of the tables: what migrations make, and which databases are refused."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import Connection, create_engine, inspect, text

from ppapi_async import StateError
from ppapi_async.mirror import migrations
from ppapi_async.mirror.database import MirrorDatabase, parse_url
from ppapi_async.mirror.migrations import VERSION_TABLE
from ppapi_async.mirror.schema import metadata
from ppapi_async.mirror.store import MirrorStore
from ppapi_async.mirror.views import VIEWS
from ppapi_async.storage import SQLiteState
from ppapi_async.storage.file_kind import FileKind
from tests.mirror.tables import connected


def description(connection: Connection) -> dict[str, object]:
    """Return all that the database says of its tables."""
    found = inspect(connection)
    return {
        table: [
            [{**one, "type": repr(one["type"])} for one in found.get_columns(table)],
            found.get_pk_constraint(table),
            found.get_foreign_keys(table),
            sorted(found.get_unique_constraints(table), key=str),
            sorted(found.get_indexes(table), key=str),
            found.get_table_comment(table) if connection.dialect.supports_comments else None,
        ]
        for table in found.get_table_names()
        if table != VERSION_TABLE
    }


@pytest.mark.untraced
async def test_migrations_make_the_tables_of_the_schema(database_url: str) -> None:
    """All versions, one after another, come to exactly what `schema` has, comments included."""
    store = await MirrorStore.open(database_url)
    async with store.connect() as connection:
        migrated = await connection.run_sync(description)
        await connection.rollback()
        for kind in VIEWS[connection.dialect.name]:
            await connection.execute(text(f"DROP VIEW {kind}"))
        await connection.run_sync(metadata.drop_all)
        await connection.run_sync(metadata.create_all)
        assert migrated == await connection.run_sync(description)
    assert set(migrated) == set(metadata.tables)
    await store.aclose()


async def test_the_views_can_be_asked(store: MirrorStore) -> None:
    """Each of the views is there."""
    async with store.connect() as connection:
        for view in VIEWS[connection.dialect.name]:
            assert (await connection.execute(text(f"SELECT * FROM {view}"))).all() == []


async def test_a_database_is_opened_again(database_url: str) -> None:
    """What is of this version is left as it is; also where nothing may be migrated."""
    with pytest.raises(StateError, match="has no tables, or those of an earlier version"):
        await MirrorStore.open(database_url, migrate=False)
    await (await MirrorStore.open(database_url)).aclose()
    await (await MirrorStore.open(database_url, migrate=False)).aclose()
    await (await MirrorStore.open(database_url)).aclose()


@pytest.mark.parametrize("migrate", [True, False])
async def test_a_newer_version_is_refused(database_url: str, *, migrate: bool) -> None:
    """Tables of a version that nobody knows here are not touched."""
    store = await MirrorStore.open(database_url)
    async with store.connect() as connection:
        await connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
        await connection.commit()
    await store.aclose()
    with pytest.raises(StateError, match="is of version 9999, which this ppapi_async does not kn"):
        await MirrorStore.open(database_url, migrate=migrate)


async def test_workers_that_start_at_once(postgres_url: str) -> None:
    """Of several workers that find an empty database one makes the tables, the others wait."""
    stores = await asyncio.gather(*(MirrorStore.open(postgres_url) for _ in range(4)))
    for store in stores:
        await store.aclose()


async def test_two_mirrors_are_made_at_once(tmp_path: Path) -> None:
    """Nothing of a migration is global: each of two files gets all of its tables."""
    urls = [f"sqlite:///{tmp_path / name}" for name in ("a.db", "b.db")]
    stores = await asyncio.gather(*map(MirrorStore.open, urls))
    for store in stores:
        async with store.connect() as connection:
            assert set(await connection.run_sync(description)) == set(metadata.tables)
        await store.aclose()


async def test_a_migration_that_fails_leaves_nothing(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Migrations are one transaction: the next attempt begins where this one did."""
    broken = {name: {"v": "SELECT * FROM nothing_at_all"} for name in VIEWS}
    with monkeypatch.context() as patch:
        patch.setattr("ppapi_async.mirror.migrations.VIEWS", {**broken, "sqlite": {"a b": "no"}})
        with pytest.raises(StateError):
            await MirrorStore.open(database_url)
    database = await MirrorDatabase.open(parse_url(database_url))
    async with database.connect() as connection:
        assert await connection.run_sync(description) == {}
    await database.aclose()
    await (await MirrorStore.open(database_url)).aclose()


async def test_a_state_is_no_mirror(tmp_path: Path) -> None:
    """The file of a watch's state is not made a mirror, nor a mirror's a state."""
    path = tmp_path / "state.sqlite"
    async with SQLiteState(path) as state:
        await state.save("watch", {"a": "b"})
    with pytest.raises(StateError, match="is a state of watches, no mirror: pass another path"):
        await MirrorStore.open(f"sqlite:///{path}")
    await (await MirrorStore.open(f"sqlite:///{tmp_path / 'mirror.db'}")).aclose()
    async with SQLiteState(tmp_path / "mirror.db") as state:
        with pytest.raises(StateError, match="is a mirror, no state of watches"):
            await state.load("watch")


def test_the_versions_run_on_a_plain_connection(database_url: str) -> None:
    """They do no more than what SQLAlchemy's own connections do; run twice, they do nothing."""
    engine = create_engine(parse_url(database_url).set(drivername=_PLAIN[database_url[:6]]))
    try:
        for was_present in (False, True):
            with engine.begin() as connection:
                assert migrations.is_present(connection, "here") == was_present
                migrations.migrate(connection, "here")
    finally:
        engine.dispose()


def test_a_state_of_watches_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    """A plain connection to it shows the same as the mirror's own."""
    path = tmp_path / "state.db"
    with contextlib.closing(sqlite3.connect(path)) as made:
        made.execute(f"PRAGMA application_id = {FileKind.STATE.application}")
    engine = create_engine(f"sqlite:///{path}")
    try:
        with engine.begin() as connection, pytest.raises(StateError, match="a state of watches"):
            migrations.migrate(connection, "here")
    finally:
        engine.dispose()


_PLAIN = {"sqlite": "sqlite", "postgr": "postgresql+psycopg"}
"""The drivers of plain connections, by the beginning of an url."""


@pytest.mark.parametrize("theirs", ["TABLE links (id integer)", "VIEW {} AS SELECT 1 AS one"])
async def test_names_of_another_application_in_postgres_are_not_taken(
    postgres_url: str, theirs: str
) -> None:
    """Their tables and views stay; other tables beside ours are as usual as in any database."""
    name = next(iter(VIEWS["postgresql"]))
    with connected(postgres_url) as connection:
        connection.execute(text(f"CREATE {theirs.format(name)}"))
        connection.execute(text("CREATE TABLE customers (id integer)"))
        before = inspect(connection).get_table_names(), inspect(connection).get_view_names()
    with pytest.raises(StateError, match=f"has (links|{name}) there: create a database") as caught:
        await MirrorStore.open(postgres_url)
    assert not caught.value.may_pass
    with connected(postgres_url) as connection:
        found = inspect(connection)
        assert (found.get_table_names(), found.get_view_names()) == before
        what = "TABLE links" if "links" in theirs else f"VIEW {name}"
        connection.execute(text(f"DROP {what}"))
    await (await MirrorStore.open(postgres_url)).aclose()


async def test_the_log_is_not_told_of_each_opening(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A program that logs at INFO reads of a migration, and nothing when there is none."""
    await (await MirrorStore.open(database_url)).aclose()
    with caplog.at_level("INFO"):
        await (await MirrorStore.open(database_url)).aclose()
    assert not caplog.records

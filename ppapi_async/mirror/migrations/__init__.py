"""The version of the tables: each database is brought from its own to this one.

Alembic has the versions and runs them; `versions/` has a file for each. There is no `alembic.ini`
and no `env.py`: what would be global there is passed along, so that two mirrors of one process can
be opened at once. Views and comments are of no version: they are made anew after each migration.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, column, inspect, select, table
from sqlalchemy.schema import DDLElement, SetColumnComment, SetTableComment

from ppapi_async.errors import StateError
from ppapi_async.mirror.schema import metadata
from ppapi_async.mirror.views import VIEWS

__all__ = ["VERSION_TABLE", "check_present", "is_present", "migrate", "missing_error"]

VERSION_TABLE = "ppapi_mirror_version"
"""Alembic's own name may be that of another program in the same database."""
_LOCK = int.from_bytes(b"ppmirror")
"""Of PostgreSQL's advisory locks: of several workers that start at once one migrates."""
_APPLICATION = int.from_bytes(b"ppam")
_STATE = int.from_bytes(b"ppas")
"""What SQLite files call the applications that they are of: the mirror, and `SQLiteState`."""


def is_present(connection: Connection, shown: str) -> bool:
    """Tell whether the tables are of this version.

    Raises:
        StateError: they are of a later one.
    """
    version = _version(connection)
    scripts = _scripts()
    head = scripts.get_current_head()
    if version is not None and version != head:
        _check_known(scripts, version, shown)
    return version == head


def check_present(connection: Connection, shown: str) -> None:
    """Refuse tables that are not of this version, before they are read.

    Raises:
        StateError: they are not, or there are none.
    """
    if connection.dialect.name == "sqlite":
        _check_file(connection, shown)
    if not is_present(connection, shown):
        raise StateError(
            f"the mirror {shown} has no tables, or those of an earlier version: bring it up to date"
            " with sync first"
        )


def migrate(connection: Connection, shown: str) -> None:
    """Bring the tables to this version, in the transaction that is under way.

    Raises:
        StateError: they are of a later version, or the database is none for a mirror.
    """
    is_sqlite = connection.dialect.name == "sqlite"
    if is_sqlite:
        _take_file(connection, shown)
    else:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
    if is_present(connection, shown):
        return  # another has brought them there meanwhile
    for view in VIEWS[connection.dialect.name]:
        connection.exec_driver_sql(f"DROP VIEW IF EXISTS {view}")
    scripts = _scripts()
    context = MigrationContext.configure(
        connection,
        opts={
            "version_table": VERSION_TABLE,
            "fn": lambda version, _: scripts._upgrade_revs("head", version),  # noqa: SLF001 - as its own commands do
        },
    )
    context.run_migrations(op=Operations(context))
    for view, query in VIEWS[connection.dialect.name].items():
        connection.exec_driver_sql(f"CREATE VIEW {view} AS {query}")
    if not is_sqlite:
        for comment in _comments():
            connection.execute(comment)


def missing_error(shown: str) -> StateError:
    """Return what says that the tables are not of this version, and are not to be made so."""
    return StateError(
        f"the mirror {shown} has no tables, or those of an earlier version: open it once with"
        " migrate=True"
    )


def _scripts() -> ScriptDirectory:
    return ScriptDirectory(str(Path(__file__).parent))


def _version(connection: Connection) -> str | None:
    # Alembic would tell the log about itself, whenever a mirror is opened.
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    found: str | None = connection.scalar(
        select(column("version_num")).select_from(table(VERSION_TABLE))
    )
    return found


def _check_known(scripts: ScriptDirectory, version: str, shown: str) -> None:
    if version not in {one.revision for one in scripts.walk_revisions()}:
        raise StateError(
            f"the mirror {shown} is of version {version}, which this ppapi_async does not know:"
            " upgrade ppapi_async, or pass another database"
        )


def _check_file(connection: Connection, shown: str) -> int:
    """Refuse a file of another of our kinds; return which it is, 0 where it does not say."""
    application: int = connection.exec_driver_sql("PRAGMA application_id").scalar_one()
    if application == _STATE:
        raise StateError(f"{shown} is a state of watches, no mirror: pass another path")
    return application


def _take_file(connection: Connection, shown: str) -> None:
    """Refuse a file of another of our kinds, and say in it what it is."""
    if not _check_file(connection, shown):
        connection.exec_driver_sql(f"PRAGMA application_id = {_APPLICATION}")


def _comments() -> Iterator[DDLElement]:
    for one in metadata.sorted_tables:
        yield SetTableComment(one)
        yield from map(SetColumnComment, one.columns)

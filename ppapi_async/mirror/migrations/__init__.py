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
from ppapi_async.storage.file_kind import LIST_NAMES, READ_APPLICATION, FileKind

__all__ = ["VERSION_TABLE", "check_present", "is_present", "migrate", "missing_error"]

VERSION_TABLE = "ppapi_mirror_version"
"""Alembic's own name may be that of another program in the same database."""
_LOCK = int.from_bytes(b"ppmirror")
"""Of PostgreSQL's advisory locks: of several workers that start at once one migrates."""


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
        _check_file(connection, shown)
        connection.exec_driver_sql(f"PRAGMA application_id = {FileKind.MIRROR.application}")
    else:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
    if is_present(connection, shown):
        return  # another has brought them there meanwhile
    if not is_sqlite and _version(connection) is None:
        _check_names(connection, shown)
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
            " upgrade ppapi_async, or pass another database",
            may_pass=False,
        )


def _check_file(connection: Connection, shown: str) -> None:
    """Refuse a file that is something else than a mirror."""
    application: int = connection.exec_driver_sql(READ_APPLICATION).scalar_one()
    names = connection.exec_driver_sql(LIST_NAMES).scalars().all()
    FileKind.MIRROR.is_empty(shown, application, names)


def _check_names(connection: Connection, shown: str) -> None:
    """Refuse a database whose own tables and views stand where those of a new mirror would.

    Raises:
        StateError: some do. Nothing of theirs is dropped or written to.
    """
    found = inspect(connection)
    theirs = {*found.get_table_names(), *found.get_view_names()}
    theirs |= set(found.get_materialized_view_names())
    if clashes := sorted(theirs & {*metadata.tables, *VIEWS[connection.dialect.name]}):
        raise StateError(
            f"the mirror {shown}: another application has {', '.join(clashes)} there: create a"
            " database for the mirror, and pass its url",
            may_pass=False,
        )


def _comments() -> Iterator[DDLElement]:
    for one in metadata.sorted_tables:
        yield SetTableComment(one)
        yield from map(SetColumnComment, one.columns)

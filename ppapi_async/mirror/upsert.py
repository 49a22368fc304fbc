"""Inserts that pass over rows whose key is there, in both databases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

__all__ = ["insert_or_update", "insert_unless_known"]


async def insert_unless_known(
    connection: AsyncConnection, table: Table, rows: Sequence[Mapping[str, object]]
) -> None:
    """Put rows in; what is there already stays as it is."""
    if rows:
        statement = _insert(connection, table).on_conflict_do_nothing()
        await connection.execute(statement, rows)


async def insert_or_update(
    connection: AsyncConnection,
    table: Table,
    rows: Sequence[Mapping[str, object]],
    updated: Sequence[str],
) -> None:
    """Put rows in; of those that are there already, give these columns their new values."""
    if rows:
        statement = _insert(connection, table)
        statement = statement.on_conflict_do_update(
            index_elements=list(table.primary_key),
            set_={name: statement.excluded[name] for name in updated},
        )
        await connection.execute(statement, rows)


def _insert(connection: AsyncConnection, table: Table) -> sqlite.Insert | postgresql.Insert:
    is_sqlite = connection.dialect.name == "sqlite"
    return sqlite.insert(table) if is_sqlite else postgresql.insert(table)

"""How the accounts of a mirror stand: counted by the database, for metrics and health checks."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Executable, func, literal, select, union_all

from ppapi_async.account import Account
from ppapi_async.mirror.records import MirrorStanding
from ppapi_async.mirror.schema import ROWS, coverage, unreadable
from ppapi_async.mirror.schema import accounts as account_table
from ppapi_async.mirror.store import MirrorStore

__all__ = ["standings"]


async def standings(store: MirrorStore, accounts: Iterable[Account]) -> dict[str, MirrorStanding]:
    """Return how accounts stand in the database, by name, all at one moment.

    Raises:
        StateError: the database could not be read.
    """
    async with store.connect() as connection:
        known = {row.name: row for row in await connection.execute(select(account_table))}
        counts: dict[tuple[int, str], int] = {}
        for account, what, count in await connection.execute(_counts()):
            counts[account, what] = count
    found: dict[str, MirrorStanding] = {}
    for one in accounts:
        row = known.get(one.name)
        number = -1 if row is None else row.account
        found[one.name] = MirrorStanding(
            host=one.host,
            rows={name: counts.get((number, name), 0) for name in ROWS},
            last_synced=None if row is None else row.last_synced,
            unreadable=counts.get((number, "unreadable"), 0),
            holes=counts.get((number, "holes"), 0),
        )
    return found


def _counts() -> Executable:
    """Return the statement that counts rows, unreadable ones and holes, by account.

    Of the tables of rows an index is read, not the rows.
    """
    rows = [
        select(table.c.account, literal(name), func.count()).group_by(table.c.account)
        for name, table in {**ROWS, "unreadable": unreadable}.items()
    ]
    place = coverage.c.account, coverage.c.resource
    before = func.lag(coverage.c.end).over(partition_by=place, order_by=coverage.c.end)
    ranges = select(coverage.c.account, coverage.c.start, before.label("before")).subquery()
    holes = (
        select(ranges.c.account, literal("holes"), func.count())
        .where(ranges.c.start > ranges.c.before)
        .group_by(ranges.c.account)
    )
    return union_all(*rows, holes)

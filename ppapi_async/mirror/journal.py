"""The table `changes`: written once, in order, and read as `MirrorChange`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import cast

from attrs import frozen
from sqlalchemy import Row, Select, func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from ppapi_async.mirror.records import MirrorChange
from ppapi_async.mirror.rows import KINDS, dump, load
from ppapi_async.mirror.schema import changes
from ppapi_async.models import Info
from ppapi_async.transport.fairness import let_others_run
from ppapi_async.watching.changes import ChangeKind
from ppapi_async.watching.resources import Record, ResourceName

__all__ = [
    "JOURNAL",
    "NewChange",
    "change_of",
    "cursor_of",
    "follow_restore",
    "revision_of",
    "write_changes",
]

_AT_ONCE = 100
JOURNAL: Select[tuple[int, int, int, str, int, str, datetime, list[str], str, str]] = select(
    changes.c.tx,
    changes.c.revision,
    changes.c.account,
    changes.c.resource,
    changes.c.id,
    changes.c.kind,
    changes.c.seen_at,
    changes.c.fields,
    changes.c.before,
    changes.c.after,
)
"""What `change_of` needs of a row of the table."""


@frozen
class NewChange:
    """A change that is to be written."""

    kind: ChangeKind
    id: int | None
    record: Record
    """How it is after the change; of what is gone, how it was last."""
    previous: Record | None = None
    fields: tuple[str, ...] = ()


async def write_changes(
    connection: AsyncConnection,
    account: int,
    name: str,
    resource: ResourceName,
    news: Sequence[NewChange],
    seen_at: datetime,
) -> tuple[MirrorChange[Record], ...]:
    """Write changes, and return them as they are handed out, in order.

    What is written of one resource of one account is in order of its revisions, for the fence has
    only one transaction at a time write it.
    """
    if not news:
        return ()
    tx, revisions = await _reserve(connection, len(news))
    made = []
    for first in range(0, len(news), _AT_ONCE):
        some = news[first : first + _AT_ONCE]
        rows = []
        for revision, change in zip(revisions[first:], some, strict=False):
            is_gone = change.kind is ChangeKind.GONE
            before = change.record if is_gone else change.previous
            rows.append(
                {
                    "revision": revision,
                    "tx": tx,
                    "account": account,
                    "resource": resource,
                    "id": change.id,
                    "kind": change.kind.value,
                    "seen_at": seen_at,
                    "fields": list(change.fields),
                    "before": None if before is None else dump(before),
                    "after": None if is_gone else dump(change.record),
                }
            )
            made.append(
                MirrorChange(
                    kind=change.kind,
                    account=name,
                    resource=resource,
                    id=change.id,
                    record=change.record,
                    previous=before,
                    fields=change.fields,
                    seen_at=seen_at,
                    cursor=cursor_of(tx, revision),
                )
            )
        await connection.execute(insert(changes), rows)
        await let_others_run()
    return tuple(made)


async def _reserve(connection: AsyncConnection, count: int) -> tuple[int, list[int]]:
    """Return the number of the transaction, and so many revisions."""
    if connection.dialect.name == "sqlite":  # nobody else writes, and nothing is ever deleted
        last = await connection.scalar(select(func.coalesce(func.max(changes.c.revision), 0)))
        return 0, [(last or 0) + one for one in range(1, count + 1)]
    result = await connection.execute(
        text(
            "SELECT CAST(CAST(pg_current_xact_id() AS text) AS bigint),"
            " nextval(pg_get_serial_sequence('changes', 'revision'))"
            " FROM generate_series(1, :count)"
        ),
        {"count": count},
    )
    rows = result.all()
    return rows[0][0], [row[1] for row in rows]


async def follow_restore(connection: AsyncConnection) -> None:
    """Put changes of a server that was left behind before all that are still to come.

    A dump that is restored on another server has higher numbers of transactions than that server
    has given yet. Readers would wait for them, and miss what is written until they are reached.
    """
    if connection.dialect.name == "postgresql":
        future = "tx >= CAST(CAST(pg_snapshot_xmax(pg_current_snapshot()) AS text) AS bigint)"
        await connection.execute(
            text(
                "UPDATE changes SET tx = 0"  # noqa: S608 - our own words
                f" WHERE tx > 0 AND EXISTS (SELECT FROM changes WHERE {future})"
            )
        )


def cursor_of(tx: int, revision: int) -> str:
    """Return where a change stands among all, as `MirrorChange` has it."""
    return f"{tx}.{revision}"


def revision_of(change: MirrorChange[Record]) -> int:
    """Return the number of a change."""
    return int(change.cursor.rpartition(".")[2])


def change_of(
    row: Row[tuple[int, int, int, str, int, str, datetime, list[str], str, str]], account: str
) -> MirrorChange[Record]:
    """Return the change that a row of `JOURNAL` is; `account` is the account's name."""
    kind: type[Record] = KINDS.get(row.resource, Info)
    before = None if row.before is None else load(row.before, kind)
    after = None if row.after is None else load(row.after, kind)
    return MirrorChange(
        kind=ChangeKind(row.kind),
        account=account,
        resource=cast("ResourceName", row.resource),
        id=row.id,
        record=cast("Record", before if after is None else after),
        previous=before,
        fields=tuple(row.fields),
        seen_at=row.seen_at,
        cursor=cursor_of(row.tx, row.revision),
    )

"""What get_info says, in the table `balances`: a row for each change."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from attrs import asdict, evolve
from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from ppapi_async.mirror.journal import NewChange, write_changes
from ppapi_async.mirror.records import MirrorChange
from ppapi_async.mirror.rows import differing, load
from ppapi_async.mirror.schema import balances, changes
from ppapi_async.models import Info, PayoutMethod
from ppapi_async.watching.changes import ChangeKind
from ppapi_async.watching.resources import INFO, Record

__all__ = ["write_info"]


async def write_info(
    connection: AsyncConnection, account: int, name: str, info: Info, seen_at: datetime
) -> tuple[MirrorChange[Record], ...]:
    """Write the info if it is news: what a method would pay moves with every rate, and is none."""
    columns = changes.c
    question = select(columns.after).where(columns.account == account, columns.resource == INFO)
    last = await connection.scalar(question.order_by(columns.revision.desc()).limit(1))
    previous = None if last is None else load(last, Info)
    fields = () if previous is None else _news(info, previous)
    if previous is not None and not fields:
        return ()
    kind = ChangeKind.NEW if previous is None else ChangeKind.CHANGED
    news = NewChange(kind=kind, id=None, record=info, previous=previous, fields=fields)
    written = await write_changes(connection, account, name, INFO, [news], seen_at)
    row = {
        "account": account,
        "revision": int(written[0].cursor.partition(".")[2]),
        "seen_at": seen_at,
        "balance": info.balance,
        "min_payout": info.min_payout,
        "partner_id": info.partner_id,
        "items": [{**asdict(one), "extra": dict(one.extra)} for one in info.items],
        "extra": dict(info.extra) or None,
    }
    await connection.execute(insert(balances).values(row))
    return written


def _news(info: Info, previous: Info) -> tuple[str, ...]:
    same_methods = _methods(info) == _methods(previous)
    fields = differing(info, previous)
    return tuple(name for name in fields if name != "items" or not same_methods)


def _methods(info: Info) -> list[PayoutMethod]:
    return [evolve(method, amount=Decimal()) for method in info.items]

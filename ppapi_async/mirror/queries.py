"""What has changed, and what has been earned: read from the database, exactly."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Generic, Literal, TypeAlias, TypeVar, cast, overload

from attrs import define
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Date,
    Executable,
    Text,
    case,
    func,
    or_,
    select,
    tuple_,
)
from sqlalchemy import cast as sql_cast
from sqlalchemy.ext.asyncio import AsyncConnection

from ppapi_async._validation import Instant, instant, names_of
from ppapi_async.mirror.journal import JOURNAL, change_of
from ppapi_async.mirror.records import MirrorChange, RewardSum
from ppapi_async.mirror.schema import accounts as account_table
from ppapi_async.mirror.schema import changes as change_table
from ppapi_async.mirror.schema import exchanges
from ppapi_async.mirror.store import MirrorStore
from ppapi_async.mirror.types import Money
from ppapi_async.mirror.views import CANCELLED
from ppapi_async.models import Exchange, Info, Link, Payout
from ppapi_async.streaming.iteration import Iteration
from ppapi_async.watching.resources import Record, ResourceName, resources_of

__all__ = ["Changes", "changes", "rewards"]

RecordT = TypeVar("RecordT", bound=Link | Exchange | Payout | Info)
_Group: TypeAlias = Literal["day", "account"]
_BATCH = 200
"""Changes that are read at once, and held in memory."""
_CURSOR = re.compile(r"([0-9]{1,19})\.([0-9]{1,19})")
_TOO_MANY = 2**63
_GROUPS: tuple[_Group, ...] = ("day", "account")


@define(eq=False, repr=False)
class Changes(Iteration, Generic[RecordT]):
    """The changes that the mirror has seen, in order, up to the present: iterate it once.

    No transaction stays open, and no connection is held, while the consumer has a change in hand.
    Leaving the loop early is fine; whoever keeps this can also close it with `aclose` or
    `async with`.
    """

    _store: MirrorStore
    _resources: tuple[str, ...]
    _since: datetime | tuple[int, int] | None
    _accounts: Collection[str] | None

    def __repr__(self) -> str:
        return f"<Changes of {', '.join(self._resources)}>"

    def __aiter__(self) -> AsyncIterator[MirrorChange[RecordT]]:
        """Iterate over the changes.

        Raises:
            StateError: the database could not be read.
        """
        return self._start(self._read)

    async def _read(self) -> AsyncGenerator[list[MirrorChange[RecordT]], None]:
        after = self._since
        while True:
            async with self._store.connect() as connection:
                if after is self._since and isinstance(after, tuple):
                    after = await _as_it_is_now(connection, *after)
                statement = self._statement(after, connection.dialect.name)
                rows = (await connection.execute(statement)).all()
            if not rows:
                return
            after = rows[-1].tx, rows[-1].revision
            yield [cast("MirrorChange[RecordT]", change_of(row, row.name)) for row in rows]

    def _statement(self, after: datetime | tuple[int, int] | None, dialect: str) -> Executable:
        table = change_table.c
        wanted: list[ColumnElement[bool]] = []
        if len(self._resources) < 4:
            wanted.append(table.resource.in_(self._resources))
        if self._accounts is not None:
            wanted.append(account_table.c.name.in_(self._accounts))
        if isinstance(self._since, datetime):
            wanted.append(table.seen_at >= self._since)
        if isinstance(after, tuple):
            wanted.append(tuple_(table.tx, table.revision) > tuple_(*after))
        if dialect == "postgresql":
            # Revisions are given before they are committed, so that a smaller one may come to light
            # after a greater one. Below the oldest transaction under way all has come to light.
            oldest = func.pg_snapshot_xmin(func.pg_current_snapshot())
            wanted.append(table.tx < sql_cast(sql_cast(oldest, Text), BigInteger))
        return (
            JOURNAL.add_columns(account_table.c.name)
            .join(account_table, account_table.c.account == table.account)
            .where(*wanted)
            .order_by(table.tx, table.revision)
            .limit(_BATCH)
        )


async def _as_it_is_now(connection: AsyncConnection, tx: int, revision: int) -> tuple[int, int]:
    """Return where the change of a cursor stands.

    A database that was restored on another server has other numbers of transactions, and the
    store has begun anew with them: the change itself is still there.
    """
    table = change_table.c
    stands = await connection.scalar(select(table.tx).where(table.revision == revision))
    return tx if stands is None else stands, revision


@overload
def changes(
    store: MirrorStore,
    resource: Literal["links"],
    /,
    *,
    since: Instant | str = None,
    accounts: Collection[str] | None = None,
) -> Changes[Link]: ...
@overload
def changes(
    store: MirrorStore,
    resource: Literal["exchanges"],
    /,
    *,
    since: Instant | str = None,
    accounts: Collection[str] | None = None,
) -> Changes[Exchange]: ...
@overload
def changes(
    store: MirrorStore,
    resource: Literal["payouts"],
    /,
    *,
    since: Instant | str = None,
    accounts: Collection[str] | None = None,
) -> Changes[Payout]: ...
@overload
def changes(
    store: MirrorStore,
    resource: Literal["info"],
    /,
    *,
    since: Instant | str = None,
    accounts: Collection[str] | None = None,
) -> Changes[Info]: ...
@overload
def changes(
    store: MirrorStore,
    /,
    *resources: ResourceName,
    since: Instant | str = None,
    accounts: Collection[str] | None = None,
) -> Changes[Record]: ...
def changes(
    store: MirrorStore,
    /,
    *resources: ResourceName,
    since: Instant | str = None,
    accounts: Collection[str] | None = None,
) -> Changes[Link] | Changes[Exchange] | Changes[Payout] | Changes[Info] | Changes[Record]:
    """Return the changes of these resources, of all without any, up to the present.

    They come in the order of their transactions, so that a reader who goes on after the last
    cursor misses none, whoever else writes meanwhile. Rows that the first reading of an account
    finds are no changes.

    Args:
        store: the mirror's database.
        resources: "links", "exchanges", "payouts", "info".
        since: the cursor of a change, to go on right after it; an aware datetime or unix seconds,
            for what the mirror has seen since then; None: from the beginning.
        accounts: only of these names.

    Raises:
        ValueError: an argument is not usable.
        TypeError: the same.
    """
    after = _cursor(since) if isinstance(since, str) else instant(since, "since")
    return Changes(store, resources_of(resources), after, names_of(accounts, "accounts"))


def _cursor(since: str) -> tuple[int, int]:
    found = _CURSOR.fullmatch(since)
    tx, revision = (int(number) for number in found.groups()) if found else (_TOO_MANY, 0)
    if max(tx, revision) >= _TOO_MANY:
        raise ValueError("since: pass the cursor of a MirrorChange, or an instant")
    return tx, revision


async def rewards(
    store: MirrorStore,
    by: Collection[_Group] = _GROUPS,
    *,
    start: Instant = None,
    end: Instant = None,
    accounts: Collection[str] | None = None,
) -> list[RewardSum]:
    """Return the rewards of exchanges, added up exactly.

    Exchanges that the site lists no more count in `gone` and `gone_accrued` only. Each site has a
    base currency of its own, which the API does not name: a sum over several accounts makes sense
    only where you know theirs to be the same.

    Args:
        store: the mirror's database.
        by: "day" (by UTC), "account", both, or none of them for one sum.
        start: exchanges from then on; None: from the beginning.
        end: exchanges before it; None: all.
        accounts: only of these names.

    Raises:
        ValueError: an argument is not usable.
        TypeError: the same.
        StateError: the database could not be read.
    """
    if isinstance(by, str) or not set(by) <= set(_GROUPS):
        raise ValueError("by: pass any of 'day' and 'account' in a tuple")
    names = names_of(accounts, "accounts")
    first, last = instant(start, "start"), instant(end, "end")
    wanted: list[ColumnElement[bool]] = []
    if first is not None:
        wanted.append(exchanges.c.time >= first)
    if last is not None:
        wanted.append(exchanges.c.time < last)
    if names is not None:
        wanted.append(account_table.c.name.in_(names))
    async with store.connect() as connection:
        dialect = connection.dialect.name
        rows = (await connection.execute(_sums(by, dialect, wanted))).all()
    return [
        RewardSum(
            day=_as_date(row.day) if "day" in by else None,
            account=row.account if "account" in by else None,
            exchanges=row.exchanges,
            completed=row.completed,
            accrued=row.accrued or Decimal(),
            forecast=row.forecast or Decimal(),
            gone=row.gone,
            gone_accrued=row.gone_accrued or Decimal(),
        )
        for row in rows
    ]


def _sums(
    by: Collection[_Group], dialect: str, wanted: Sequence[ColumnElement[bool]]
) -> Executable:
    table = exchanges.c
    # SQLite has a function of the same name for floats only: ours is on the mirror's connections.
    total = func.sum if dialect == "postgresql" else func.decimal_sum
    is_there = table.gone_at.is_(None)
    may_be = or_(table.status.is_(None), table.status.not_in(CANCELLED))

    def added(condition: ColumnElement[bool]) -> ColumnElement[Decimal]:
        return total(case((condition, table.partner_reward)), type_=Money)

    def counted(condition: ColumnElement[bool]) -> ColumnElement[int]:
        return func.count(case((condition, 1)))

    groups: list[ColumnElement[object]] = []
    if "day" in by:
        groups.append(_day(dialect).label("day"))
    if "account" in by:
        groups.append(account_table.c.name.label("account"))
    return (
        select(
            *groups,
            counted(is_there).label("exchanges"),
            counted(is_there & table.exchange_success).label("completed"),
            added(is_there & table.accrued).label("accrued"),
            added(is_there & ~table.accrued & may_be).label("forecast"),
            counted(~is_there).label("gone"),
            added(~is_there & table.accrued).label("gone_accrued"),
        )
        .select_from(exchanges.join(account_table, account_table.c.account == table.account))
        .where(*wanted)
        .group_by(*groups)
        .order_by(*groups)
    )


def _day(dialect: str) -> ColumnElement[object]:
    """Return the day of an exchange, by UTC."""
    if dialect == "postgresql":
        return sql_cast(func.timezone("UTC", exchanges.c.time), Date)
    return func.substr(exchanges.c.time, 1, 10, type_=Text)


def _as_date(value: date | str | None) -> date | None:
    return date.fromisoformat(value) if isinstance(value, str) else value

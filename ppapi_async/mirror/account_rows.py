"""Which account of the database an account is: the same, renamed, moved, or a new one."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from ppapi_async.account import Account
from ppapi_async.errors import StateError
from ppapi_async.mirror.schema import account_fingerprints, accounts
from ppapi_async.mirror.upsert import insert_unless_known

__all__ = ["find_account", "known_account", "noted_account"]

_LOCK = 0x70706170695F6163
"""Of the database: held while an account is looked up, and written where it is new."""


async def known_account(connection: AsyncConnection, account: Account) -> int | None:
    """Return the number of an account of which nothing has changed; None if anything has."""
    columns = accounts.c
    name, host = columns.name, columns.host
    question = select(columns.account, name, host, columns.timezone, columns.dialect).join_from(
        account_fingerprints, accounts
    )
    fingerprints = (account.fingerprint, *account.former_fingerprints)
    found = await connection.execute(
        question.where(account_fingerprints.c.fingerprint.in_(fingerprints))
    )
    values = _values(account)
    rows = [tuple(row) for row in found]
    number: int | None = rows[0][0] if rows else None
    return number if rows == [(number, *values.values())] * len(fingerprints) else None


async def noted_account(connection: AsyncConnection, account: Account) -> int | None:
    """Return the number of an account, whatever has changed of it; None if it is new.

    Raises:
        StateError: the fingerprints are those of two accounts.
    """
    numbers = await _known(connection, (account.fingerprint, *account.former_fingerprints))
    if len(numbers) > 1:
        raise await _two_accounts(connection, account, numbers)
    return next(iter(numbers), None)


async def find_account(connection: AsyncConnection, account: Account, now: datetime) -> int:
    """Return the number of an account, and note its name and where it is now.

    It is found by any of its fingerprints: by that of its name, or of its url and key. Nothing is
    guessed: where they say different things, a person has to say what is true.

    Raises:
        StateError: the fingerprints are those of two accounts, or the name is another's.
    """
    if connection.dialect.name == "postgresql":
        # Two workers that start at once would both find that it is new.
        await connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
    fingerprints = (account.fingerprint, *account.former_fingerprints)
    numbers = await _known(connection, fingerprints)
    holder = await connection.scalar(
        select(accounts.c.account).where(accounts.c.name == account.name)
    )
    if len(numbers) > 1:
        raise await _two_accounts(connection, account, numbers)
    number = next(iter(numbers), None)
    if holder is not None and holder != number:
        raise StateError(
            f"the mirror has another account called {account.name}, of another url or key: give"
            " one of them a name of its own, Account(…, name=…)",
            account=account.name,
        )
    values = _values(account)
    if number is None:
        new = insert(accounts).values(**values, first_seen=now).returning(accounts.c.account)
        number = (await connection.execute(new)).scalar_one()
    else:
        await connection.execute(
            update(accounts).where(accounts.c.account == number).values(values)
        )
    rows = [{"fingerprint": one, "account": number} for one in fingerprints]
    await insert_unless_known(connection, account_fingerprints, rows)
    return number


def _values(account: Account) -> dict[str, object]:
    return {
        "name": account.name,
        "host": account.host,
        "timezone": account.timezone,
        "dialect": None if account.dialect is None else account.dialect.value,
    }


async def _known(connection: AsyncConnection, fingerprints: tuple[str, ...]) -> set[int]:
    columns = account_fingerprints.c
    question = select(columns.account).where(columns.fingerprint.in_(fingerprints))
    return set((await connection.scalars(question)).all())


async def _two_accounts(
    connection: AsyncConnection, account: Account, numbers: set[int]
) -> StateError:
    question = select(accounts.c.name).where(accounts.c.account.in_(numbers))
    names = sorted((await connection.scalars(question.order_by(accounts.c.name))).all())
    return StateError(
        f"{account.name} is two accounts of the mirror, {' and '.join(names)}: by its name it is"
        " one, by its url and key the other; give it another name, or mirror into another database",
        account=account.name,
    )

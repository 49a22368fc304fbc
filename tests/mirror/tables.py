"""Rows put into the tables by hand, as no reading would bring them together, and read by SQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal

from sqlalchemy import Connection, Engine, create_engine, insert, text

from ppapi_async.mirror.schema import accounts, balances, changes, exchanges, links, payouts

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


@contextmanager
def connected(url: str) -> Iterator[Connection]:
    """Give a connection such as any program would have; what it does is committed."""
    engine: Engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def asked(connection: Connection, statement: str) -> list[dict[str, object]]:
    """Return the rows of a query that a user writes."""
    return [dict(row) for row in connection.execute(text(statement)).mappings()]


def put_account(connection: Connection, number: int, name: str) -> None:
    """Put in an account."""
    row = {"account": number, "name": name, "host": "site.example", "timezone": "UTC"}
    connection.execute(insert(accounts), [row | {"first_seen": NOON}])


_SEEN: dict[str, object] = {"first_seen": NOON, "last_seen": NOON, "gone_at": None}


def put_exchange(connection: Connection, row_id: int, reward: str, **values: object) -> None:
    """Put in an order of account 1, not accrued unless told."""
    row: dict[str, object] = {
        "account": 1,
        "id": row_id,
        "time": NOON,
        "amount_give": Decimal(1),
        "amount_get": Decimal(1),
        "exchange_success": False,
        "accrued": False,
        "partner_reward": Decimal(reward),
        "date": "",
        "currency_code_give": "BTC",
        "currency_code_get": "USDT",
        "user_hash": "",
        "status": None,
    }
    connection.execute(insert(exchanges), [row | _SEEN | values])


def put_link(connection: Connection, row_id: int, time: datetime, **values: object) -> None:
    """Put in a click at account 1."""
    row: dict[str, object] = {"account": 1, "id": row_id, "time": time, "date": "", "browser": ""}
    row |= {"referrer": "", "user_hash": "", "query_string": ""}
    connection.execute(insert(links), [row | _SEEN | values])


def put_payout(connection: Connection, row_id: int, amount: str, **values: object) -> None:
    """Put in a payout of account 1, in USD and waiting unless told."""
    row: dict[str, object] = {
        "account": 1,
        "id": row_id,
        "time": NOON,
        "method_id": 11,
        "wallet": "TX",
        "pay_amount": Decimal(amount),
        "original_amount": Decimal(amount),
        "status": "0",
        "date": "",
        "pay_currency_code": "USDT",
        "original_currency_code": "USD",
    }
    connection.execute(insert(payouts), [row | _SEEN | values])


def put_balance(connection: Connection, revision: int, balance: str, minimum: str = "10") -> None:
    """Put in what get_info told of account 1."""
    change = {"revision": revision, "tx": 0, "account": 1, "resource": "info", "kind": "changed"}
    connection.execute(insert(changes), [change | {"seen_at": NOON, "fields": []}])
    row = {"account": 1, "revision": revision, "seen_at": NOON, "balance": Decimal(balance)}
    connection.execute(insert(balances), [row | {"min_payout": Decimal(minimum), "items": []}])

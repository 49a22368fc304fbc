"""A source for dlt, which loads everything into any of its destinations; needs `ppapi-async[dlt]`.

>>> pipeline = dlt.pipeline("partner", destination="duckdb")         # doctest: +SKIP
>>> pipeline.run(ppapi_source(load_accounts("accounts.toml")))       # doctest: +SKIP

How far each account is stands in dlt's own state, which is loaded together with the rows: so a run
that fails anywhere loses nothing, and rows that come again are merged by account and id.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum
from types import UnionType
from typing import Any, TypeAlias, cast, get_args, get_type_hints

import attrs

try:
    import dlt
except ImportError as error:
    raise ImportError(f"dlt_source: needs dlt; pip install 'ppapi-async[dlt]' ({error})") from None

from ppapi_async._validation import Duration, Instant, check_callback, duration, instant
from ppapi_async.account import Account
from ppapi_async.errors import PPAPIError
from ppapi_async.fleet.fleet import Fleet
from ppapi_async.fleet.incremental import Bookmarks, ListResource, Reread, read_again
from ppapi_async.models import Exchange, Info, Link, Payout, PayoutStatus, Record
from ppapi_async.protocol.stored_text import amount_text, escape

__all__ = ["ppapi_source"]

OnFailed: TypeAlias = Callable[[str, PPAPIError], object]
_ROWS: Mapping[ListResource, type[Record]] = {
    "payouts": Payout,
    "exchanges": Exchange,
    "links": Link,
}
_RESOURCES = ("balances", *_ROWS)
_DIGITS, _PLACES = 38, 18
"""Of an amount, all in all and behind the point, as in `ppapi_async.arrow`."""
_SHOWN = 80
_TYPES: Mapping[object, dict[str, object]] = {
    int: {"data_type": "bigint"},
    str: {"data_type": "text"},
    bool: {"data_type": "bool"},
    datetime: {"data_type": "timestamp", "timezone": True},
    Decimal: {"data_type": "decimal", "precision": _DIGITS, "scale": _PLACES},
    PayoutStatus: {"data_type": "text"},
}
_resource: Any = dlt.resource  # its overloads know no columns that are made
_log = logging.getLogger("ppapi_async")


def ppapi_source(
    accounts: Iterable[Account] | Account,
    *,
    resources: Collection[str] = _RESOURCES,
    since: Instant = None,
    lookback: Duration = timedelta(days=30),
    status_history: bool = False,
    on_error: OnFailed | None = None,
    **fleet: Any,
) -> Any:
    """Return a source with the tables `balances`, `payouts`, `exchanges` and `links`.

    The first run reads everything, each later one what is new and what may have changed. Amounts
    are decimals of 38 digits, 18 of them behind the point; instants have a zone; `extra` and the
    history of an order are JSON. An account that fails is logged, and goes on in the next run.

    Args:
        accounts: of any number of sites; each needs a name of its own.
        resources: the tables that are wanted.
        since: where to begin; None: with the first row that a site has.
        lookback: how old a row may be and its changes are still looked for.
        status_history: ask for the histories of exchanges as well.
        on_error: called with the name of an account that has failed and why; what it raises ends
            the run, of which nothing is loaded then.
        fleet: more arguments, as for `Fleet`.

    Raises:
        ValueError: an argument is not usable.
        TypeError: the same.
    """
    if isinstance(resources, str) or not set(resources) <= {*_RESOURCES}:
        raise ValueError(f"resources: pass any of {', '.join(_RESOURCES)} in a tuple")
    check_callback(on_error, "on_error")
    known = [accounts] if isinstance(accounts, Account) else list(accounts)
    reread = Reread(
        since=instant(since, "since"),
        lookback=timedelta(seconds=_seconds(lookback)),
        status_history=status_history,
    )

    def fail(name: str, error: PPAPIError) -> None:
        _log.warning("%s; it goes on in the next run", error)
        if on_error is not None:
            on_error(name, error)

    def open_fleet() -> Fleet:
        return Fleet(known, **fleet)

    @dlt.source(name="ppapi")
    def source() -> list[Any]:
        made = [_balances(open_fleet, fail)] if "balances" in resources else []
        names = [name for name in _ROWS if name in resources]
        return made + [_table(name, open_fleet, reread, fail) for name in names]

    return source()


def _seconds(value: Duration) -> float:
    return duration(value, "lookback").total_seconds()


def _table(
    name: ListResource, open_fleet: Callable[[], Fleet], reread: Reread, fail: OnFailed
) -> Any:
    async def read(bookmarks: Bookmarks) -> AsyncGenerator[list[dict[str, object]], None]:
        async with open_fleet() as fleet:
            pieces = read_again(fleet, name, bookmarks, reread, now=datetime.now(UTC))
            async with contextlib.aclosing(pieces):
                async for account, rows in pieces:
                    if isinstance(rows, PPAPIError):
                        fail(account, rows)
                    else:
                        yield [row_of(row, account) for row in rows]

    def rows() -> Any:
        yield read(dlt.current.resource_state(name).setdefault("accounts", {}))

    return _resource(
        rows, name=name, primary_key=("account", "id"), write_disposition="merge",
        columns=columns_of(_ROWS[name]), max_table_nesting=0,
    )  # fmt: skip


def _balances(open_fleet: Callable[[], Fleet], fail: OnFailed) -> Any:
    async def read() -> AsyncGenerator[list[dict[str, object]], None]:
        async with open_fleet() as fleet:
            read_at = datetime.now(UTC)
            for account, info in (await fleet.get_info()).items():
                if isinstance(info, PPAPIError):
                    fail(account, info)
                else:
                    yield [row_of(info, account) | {"read_at": read_at}]

    columns = columns_of(Info) | {"read_at": {**_TYPES[datetime]}}
    return _resource(
        read, name="balances", primary_key="account", write_disposition="merge",
        columns=columns, max_table_nesting=0,
    )  # fmt: skip


def columns_of(kind: type[Record]) -> dict[str, dict[str, object]]:
    """Return what dlt is told of the columns of a table."""
    hints = get_type_hints(kind)
    found: dict[str, dict[str, object]] = {"account": {"data_type": "text"}}
    for one in attrs.fields(cast("type[attrs.AttrsInstance]", kind)):
        hint = hints[one.name]
        parts = [part for part in get_args(hint) if part is not type(None)]
        only = parts[0] if isinstance(hint, UnionType) else hint
        # A dict of its own each: dlt writes the column's name into it.
        found[_name_of(kind, one.name)] = {**_TYPES.get(only, {"data_type": "json"})}
    return found


def row_of(record: Record, account: str) -> dict[str, object]:
    """Return a record as dlt takes it; `account` is the account's name.

    Raises:
        PPAPIError: an amount has more digits than its column, which would round it.
    """
    kind = type(record)
    row: dict[str, object] = {"account": escape(account)}
    for one in attrs.fields(cast("type[attrs.AttrsInstance]", kind)):
        value = getattr(record, one.name)
        if isinstance(value, Decimal) and not _fits(value):
            of = getattr(record, "id", "")
            shown = amount_text(value)[:_SHOWN]
            raise PPAPIError(
                f"{one.name} of {of} is {shown}, which has more digits than its column, and is not"
                " rounded; leave the account out",
                account=account,
            )
        row[_name_of(kind, one.name)] = _value(value)
    return row


def _fits(amount: Decimal) -> bool:
    whole, _, places = amount_text(amount).lstrip("-").partition(".")
    return len(whole) <= _DIGITS - _PLACES and len(places.rstrip("0")) <= _PLACES


def _name_of(kind: type[Record], name: str) -> str:
    return "wallet" if kind is Payout and name == "account" else name


def _value(value: object) -> object:
    if isinstance(value, str):
        return escape(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping | tuple):
        return _document(value) if value else None
    return value


def _document(value: object) -> object:
    """Return JSON whose amounts are texts: readers make floats of numbers."""
    if isinstance(value, Record):
        return _document(value.to_dict())
    if isinstance(value, Decimal):
        return amount_text(value)
    if isinstance(value, Mapping):
        return {escape(name): _document(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_document(one) for one in value]
    return escape(value) if isinstance(value, str) else value

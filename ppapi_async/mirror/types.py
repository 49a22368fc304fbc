"""Column types: how instants, amounts, texts and JSON stand in a database. Exact both ways.

PostgreSQL has a type for each of them. SQLite has not: there an instant is a text of fixed width in
UTC, which sorts and which SQLite's own date functions take, and an amount is the text of its
digits, since SQLite's numbers with a fraction are floats.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import cast

from sqlalchemy import ColumnElement, DateTime, Dialect, Numeric, Text, type_coerce
from sqlalchemy import cast as sql_cast
from sqlalchemy.types import TypeDecorator, TypeEngine, UserDefinedType

from ppapi_async.models import Json
from ppapi_async.protocol import dump_stored
from ppapi_async.protocol.fields import parse_json
from ppapi_async.protocol.stored_text import (
    amount_text,
    escape,
    escape_json,
    unescape,
    unescape_json,
)

__all__ = [
    "EscapedText",
    "Instant",
    "JsonText",
    "Money",
    "amount_text",
    "dump_json",
    "escape",
    "escape_json",
    "fits_numeric",
    "instant_of",
    "instant_text",
    "load_json",
    "unescape",
    "unescape_json",
]

_BEFORE_POINT, _AFTER_POINT = 131_072, 16_383
"""Digits that PostgreSQL's NUMERIC takes."""


def dump_json(value: object) -> str:
    """Return JSON as a text that a database takes; amounts in it are numbers, digit by digit."""
    try:
        text = dump_stored(value)
        # Nearly all: no odd character, written out or as an escape of JSON's own.
        if "\\u0000" not in text and (text.isascii() or "\u241b" not in text):
            return text
    except UnicodeEncodeError:  # half of a surrogate pair
        pass
    return dump_stored(escape_json(value))


def load_json(text: str) -> Json:
    """Return the JSON that `dump_json` was given, with amounts as Decimals.

    Raises:
        ValueError: the text is no JSON.
    """
    value = parse_json(text.encode())
    return value if text.isascii() or "\u241b" not in text else unescape_json(value)


def instant_text(value: datetime) -> str:
    """Return an instant as SQLite has it: `2026-11-28 17:00:00.000000`, in UTC."""
    if value.tzinfo is not UTC:
        if value.tzinfo is None:
            raise ValueError("an instant has a zone: pass an aware datetime")
        value = value.astimezone(UTC)
    return value.isoformat(" ", "microseconds")[:26]


def instant_of(text: str) -> datetime:
    """Return the instant of such a text."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def fits_numeric(amount: Decimal) -> bool:
    """Tell whether an amount is a number that NUMERIC takes without changing its value."""
    if not amount.is_finite():
        return False
    exponent = cast("int", amount.as_tuple().exponent)
    return exponent >= -_AFTER_POINT and amount.adjusted() < _BEFORE_POINT


class Instant(TypeDecorator[datetime]):
    """An instant in UTC: timestamptz in PostgreSQL, a text of fixed width in SQLite."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[object]:
        """Return what it is in this database."""
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else self.impl_instance)

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | str | None:
        """Return an instant as the driver takes it."""
        if value is None or dialect.name != "sqlite":
            return value
        return instant_text(value)

    def process_result_value(self, value: object, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - SQLAlchemy's
        """Return the instant of what the driver hands out."""
        return instant_of(value) if isinstance(value, str) else cast("datetime | None", value)


class Money(TypeDecorator[Decimal]):
    """An exact amount: NUMERIC without bounds in PostgreSQL, the text of its digits in SQLite."""

    impl = Numeric
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[object]:
        """Return what it is in this database."""
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else self.impl_instance)

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> Decimal | str | None:
        """Return an amount as the driver takes it."""
        return amount_text(value) if value is not None and dialect.name == "sqlite" else value

    def process_result_value(self, value: object, dialect: Dialect) -> Decimal | None:  # noqa: ARG002 - SQLAlchemy's
        """Return the amount of what the driver hands out."""
        return Decimal(value) if isinstance(value, str) else cast("Decimal | None", value)


class EscapedText(TypeDecorator[str]):
    """Any text at all: what databases refuse in one is escaped, see `escape`."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002 - SQLAlchemy's
        """Return the text as it is stored."""
        return None if value is None else escape(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002 - SQLAlchemy's
        """Return the text of what is stored."""
        return None if value is None else unescape(value)


class _PostgresJson(UserDefinedType[str]):
    """JSON that PostgreSQL keeps as it is written, to the last digit."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        return "JSON"


class JsonText(TypeDecorator[Json]):
    """JSON, exact: json in PostgreSQL, text in SQLite. Amounts in it are Decimals."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[object]:
        """Return what it is in this database."""
        json: TypeEngine[str] = Text() if dialect.name == "sqlite" else _PostgresJson()
        return cast("TypeEngine[object]", dialect.type_descriptor(json))

    def column_expression(self, column: ColumnElement[Json]) -> ColumnElement[Json]:
        """Return how it is read: as text, or drivers would make floats of amounts."""
        return type_coerce(sql_cast(column, Text), self)

    def process_bind_param(self, value: object, dialect: Dialect) -> str | None:  # noqa: ARG002 - SQLAlchemy's
        """Return the JSON as it is stored."""
        return None if value is None else dump_json(value)

    def process_result_value(self, value: object, dialect: Dialect) -> Json:  # noqa: ARG002 - SQLAlchemy's
        """Return the JSON of what is stored; other engines than ours may have parsed it."""
        return load_json(value) if isinstance(value, str) else cast("Json", value)

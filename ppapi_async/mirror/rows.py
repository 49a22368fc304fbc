"""Records as rows of the database, and back: exact both ways, for SQLite and PostgreSQL.

Bulk statements go past SQLAlchemy's types, which would cost as much as the database: so a `Codec`
makes the very values that the driver takes. What they are is the same as in `types`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from operator import attrgetter
from types import UnionType
from typing import Generic, TypeAlias, TypeVar, cast, get_args, get_type_hints

import attrs
from attrs import evolve, frozen
from sqlalchemy import Table

from ppapi_async.mirror.schema import ROWS
from ppapi_async.mirror.types import (
    amount_text,
    dump_json,
    escape,
    escape_json,
    fits_numeric,
    instant_of,
    instant_text,
    load_json,
    unescape,
    unescape_json,
)
from ppapi_async.models import (
    Exchange,
    Json,
    Link,
    Payout,
    PayoutStatus,
    Record,
    extra_of,
)
from ppapi_async.protocol import dump_stored, parse_stored
from ppapi_async.protocol.fields import INT64, fits

__all__ = ["COLUMN_NAMES", "KINDS", "Codec", "RowRecord", "Value", "differing", "dump", "load"]

RowRecord: TypeAlias = Link | Exchange | Payout
Value: TypeAlias = str | int | bool | datetime | Decimal | None
RecordT = TypeVar("RecordT", bound=Record)
RowT = TypeVar("RowT", bound=RowRecord)
KINDS: Mapping[str, type[RowRecord]] = {"links": Link, "exchanges": Exchange, "payouts": Payout}
"""The records of each resource that lists rows."""
COLUMN_NAMES: Mapping[type, Mapping[str, str]] = {Payout: {"account": "wallet"}}
"""Fields whose columns have other names: `account` is the account's number in every table."""
_ODD_TEXT = re.compile("[\0\u241b\ud800-\udfff]")
_ODD_DIGIT = re.compile("[^0-9.]")
_FEW_DIGITS = 50
"""Of an amount, with its point: it fits everywhere."""
_ELSEWHERE = "statuses"
"""The field that is rows of a table of its own: a site empties it, the mirror keeps them."""
Convert: TypeAlias = Callable[[object], Value]
Restore: TypeAlias = Callable[[Value], object]


@functools.cache
def fields_of(kind: Hashable) -> tuple[str, ...]:
    """Return the names of the fields that a row has, in the order of its columns."""
    names = (one.name for one in attrs.fields(cast("type[attrs.AttrsInstance]", kind)))
    return tuple(name for name in names if name != _ELSEWHERE)


@frozen(eq=False)
class Codec(Generic[RowT]):
    """The records of one resource as rows of one kind of database."""

    kind: type[RowT]
    table: Table
    fields: tuple[str, ...]
    """Of the record, in the order of the columns."""
    columns: tuple[str, ...]
    _values: Callable[[object], tuple[object, ...]]
    """Returns the values of all fields."""
    _texts: tuple[int, ...]
    """The places of fields that are texts."""
    _amount_texts: tuple[int, ...]
    """Those of amounts where they are kept as texts."""
    _others: tuple[tuple[int, Convert], ...]
    """Those of others that are not kept as they are, and what makes of them what is kept."""
    _read: tuple[Restore | None, ...]
    _amounts: tuple[str, ...]
    _numbers: tuple[str, ...]
    _amounts_at: tuple[int, ...]
    _numbers_at: tuple[int, ...]

    @classmethod
    def of(cls, resource: str, *, sqlite: bool) -> Codec[RowRecord]:
        """Return the codec of a resource."""
        kind = KINDS[resource]
        fields = fields_of(cast("Hashable", kind))
        renamed = COLUMN_NAMES.get(kind, {})
        types = get_type_hints(kind)
        ways = [_way(types[name]) for name in fields]
        amounts = tuple(name for name, way in zip(fields, ways, strict=True) if way is _AMOUNT)
        numbers = tuple(name for name, way in zip(fields, ways, strict=True) if way is _AS_IT_IS)
        ways = [way if sqlite or not way.only_sqlite else _AS_IT_IS for way in ways]
        return Codec(
            kind=kind,
            table=ROWS[resource],
            fields=fields,
            columns=tuple(renamed.get(name, name) for name in fields),
            values=attrgetter(*fields),
            texts=tuple(place for place, way in enumerate(ways) if way is _TEXT),
            amount_texts=tuple(place for place, way in enumerate(ways) if way is _AMOUNT),
            others=tuple(
                (place, way.write)
                for place, way in enumerate(ways)
                if way.write is not None and way not in (_TEXT, _AMOUNT)
            ),
            read=tuple(way.read for way in ways),
            amounts=amounts,
            numbers=numbers,
            amounts_at=tuple(map(fields.index, amounts)),
            numbers_at=tuple(map(fields.index, numbers)),
        )

    def row_of(self, record: RowT) -> tuple[Value, ...]:
        """Return the row that a record is.

        Raises:
            ValueError: a value of it cannot be stored.
        """
        # A fifth of what a mirror costs: texts that every database takes and amounts that are
        # written plainly, which nearly all are, pass without a call of their own.
        row: list[object] = list(self._values(record))
        for place in self._texts:
            text = cast("str | None", row[place])
            if text is not None and (not text.isascii() or "\0" in text):
                row[place] = escape(text)
        for place in self._amount_texts:
            amount = cast("Decimal | None", row[place])
            if amount is not None:
                digits = str(amount)
                is_plain = "E" not in digits and digits[0] != "-"
                row[place] = digits if is_plain else amount_text(amount)
        place = 0
        try:
            for place, write in self._others:
                value = row[place]
                if value is not None:
                    row[place] = write(value)
        except (ArithmeticError, RecursionError, ValueError) as error:
            raise ValueError(f"{self.fields[place]}: {error}") from None
        return tuple(cast("list[Value]", row))

    def rows_of(self, records: Sequence[RowT]) -> list[tuple[Value, ...]] | None:
        """Return the rows that some records are, column by column; None if any of them is odd.

        Odd is what `row_of` has to look at by itself: it does the same in five times the time.
        """
        columns = list(zip(*map(self._values, records), strict=True))
        for place in self._texts:
            if _ODD_TEXT.search("".join(filter(None, cast("tuple[str, ...]", columns[place])))):
                return None
        for place in self._amounts_at:
            digits = [None if one is None else str(one) for one in columns[place]]
            some = list(filter(None, digits))
            if _ODD_DIGIT.search("".join(some)) or max(map(len, some), default=0) > _FEW_DIGITS:
                return None
            if self._amount_texts:
                columns[place] = tuple(digits)
        for place in self._numbers_at:
            if min(columns[place]) not in INT64 or max(columns[place]) not in INT64:
                return None
        try:
            for place, write in self._others:
                columns[place] = tuple(
                    None if value is None else write(value) for value in columns[place]
                )
        except (ArithmeticError, RecursionError, ValueError):
            return None
        return cast("list[tuple[Value, ...]]", list(zip(*columns, strict=True)))

    def record_of(self, row: Sequence[Value]) -> RowT:
        """Return the record that a row is; what stands behind its columns is passed over."""
        values = {
            name: value if read is None or value is None else read(value)
            for name, read, value in zip(self.fields, self._read, row, strict=False)
        }
        values["extra"] = extra_of(cast("Mapping[str, object]", values["extra"] or {}))
        return self.kind(**values)  # type: ignore[arg-type] # each value is of its field's type

    def problem(self, record: RowT) -> tuple[str, str] | None:
        """Return why a record cannot be stored, as `(path, value)`; None if it can.

        No answer of a site holds such values: what decodes it takes none.
        """
        for name in self._amounts:
            value = getattr(record, name)
            if value is None or (value.is_finite() and fits(value)):
                continue  # as all that sites send
            if not fits_numeric(value):
                return name, "an amount that no database can hold"
        for name in self._numbers:
            if getattr(record, name) not in INT64:
                return name, "not a whole number of 64 bits"
        return None


@frozen
class _Way:
    """How values of a type go into a database, and come back; None: as they are."""

    write: Convert | None = None
    read: Restore | None = None
    only_sqlite: bool = False


def _write_extra(extra: object) -> str | None:
    return dump_json(extra) if extra else None


_AS_IT_IS = _Way()
_AMOUNT = _Way(cast("Convert", amount_text), cast("Restore", Decimal), only_sqlite=True)
_TEXT = _Way(cast("Convert", escape), cast("Restore", unescape))
_WAYS: Mapping[object, _Way] = {
    int: _AS_IT_IS,
    datetime: _Way(cast("Convert", instant_text), cast("Restore", instant_of), only_sqlite=True),
    Decimal: _AMOUNT,
    bool: _Way(cast("Convert", int), bool, only_sqlite=True),
    str: _TEXT,
    PayoutStatus: _Way(lambda status: cast("PayoutStatus", status).value, PayoutStatus),
    Mapping[str, object]: _Way(_write_extra, cast("Restore", load_json)),
}


def _way(kind: object) -> _Way:
    """Return the way of a field's type, which may be one or None."""
    parts = [part for part in get_args(kind) if part is not type(None)]
    return _WAYS[parts[0] if isinstance(kind, UnionType) else kind]


def differing(record: object, previous: object) -> tuple[str, ...]:
    """Return the names of the fields in which a row differs, by value: 1.0 is 1.00."""
    names = fields_of(cast("Hashable", type(record)))
    return tuple(name for name in names if getattr(record, name) != getattr(previous, name))


def dump(record: Record) -> str:
    """Return a record as the JSON text that `changes` keeps."""
    try:
        text = dump_stored(record)
        if "\\u0000" not in text and (text.isascii() or "\u241b" not in text):
            return text
    except UnicodeEncodeError:  # half of a surrogate pair
        pass
    return dump_stored(_map_texts(record, escape, cast("Callable[[Json], object]", escape_json)))


def load(text: str, kind: type[RecordT]) -> RecordT:
    """Return the record that `dump` was given.

    Raises:
        ValueError: the text is no such record.
    """
    record = parse_stored(text, kind)
    if text.isascii() or "\u241b" not in text:
        return record
    return _map_texts(record, unescape, unescape_json)


def _map_texts(
    record: RecordT, change: Callable[[str], str], change_json: Callable[[Json], object]
) -> RecordT:
    """Return a record whose texts, and those within it, are changed."""
    changed: dict[str, object] = {}
    for one in attrs.fields(cast("type[attrs.AttrsInstance]", type(record))):
        value = getattr(record, one.name)
        if isinstance(value, str):
            changed[one.name] = change(value)
        elif isinstance(value, tuple):
            changed[one.name] = tuple(
                _map_texts(part, change, change_json) for part in cast("tuple[Record, ...]", value)
            )
        elif one.name == "extra":
            changed[one.name] = change_json(cast("Json", dict(value)))
    return evolve(record, **changed)  # type: ignore[misc] # all records are attrs classes

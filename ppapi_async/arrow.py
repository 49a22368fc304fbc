"""Rows as Arrow tables, for pandas, Polars, DuckDB and Parquet; needs `ppapi-async[arrow]`.

>>> table = await to_arrow(session.iter_exchanges(start))            # doctest: +SKIP
>>> table.to_pandas()                                                # doctest: +SKIP

Each resource has one schema, whatever the rows are from: `schema` tells it. Amounts are decimals,
and none is ever rounded.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
import re
from collections.abc import (
    AsyncGenerator,
    Callable,
    Iterable,
    Mapping,
    Sequence,
)
from datetime import datetime
from decimal import Decimal
from enum import Enum
from itertools import islice
from types import UnionType
from typing import Literal, Protocol, TypeAlias, cast, get_args, get_type_hints, runtime_checkable

import attrs
from attrs import define, frozen

try:
    import pyarrow as pa
except ImportError as error:
    raise ImportError(f"arrow: needs pyarrow; pip install 'ppapi-async[arrow]' ({error})") from None

from ppapi_async._validation import check_one_of, whole
from ppapi_async.errors import PPAPIError
from ppapi_async.fleet.merged import Merged
from ppapi_async.models import (
    Exchange,
    Info,
    Link,
    Payout,
    PayoutStatus,
    Record,
    Window,
)
from ppapi_async.protocol.stored_text import amount_text, escape, exact_json
from ppapi_async.streaming.iteration import Items, Iteration
from ppapi_async.streaming.stream import Stream
from ppapi_async.transport.callbacks import call
from ppapi_async.transport.fairness import ITEMS_OF_TURN, let_others_run

__all__ = [
    "NARROW",
    "WIDE",
    "AmountTooLongError",
    "ArrowColumns",
    "ArrowRecord",
    "Decimals",
    "TypedRows",
    "record_batch",
    "schema",
    "to_arrow",
    "to_batches",
]

ArrowRecord: TypeAlias = Link | Exchange | Payout | Info
Decimals: TypeAlias = tuple[int, int] | Literal["string"]
"""Digits of an amount and how many of them stand behind the point; or texts, which take any."""
NARROW, WIDE = (38, 18), (76, 38)
"""Up to 38 digits are Arrow's decimal128, which nearly all programs read; sites send up to 12
places. More, up to 76, are decimal256, which few programs but Arrow's own read exactly."""
_KINDS: Mapping[str, type[ArrowRecord]] = {
    "links": Link,
    "exchanges": Exchange,
    "payouts": Payout,
    "info": Info,
}
_NOTED = ("first_seen", "last_seen", "changed_at", "gone_at", "missing_since")
"""What a mirror notes of each row, and sites do not know."""
_ROWS = 65_536
_MEANING = re.compile(r"^    (\w+): (.*(?:\n {8}.*)*)", re.MULTILINE)
"""A field in the docstring of a record."""
_SHOWN = 80
"""Characters of an amount in an error."""
_Convert: TypeAlias = Callable[[Sequence[object]], Sequence[object]]


class AmountTooLongError(PPAPIError, ValueError):
    """A number that the type of its column does not take; it is not rounded.

    Attributes:
        row: the id of the row, None where it has none.
        column: the column.
        value: the number.
        shown: the same as the message has it, not too long.
    """

    def __init__(
        self, message: str, *, account: str, row: int | None, column: str, value: object
    ) -> None:
        super().__init__(message, account=account)
        self.row, self.column, self.value = row, column, value
        self.shown = _shown(value)

    def __reduce__(self) -> tuple[object, ...]:
        known = (self.account, self.row, self.column, self.value)
        return _too_long, (self.message, *known)


def _too_long(
    message: str, account: str, row: int | None, column: str, value: object
) -> AmountTooLongError:
    """Return the error, for pickle, which knows no keywords."""
    return AmountTooLongError(message, account=account, row=row, column=column, value=value)


@runtime_checkable
class TypedRows(Protocol):
    """Rows that are no records, such as those that `ReadOnlyMirror.select` finds."""

    @property
    def resource(self) -> str:
        """What they are: links, exchanges or payouts."""

    @property
    def columns(self) -> Sequence[str]:
        """What they have."""

    def pieces(self) -> AsyncGenerator[list[tuple[object, ...]], None]:
        """Read the rows; the values are as in records, see `MirrorSnapshot.rows`."""


Source: TypeAlias = (
    Iterable[ArrowRecord]
    | Stream[Link]
    | Stream[Exchange]
    | Stream[Payout]
    | Merged[Link]
    | Merged[Exchange]
    | Merged[Payout]
    | TypedRows
)
OnError: TypeAlias = Callable[[str, PPAPIError], object]
"""Takes an account's name and why no more of its rows come."""


# Tables


async def to_arrow(
    source: Source,
    *,
    resource: str | None = None,
    account: str | None = None,
    decimals: Decimals = NARROW,
    on_error: OnError | None = None,
) -> pa.Table:
    """Return all rows as a table.

    Args:
        source: a stream (`session.iter_exchanges(…)`), the merged streams of a fleet, what
            `ReadOnlyMirror.select` finds, or a list of records.
        resource: "links", "exchanges", "payouts" or "info", for a list that may be empty; else the
            source tells.
        account: the account's name, for records that do not tell it.
        decimals: the digits of an amount, all in all and behind the point; "string" takes any.
        on_error: takes an account of a fleet that has failed, while the others go on; None: its
            error is raised.

    Raises:
        AmountTooLongError: an amount has more digits than that; none is rounded.
        ValueError: an argument is not usable; or the source has a checkpoint, which would move on
            while nobody has the rows yet: use `to_batches`.
        PPAPIError: what the source came to.
    """
    if isinstance(source, Stream) and source.has_checkpoint:
        raise ValueError(
            "source: its checkpoint moves on while the table grows, so that a crash would lose"
            " rows; use to_batches, and keep each batch"
        )
    batches = to_batches(
        source, resource=resource, account=account, decimals=decimals, on_error=on_error
    )
    async with contextlib.aclosing(batches):
        made = [batch async for batch in batches]
    columns = source.columns if isinstance(source, TypedRows) else None
    wanted = schema(_resource_of(source, resource), columns=columns, decimals=decimals)
    return pa.Table.from_batches(made, wanted)


def to_batches(
    source: Source,
    *,
    resource: str | None = None,
    account: str | None = None,
    decimals: Decimals = NARROW,
    rows: int = _ROWS,
    on_error: OnError | None = None,
) -> Items[pa.RecordBatch]:
    """Iterate over all rows as record batches, with memory for one of them.

    Arguments are as for `to_arrow`, and `rows` is how many a batch has.

    Of a stream that has a checkpoint, each window is a batch of its own, which counts as handed out
    when the next one is asked for. Left early, it closes by itself; `aclose` waits for that.

    Raises:
        ValueError: an argument is not usable.
        TypeError: the same. While iterating as for `to_arrow`.
    """
    whole(rows, "rows", "1 or more rows of a batch", least=1)
    if isinstance(source, Merged) and source.has_checkpoints:
        raise ValueError("source: has checkpoints; pass the stream of each account by itself")
    wanted = source.columns if isinstance(source, TypedRows) else None
    columns = ArrowColumns.of(_resource_of(source, resource), wanted, decimals)
    if isinstance(source, Stream):
        account = account or source.account
        if source.has_checkpoint:
            return source.windows_as(functools.partial(_batch_of_window, columns, account))
    return _Batches(source, columns, account, rows, on_error).start()


def record_batch(
    records: Sequence[ArrowRecord],
    *,
    resource: str | None = None,
    account: str | None = None,
    decimals: Decimals = NARROW,
) -> pa.RecordBatch:
    """Return a few records as a record batch, at once; arguments as for `to_arrow`.

    Raises:
        AmountTooLongError: an amount has more digits than that; none is rounded.
        ValueError: an argument is not usable.
        TypeError: the same.
    """
    columns = ArrowColumns.of(_resource_of(records, resource), None, decimals)
    return columns.batch_of(records, account)


def _resource_of(source: Source, resource: str | None) -> str:
    if isinstance(source, TypedRows):
        return source.resource
    kind: type | None = None
    if isinstance(source, Stream | Merged):
        kind = source.record
    elif isinstance(source, Sequence) and source:
        kind = type(source[0])
    elif not isinstance(source, Iterable):
        raise TypeError("source: pass a stream, rows of a mirror, or a list of records")
    found = next((name for name, one in _KINDS.items() if one is kind), resource)
    if found is None:
        raise ValueError(f"resource: pass one of {', '.join(_KINDS)}: no record tells it")
    return found


async def _batch_of_window(
    columns: ArrowColumns, account: str, window: Window[Link | Exchange | Payout]
) -> pa.RecordBatch | None:
    batches = [batch async for batch in _in_slices(columns, window.records, account)]
    return _joined(batches) if batches else None


async def _in_slices(
    columns: ArrowColumns, records: Iterable[ArrowRecord], account: str | None
) -> AsyncGenerator[pa.RecordBatch, None]:
    """Yield small batches: what is made of a slice holds the loop for some milliseconds."""
    left = iter(records)
    while some := list(islice(left, ITEMS_OF_TURN)):
        yield columns.batch_of(some, account)
        await let_others_run()


def _joined(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    return pa.Table.from_batches(batches).combine_chunks().to_batches()[0]


@define(eq=False)
class _Batches(Iteration):
    """Rows that no position is kept of, as batches of some size."""

    _source: Source
    _columns: ArrowColumns
    _account: str | None
    _most: int
    _on_error: OnError | None

    def start(self) -> Items[pa.RecordBatch]:
        """Return the iterator over the batches."""
        return self._start(self._read)

    async def _read(self) -> AsyncGenerator[list[pa.RecordBatch], None]:
        held: list[pa.RecordBatch] = []
        count = 0
        async with contextlib.aclosing(self._pieces()) as pieces:
            async for piece in pieces:
                held.append(piece)
                count += piece.num_rows
                while count >= self._most:
                    batch = _joined(held)
                    yield [batch.slice(0, self._most)]
                    held = [batch.slice(self._most)] if count > self._most else []
                    count -= self._most
        if held:
            yield [_joined(held)]

    async def _pieces(self) -> AsyncGenerator[pa.RecordBatch, None]:
        if isinstance(self._source, TypedRows):
            async with contextlib.aclosing(self._source.pieces()) as found:
                async for rows in found:
                    for first in range(0, len(rows), ITEMS_OF_TURN):
                        some = rows[first : first + ITEMS_OF_TURN]
                        yield self._columns.batch(list(zip(*some, strict=True)))
                        await let_others_run()
            return
        async with contextlib.aclosing(self._named()) as named:
            async for name, records in named:
                async for piece in _in_slices(self._columns, records, name):
                    yield piece

    async def _named(self) -> AsyncGenerator[tuple[str | None, Iterable[ArrowRecord]], None]:
        """Yield the names of accounts with records of theirs."""
        source = self._source
        if isinstance(source, Stream):
            async with source:
                async for window in source.windows():
                    yield self._account, window.records
        elif isinstance(source, Merged):
            async with source:
                async for name, part in source.windows():
                    if not isinstance(part, PPAPIError):
                        yield name, part.records
                    elif self._on_error is None:
                        raise part
                    else:
                        await call(functools.partial(self._on_error, name), part)
        else:
            yield self._account, cast("Iterable[ArrowRecord]", source)


# Schemas


def schema(
    resource: str, *, columns: Sequence[str] | None = None, decimals: Decimals = NARROW
) -> pa.Schema:
    """Return the schema of a resource; the metadata of each field says what the field means.

    `account` is the account's name, and null where it is not known; the wallet of a payout is
    `wallet`. Ids are int64, instants timestamps in UTC to the microsecond, flags bool, statuses and
    currencies text, `extra` the text of a JSON object (null where there is nothing in it) with
    amounts as texts. The history of an order is a list of structs. Rows of a mirror have
    what it has noted of them, too (`first_seen`, `gone_at` and the like), and no history.

    Args:
        resource: "links", "exchanges", "payouts" or "info".
        columns: the names of those that are wanted; None: all that a record of a site has.
        decimals: the digits of an amount, all in all and behind the point, or "string".

    Raises:
        ValueError: an argument is not usable.
        TypeError: the same.
    """
    return ArrowColumns.of(resource, columns, decimals).schema


@frozen
class _ArrowColumn:
    """How the values of a column become an array."""

    name: str
    attribute: str
    """The record's."""
    type: pa.DataType
    convert: _Convert | None


@define(eq=False)
class ArrowColumns:
    """Makes record batches of values, column by column."""

    resource: str
    schema: pa.Schema
    decimals: Decimals
    columns: Sequence[_ArrowColumn]

    @classmethod
    def of(
        cls, resource: str, columns: Sequence[str] | None = None, decimals: Decimals = NARROW
    ) -> ArrowColumns:
        """Return what makes batches of these columns; arguments as for `schema`.

        Raises:
            ValueError: an argument is not usable.
            TypeError: the same.
        """
        check_one_of(resource, tuple(_KINDS), "resource")
        known = _columns_of(resource, _amount_type(decimals))
        noted = {name: _of_kind(name, datetime, pa.string()) for name in _NOTED}
        wanted = tuple(known) if columns is None else tuple(columns)
        if isinstance(columns, str) or not wanted or not set(wanted) <= known.keys() | noted.keys():
            raise ValueError(f"columns: pass any of {', '.join((*known, *noted))} in a tuple")
        meanings = _meanings(resource)
        chosen = [(known | noted)[name] for name in wanted]
        fields = [
            pa.field(one.name, one.type, metadata=_described(meanings.get(one.attribute)))
            for one in chosen
        ]
        return cls(resource, pa.schema(fields), decimals, chosen)

    def batch_of(self, records: Sequence[ArrowRecord], account: str | None) -> pa.RecordBatch:
        """Return the batch that some records are, column by column.

        Raises:
            AmountTooLongError: a number of theirs is too long.
            TypeError: they are of another resource.
        """
        kind = _KINDS[self.resource]
        if not all(isinstance(record, kind) for record in records):
            raise TypeError(f"source: pass records of one kind, here {kind.__name__}")
        values = [
            [account] * len(records)
            if column.name == "account"
            else [getattr(record, column.attribute) for record in records]
            for column in self.columns
        ]
        return self.batch(values)

    def batch(self, values: Sequence[Sequence[object]]) -> pa.RecordBatch:
        """Return the batch of the values of each column, which are as in records.

        Raises:
            AmountTooLongError: a number is too long.
        """
        arrays = [
            self._array(column, one, values)
            for column, one in zip(self.columns, values, strict=True)
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def _array(
        self, column: _ArrowColumn, values: Sequence[object], all_: Sequence[Sequence[object]]
    ) -> pa.Array:
        made = values if column.convert is None else column.convert(values)
        with contextlib.suppress(pa.ArrowInvalid, OverflowError):
            return pa.array(made, column.type)
        row = next(place for place, one in enumerate(made) if not _fits(one, column.type))
        names = self.schema.names
        account = all_[names.index("account")][row] if "account" in names else None
        id_ = all_[names.index("id")][row] if "id" in names else None
        shown = _shown(values[row])
        raise AmountTooLongError(
            f"{column.name}{'' if id_ is None else f' of {id_}'} is {shown}, which does not fit"
            f" {column.type}, and is not rounded; pass decimals='string'"
            + ("" if pa.types.is_decimal256(column.type) else f", or decimals={WIDE}"),
            account=str(account or ""),
            row=cast("int | None", id_),
            column=column.name,
            value=values[row],
        )


def _amount_type(decimals: Decimals) -> pa.DataType:
    if decimals == "string":
        return pa.string()
    given: object = decimals
    if not isinstance(given, tuple) or len(given) != 2:
        raise TypeError("decimals: pass digits, as in (38, 18), or 'string'")
    digits = whole(decimals[0], "decimals", "1 to 76 digits", least=1, most=76)
    places = whole(decimals[1], "decimals", "0 places up to all digits", least=0, most=digits)
    return (pa.decimal128 if digits <= NARROW[0] else pa.decimal256)(digits, places)


def _columns_of(resource: str, amount: pa.DataType) -> dict[str, _ArrowColumn]:
    kind = _KINDS[resource]
    types = get_type_hints(kind)
    names = [one.name for one in attrs.fields(cast("type[attrs.AttrsInstance]", kind))]
    own = [_of_kind(name, types[name], amount) for name in names]
    if kind is Payout:  # `account` is the account's name in every table
        own = [attrs.evolve(one, name="wallet") if one.name == "account" else one for one in own]
    account = _ArrowColumn("account", "", pa.string(), _texts)
    return {one.name: one for one in (account, *own)}


def _of_kind(name: str, kind: object, amount: pa.DataType) -> _ArrowColumn:
    parts = [part for part in get_args(kind) if part is not type(None)]
    only = parts[0] if isinstance(kind, UnionType) else kind
    type_, convert = _TYPES.get(only, (None, None))
    if only is Decimal:
        type_, convert = amount, _amounts if pa.types.is_string(amount) else None
    elif type_ is None:  # records in a record
        inner = [
            _of_kind(one.name, get_type_hints(parts[0])[one.name], amount)
            for one in attrs.fields(parts[0])
        ]
        struct = pa.struct([(one.name, one.type) for one in inner])
        type_, convert = pa.list_(struct), functools.partial(_structs, inner)
    return _ArrowColumn(name, name, type_, convert)


@functools.cache
def _meanings(resource: str) -> Mapping[str, str]:
    """Return what the docstring of a resource's records says of each field."""
    found = _MEANING.findall(inspect.getdoc(_KINDS[resource]) or "")
    return {name: " ".join(text.split()) for name, text in found}


def _described(meaning: str | None) -> dict[str, str] | None:
    return None if meaning is None else {"description": meaning}


# Values


def _texts(values: Sequence[object]) -> Sequence[object]:
    texts = cast("Sequence[str | None]", values)
    joined = "".join(filter(None, texts))
    if joined.isascii() and "\0" not in joined:  # nearly all
        return texts
    return [None if one is None else escape(one) for one in texts]


def _enums(values: Sequence[object]) -> Sequence[object]:
    return [one.value if isinstance(one, Enum) else one for one in values]


def _amounts(values: Sequence[object]) -> Sequence[object]:
    return [None if one is None else amount_text(cast("Decimal", one)) for one in values]


def _documents(values: Sequence[object]) -> Sequence[object]:
    return [_document(one) if one else None for one in values]


def _document(value: object) -> str:
    plain = exact_json(value)
    text = json.dumps(plain, ensure_ascii=False)
    return text if escape(text) == text else json.dumps(plain)


def _structs(inner: Sequence[_ArrowColumn], values: Sequence[object]) -> Sequence[object]:
    """Return the dicts of the records in each value."""
    lists = cast("Sequence[Sequence[Record]]", values)
    made: list[object] = []
    for records in lists:
        columns = [
            (one.convert or list)([getattr(record, one.attribute) for record in records])
            for one in inner
        ]
        names = [one.name for one in inner]
        made.append([dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)])
    return made


_TYPES: Mapping[object, tuple[pa.DataType, _Convert | None]] = {
    int: (pa.int64(), None),
    str: (pa.string(), _texts),
    bool: (pa.bool_(), None),
    datetime: (pa.timestamp("us", "UTC"), None),
    PayoutStatus: (pa.string(), _enums),
    Mapping[str, object]: (pa.string(), _documents),
}


def _fits(value: object, type_: pa.DataType) -> bool:
    try:
        pa.array([value], type_)
    except (pa.ArrowInvalid, OverflowError):
        return False
    return True


def _shown(value: object) -> str:
    is_short = isinstance(value, Decimal) and value.is_finite() and abs(value.adjusted()) < _SHOWN
    text = f"{value:f}" if is_short else str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"

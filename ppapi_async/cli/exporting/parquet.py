"""Parquet files, for pandas, DuckDB, Polars and Spark; needs pyarrow (`ppapi-async[parquet]`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import cast

import pyarrow as pa
import pyarrow.parquet as pq

from ppapi_async.arrow import NARROW, WIDE, AmountTooLongError, ArrowColumns
from ppapi_async.cli.exits import CommandFailed
from ppapi_async.cli.exporting.columns import ExportColumn, ValueKind
from ppapi_async.cli.exporting.formats import RowFormat, Sink, Values
from ppapi_async.cli.output import plain
from ppapi_async.mirror.types import instant_of, load_json, unescape

__all__ = ["ParquetRows"]

_GROUP = 65_536
"""Rows that are read and unpacked together; so many are held, packed as columns."""
_WAYS = cast(
    "Mapping[ValueKind, Callable[[object], object]]",
    {
        ValueKind.TEXT: unescape,
        ValueKind.AMOUNT: Decimal,
        ValueKind.INSTANT: instant_of,
        ValueKind.FLAG: bool,
        ValueKind.JSON: load_json,
    },
)
"""From values as a mirror's SQLite file has them to those of records."""


class ParquetRows(RowFormat):
    """Rows as Parquet, by the schema of `ppapi_async.arrow`.

    The schema is fixed before the first row is read: all files of a resource have the same, so that
    they can be read together. An amount that does not fit ends the export: none is ever rounded.

    Args:
        sink: where it goes.
        resource: links, exchanges or payouts.
        columns: of the rows.
        wide: amounts of 76 digits, which few programs but Arrow's own read exactly.
    """

    def __init__(
        self, sink: Sink, resource: str, columns: Sequence[ExportColumn], *, wide: bool = False
    ) -> None:
        self._columns, self._wide = columns, wide
        names = [column.name for column in columns]
        self._arrow = ArrowColumns.of(resource, names, WIDE if wide else NARROW)
        self._schema = self._arrow.schema
        self._output = _Output(sink)
        self._writer = pq.ParquetWriter(self._output, self._schema, compression="zstd")
        self._held: list[pa.RecordBatch] = []
        self._count = 0

    def write(self, rows: Sequence[Values]) -> None:
        """Write some rows.

        Raises:
            CommandFailed: an amount does not fit.
        """
        values = [
            _typed(column, one)
            for column, one in zip(self._columns, zip(*rows, strict=True), strict=True)
        ]
        try:
            self._held.append(self._arrow.batch(values))
        except AmountTooLongError as error:
            digits, places = WIDE if self._wide else NARROW
            cure = "or jsonl" if self._wide else "or jsonl, or pass --wide-amounts"
            raise CommandFailed(
                f"{plain(error.account)}: {error.column} of {error.row} is {error.shown}, which"
                f" does not fit {digits - places} digits before and {places} behind the point, and"
                f" is not rounded; export to csv {cure}"
            ) from None
        self._count += len(rows)
        if self._count >= _GROUP:
            self._write_group()

    def end(self) -> None:
        """Write the rows that are held, and what says where all of them are."""
        self._write_group()
        self._writer.close()

    def close(self) -> None:
        """Write nothing more, which the writer would do by itself if it was not ended."""
        self._output.is_left = True
        self._writer.close()

    def _write_group(self) -> None:
        if self._held:
            self._writer.write_table(
                pa.Table.from_batches(self._held, self._schema), row_group_size=self._count
            )
        self._held, self._count = [], 0


def _typed(column: ExportColumn, values: Sequence[object]) -> Sequence[object]:
    way = None if column.name == "account" else _WAYS.get(column.kind)
    return values if way is None else [None if one is None else way(one) for one in values]


class _Output:
    """What pyarrow takes for a file that is only written, pipes among them."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._at = 0
        self.closed = False
        self.is_left = False
        """Whether what comes is thrown away."""

    def write(self, data: bytes) -> int:
        if not self.is_left:
            self._sink.write(bytes(data))
        self._at += len(data)
        return len(data)

    def tell(self) -> int:
        return self._at

    def close(self) -> None:
        self.closed = True

"""Parquet files, for pandas, DuckDB, Polars and Spark; needs pyarrow (`ppapi-async[parquet]`)."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from decimal import Decimal
from typing import cast

import pyarrow as pa
import pyarrow.parquet as pq

from ppapi_async.cli.exits import CommandFailed
from ppapi_async.cli.exporting.columns import ExportColumn, ValueKind
from ppapi_async.cli.exporting.formats import RowFormat, Sink, Values
from ppapi_async.cli.exporting.texts import extra_text
from ppapi_async.cli.output import plain
from ppapi_async.mirror.types import instant_of

__all__ = ["NARROW", "WIDE", "ParquetRows"]

NARROW, WIDE = (38, 18), (76, 38)
"""Digits of an amount, and how many of them stand behind the point. Sites send up to 12 there."""
_GROUP = 65_536
"""Rows that are read and unpacked together; so many are held, packed as columns."""


class ParquetRows(RowFormat):
    """Rows as Parquet: amounts are decimals, instants timestamps in UTC.

    The schema is fixed before the first row is read: all files of a resource have the same, so that
    they can be read together. An amount that does not fit ends the export: none is ever rounded.

    Args:
        sink: where it goes.
        columns: of the rows.
        wide: amounts of 76 digits, which few programs but Arrow's own read exactly.
    """

    def __init__(self, sink: Sink, columns: Sequence[ExportColumn], *, wide: bool = False) -> None:
        amount = pa.decimal256(*WIDE) if wide else pa.decimal128(*NARROW)
        types = {
            ValueKind.TEXT: pa.string(),
            ValueKind.NUMBER: pa.int64(),
            ValueKind.AMOUNT: amount,
            ValueKind.INSTANT: pa.timestamp("us", "UTC"),
            ValueKind.FLAG: pa.bool_(),
            ValueKind.JSON: pa.string(),
        }
        self._columns, self._wide = columns, wide
        self._schema = pa.schema([(column.name, types[column.kind]) for column in columns])
        self._output = _Output(sink)
        self._writer = pq.ParquetWriter(self._output, self._schema, compression="zstd")
        self._held: list[pa.RecordBatch] = []
        self._count = 0

    def write(self, rows: Sequence[Values]) -> None:
        """Write some rows.

        Raises:
            CommandFailed: an amount does not fit.
        """
        read = list(zip(*rows, strict=True))
        arrays = [
            self._array(column, values, place, read)
            for place, (column, values) in enumerate(zip(self._columns, read, strict=True))
        ]
        self._held.append(pa.RecordBatch.from_arrays(arrays, schema=self._schema))
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

    def _array(
        self,
        column: ExportColumn,
        values: Sequence[object],
        place: int,
        read: Sequence[Sequence[object]],
    ) -> pa.Array:
        type_ = self._schema.field(place).type
        if column.kind is ValueKind.JSON:
            values = [extra_text(one) for one in values]
        elif column.kind is ValueKind.INSTANT:
            values = [None if one is None else instant_of(cast("str", one)) for one in values]
        elif column.kind is ValueKind.FLAG:
            values = [bool(one) for one in values]
        elif column.kind is ValueKind.AMOUNT:
            values = [None if one is None else Decimal(cast("str", one)) for one in values]
        if column.kind is not ValueKind.AMOUNT:
            return pa.array(values, type_)
        with contextlib.suppress(pa.ArrowInvalid):
            return pa.array(values, type_)
        row = next(index for index, one in enumerate(values) if not _fits(one, type_))
        amount = cast("Decimal", values[row])
        cure = "or jsonl" if self._wide else "or jsonl, or pass --wide-amounts"
        raise CommandFailed(
            f"{plain(str(read[0][row]))}: {column.name} of {read[1][row]} is {amount:f}, which does"
            f" not fit {type_.precision - type_.scale} digits before and {type_.scale} behind the"
            f" point, and is not rounded; export to csv {cure}"
        )


def _fits(value: object, type_: pa.DataType) -> bool:
    try:
        pa.array([value], type_)
    except pa.ArrowInvalid:
        return False
    return True


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

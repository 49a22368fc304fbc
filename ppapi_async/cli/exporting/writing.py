"""Writes the rows of a source to a file, or to stdout."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC
from pathlib import Path
from typing import cast

from attrs import frozen

from ppapi_async.account import Account
from ppapi_async.cli.exits import CommandFailed, Exit, exit_of
from ppapi_async.cli.exporting.columns import ExportColumn
from ppapi_async.cli.exporting.formats import CsvRows, JsonLines, RowFormat, Sink
from ppapi_async.cli.exporting.sources import (
    Bounds,
    LiveRows,
    RowSource,
    open_mirror,
    open_sites,
)
from ppapi_async.cli.exporting.texts import Zones
from ppapi_async.cli.failures import tell_failures
from ppapi_async.cli.output import is_terminal, note, plain
from ppapi_async.cli.progress import progress_of
from ppapi_async.cli.whole_file import whole_file
from ppapi_async.models import UnreadableRow
from ppapi_async.transport.fairness import let_others_run

__all__ = ["Export", "export_live", "export_mirror"]

_SHOWN_IDS = 5


@frozen(kw_only=True)
class Export:
    """What is to be written, and where to."""

    resource: str
    bounds: Bounds
    format: str
    """csv, jsonl or parquet."""
    path: Path | None
    """None: stdout."""
    utc: bool = False
    raw: bool = False
    bom: bool = False
    wide_amounts: bool = False
    partial: bool = False
    """Put a file in its place though not all could be read."""


async def export_mirror(export: Export, url: str, names: Sequence[str], *, with_gone: bool) -> int:
    """Write rows of a mirror; return the exit code.

    Raises:
        PPAPIError: the mirror cannot be read.
        CommandFailed: the file cannot be written.
        click.UsageError: there is no account of a name.
    """
    source = open_mirror(url, export.resource, export.bounds, names, with_gone=with_gone)
    async with source as rows:
        for text in rows.notes:
            note(text)
        with _destination(export) as sink:
            count = await _write(export, rows, sink)
    _tell(export, count)
    return Exit.DONE


async def export_live(export: Export, accounts: Collection[Account]) -> int:
    """Write rows as the sites list them now; return the exit code.

    Raises:
        CommandFailed: not all could be read, or the file cannot be written.
    """
    odd: dict[str, list[UnreadableRow]] | None = {} if export.partial else None
    async with open_sites(accounts, export.resource, export.bounds, odd=odd) as rows:
        with _destination(export) as sink:
            count = await _write(export, rows, sink)
            tell_failures(rows.failed)
            if rows.failed and not export.partial:
                raise CommandFailed(_not_all(export, rows), exit_of(rows.failed.values()))
    for name, found in (odd or {}).items():
        ids = ", ".join(str(one.id) for one in found[:_SHOWN_IDS])
        more = f" and {len(found) - _SHOWN_IDS:,} more" if len(found) > _SHOWN_IDS else ""
        note(f"{plain(name)}: {len(found):,} rows cannot be read and are missing: {ids}{more}")
    _tell(export, count)
    return Exit.INCOMPLETE if rows.failed or odd else Exit.DONE


def _not_all(export: Export, rows: LiveRows) -> str:
    read = f"not all of {len(rows.failed)} of {len(rows.zones)} accounts could be read"
    if export.path is None:
        return f"{read}: what was written is incomplete"
    where = plain(str(export.path))
    return f"{read}, so {where} was not written; --partial writes what there is"


@contextlib.contextmanager
def _destination(export: Export) -> Iterator[Sink]:
    if export.path is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    with whole_file(export.path) as file:
        yield file


async def _write(export: Export, source: RowSource, sink: Sink) -> int:
    """Write all rows; return how many there were."""
    zones: Zones = dict.fromkeys(source.zones, UTC) if export.utc else source.zones
    format_ = _format(export, sink, source.columns, zones)
    time = [column.name for column in source.columns].index("time")
    rows = 0
    try:
        # Rows that a person reads as they come are not parted by bars.
        is_shown = export.path is not None or not is_terminal()
        with progress_of(None, is_shown=is_shown) as progress:
            async with contextlib.aclosing(source.pieces()) as pieces:
                async for piece in pieces:
                    if piece:
                        format_.write(piece)
                        rows += len(piece)
                        month = cast("str", piece[-1][time])[:7]
                        progress.update(export.resource, rows=rows, what=month)
                        await let_others_run()
        format_.end()
    finally:
        format_.close()
    return rows


def _format(export: Export, sink: Sink, columns: Sequence[ExportColumn], zones: Zones) -> RowFormat:
    is_seen = export.path is None and is_terminal()
    if export.format == "csv":
        return CsvRows(sink, columns, zones, raw=export.raw, mark=export.bom, for_terminal=is_seen)
    if export.format == "jsonl":
        return JsonLines(sink, columns, zones, for_terminal=is_seen)
    from ppapi_async.cli.exporting.parquet import ParquetRows

    return ParquetRows(sink, export.resource, columns, wide=export.wide_amounts)


def _tell(export: Export, count: int) -> None:
    where = "" if export.path is None else f" to {plain(str(export.path))}"
    note(f"wrote {count:,} {export.resource}{where}")

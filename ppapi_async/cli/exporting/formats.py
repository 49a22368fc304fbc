"""The formats of exported files. Each takes rows in pieces and holds little of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Protocol, TypeAlias, cast

from attrs import define, field

from ppapi_async.cli.exporting.columns import ExportColumn, ValueKind
from ppapi_async.cli.exporting.texts import (
    LocalTimes,
    Zones,
    defuse,
    extra_document,
    extra_text,
    quoted,
)
from ppapi_async.cli.output import plain
from ppapi_async.mirror.types import unescape

__all__ = ["CsvRows", "JsonLines", "RowFormat", "Sink", "Values"]

Values: TypeAlias = Sequence[object]
"""A row as a mirror's SQLite file has it, whatever it is from: amounts, instants and `extra` are
texts, flags 0 and 1, and texts hold no U+0000 (see `ppapi_async.mirror.types`). `account` is the
account's name, as it is."""


class Sink(Protocol):
    """Where bytes go."""

    def write(self, data: bytes, /) -> object:
        """Write bytes."""


class RowFormat(Protocol):
    """Writes rows."""

    def write(self, rows: Sequence[Values]) -> None:
        """Write some rows, not none."""

    def end(self) -> None:
        """Write what comes after the last row."""

    def close(self) -> None:
        """Write nothing more, ended or not."""


@define(eq=False)
class CsvRows(RowFormat):
    """Comma-separated values by RFC 4180, in UTF-8.

    Args:
        sink: where it goes.
        columns: of the rows; the first is the account's name.
        zones: of the instants.
        raw: leave texts as they are, though spreadsheets may run them.
        mark: begin with the mark by which Excel knows UTF-8.
        for_terminal: a person looks at it: texts must do nothing to the terminal.
    """

    sink: Sink
    columns: Sequence[ExportColumn]
    zones: Zones
    raw: bool = False
    mark: bool = False
    for_terminal: bool = False
    _times: LocalTimes = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._times = LocalTimes(self.zones)
        if self.mark:
            self.sink.write(b"\xef\xbb\xbf")
        self._write([[column.name for column in self.columns]])

    def write(self, rows: Sequence[Values]) -> None:
        """Write some rows."""
        read = list(zip(*rows, strict=True))
        made = [
            self._texts(column.kind, values, read[0])
            for column, values in zip(self.columns, read, strict=True)
        ]
        self._write(zip(*made, strict=True))

    def end(self) -> None:
        """Do nothing: nothing comes after the last row."""

    def close(self) -> None:
        """Do nothing: nothing is held."""

    def _write(self, rows: Iterable[Sequence[str]]) -> None:
        # What needs quotes has them: Python's csv looks at every character of every cell for that,
        # which takes three times as long.
        self.sink.write("".join([f"{','.join(row)}\r\n" for row in rows]).encode())

    def _texts(
        self, kind: ValueKind, values: Sequence[object], accounts: Sequence[object]
    ) -> Sequence[str]:
        match kind:
            case ValueKind.TEXT:
                # Names, currencies and browsers are the same in many rows; letters and digits alone
                # need nothing.
                texts = cast("Sequence[str | None]", values)
                known = {
                    one: one if one is not None and one.isalnum() else self._cell(one)
                    for one in set(texts)
                }
                return [known[one] for one in texts]
            case ValueKind.INSTANT:
                if not any(values):
                    return [""] * len(values)
                return [one or "" for one in self._times.texts(accounts, values)]
            case ValueKind.FLAG:
                return ["true" if one else "false" for one in values]
            case ValueKind.JSON:
                return [quoted(extra_text(one) or "") for one in values]
            case ValueKind.AMOUNT:
                return [cast("str", one) or "" for one in values]
            case ValueKind.NUMBER:
                return list(map(str, values))

    def _cell(self, text: str | None) -> str:
        if text is None:
            return ""
        text = text if self.raw else defuse(text)
        return quoted(plain(text) if self.for_terminal else text)


@define(eq=False)
class JsonLines(RowFormat):
    """An object a line, in UTF-8: amounts and times are text, `extra` is an object.

    Args:
        sink: where it goes.
        columns: of the rows; the first is the account's name.
        zones: of the instants.
        for_terminal: a person looks at it: texts must do nothing to the terminal.
    """

    sink: Sink
    columns: Sequence[ExportColumn]
    zones: Zones
    for_terminal: bool = False
    _times: LocalTimes = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._times = LocalTimes(self.zones)

    def write(self, rows: Sequence[Values]) -> None:
        """Write some rows."""
        names = [column.name for column in self.columns]
        read = list(zip(*rows, strict=True))
        made = [
            self._values(column.kind, values, read[0])
            for column, values in zip(self.columns, read, strict=True)
        ]
        documents = [dict(zip(names, row, strict=True)) for row in zip(*made, strict=True)]
        if not self.for_terminal:
            text = "".join(f"{json.dumps(one, ensure_ascii=False)}\n" for one in documents)
            try:
                self.sink.write(text.encode())
            except UnicodeEncodeError:  # half of a surrogate pair, which JSON can escape
                pass
            else:
                return
        self.sink.write("".join(f"{json.dumps(one)}\n" for one in documents).encode())

    def end(self) -> None:
        """Do nothing: nothing comes after the last row."""

    def close(self) -> None:
        """Do nothing: nothing is held."""

    def _values(
        self, kind: ValueKind, values: Sequence[object], accounts: Sequence[object]
    ) -> Sequence[object]:
        match kind:
            case ValueKind.TEXT:
                return [None if one is None else unescape(cast("str", one)) for one in values]
            case ValueKind.INSTANT:
                return self._times.texts(accounts, values)
            case ValueKind.FLAG:
                return [bool(one) for one in values]
            case ValueKind.JSON:
                return [extra_document(one) for one in values]
            case _:
                return values

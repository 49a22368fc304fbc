"""What commands print: tables for people, pipes and programs, and lines beside them.

A result goes to stdout: as a table that fits the terminal, as tab-separated lines where it is
piped, or as JSON with the fields that were asked for. All else goes to stderr.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta, tzinfo
from decimal import Decimal
from typing import TypeAlias

import click
from attrs import field, frozen

__all__ = [
    "Cell",
    "Column",
    "duration_text",
    "is_terminal",
    "json_text",
    "may_ask",
    "note",
    "number_text",
    "plain",
    "quoted",
    "say",
    "show",
    "time_text",
]

Cell: TypeAlias = (
    str
    | int
    | float
    | Decimal
    | datetime
    | date
    | timedelta
    | Sequence[str]
    | Mapping[str, Decimal]
) | None
"""What a place of a table may hold; a mapping is amounts by currency, None is nothing."""

_MAY_BE_KEY = re.compile(r"://|api_key|[0-9A-Za-z]{24}")
"""What no message repeats: a link has the key, and keys have 32 letters and digits or more."""
_DAY = 86_400
_DECIMALS = 2


@frozen
class Column:
    """A column of a table, which is a field for `--json`."""

    name: str
    """In JSON, and in the first line where the output is piped."""
    title: str = ""
    """For people; "" keeps the column from them."""
    help: str = ""
    """What it is, for the list of fields."""
    least_width: int = field(default=0, kw_only=True)
    """Shown only on terminals at least so wide, in characters."""


def plain(text: str) -> str:
    r"""Return text from elsewhere such that it does nothing to a terminal.

    Control characters, those that change the direction of writing and those without a sign are
    shown as escapes.

    >>> plain("a\x1b[2Jb")
    'a\\x1b[2Jb'
    """
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text
    )


def quoted(argument: str) -> str:
    """Return what a user passed, for a message; not if it may be a key or have one in it.

    >>> quoted("onw"), quoted("https://site.example/api.html?api_key=k3y")
    ("'onw'", '(not repeated: it may hold a key)')
    """
    may_be_key = _MAY_BE_KEY.search(argument) is not None
    return "(not repeated: it may hold a key)" if may_be_key else repr(argument)


def say(text: str = "") -> None:
    """Write a line of the result to stdout."""
    click.echo(text)


def note(text: str) -> None:
    """Write a line beside the result, to stderr."""
    click.echo(text, err=True)


def is_terminal(*, error: bool = False) -> bool:
    """Tell whether a person looks at stdout, or at stderr."""
    stream = sys.stderr if error else sys.stdout
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def may_ask() -> bool:
    """Tell whether somebody is there to answer."""
    return sys.stdin.isatty()


# --- texts of values


def number_text(value: Decimal | int) -> str:
    """Return an amount as people write it: at least two decimals, all that there are, no rounding.

    >>> number_text(Decimal("1234567.5")), number_text(Decimal("0.00000921")), number_text(12345)
    ('1,234,567.50', '0.00000921', '12,345')
    """
    if isinstance(value, int):
        return f"{value:,}"
    if not value.is_finite():
        return str(value)
    whole, _, decimals = f"{value:,f}".partition(".")
    return f"{whole}.{decimals.rstrip('0').ljust(_DECIMALS, '0')}"


def time_text(value: datetime, zone: tzinfo | None = None) -> str:
    """Return an instant as people write it, in a zone, to the minute.

    >>> from datetime import UTC
    >>> time_text(datetime(2026, 11, 28, 14, 30, 59, tzinfo=UTC))
    '2026-11-28 14:30'
    """
    try:
        local = value if zone is None else value.astimezone(zone)
    except OverflowError:  # dates that were left empty are of the year 1
        local = value
    return local.strftime("%Y-%m-%d %H:%M").rjust(16, "0")


def duration_text(value: timedelta) -> str:
    """Return a duration in its two largest units.

    >>> duration_text(timedelta(days=2, hours=3, minutes=4)), duration_text(timedelta(seconds=8))
    ('2 d 3 h', '8 s')
    """
    seconds = int(value.total_seconds())
    parts = []
    for size, unit in ((_DAY, "d"), (3600, "h"), (60, "min"), (1, "s")):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count:,} {unit}")
    return " ".join(parts[:2]) or "0 s"


def _for_people(value: Cell, zone: tzinfo | None) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case Decimal() | int():
            return number_text(value)
        case float():
            return f"{value:,.1f}"
        case datetime():
            return time_text(value, zone)
        case date():
            return value.isoformat()
        case timedelta():
            return duration_text(value)
        case str():
            return plain(value)
        case Mapping():
            return ", ".join(f"{number_text(one)} {plain(key)}" for key, one in value.items())
        case _:
            return ", ".join(map(plain, value))


def _for_pipes(value: Cell) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case Decimal():
            return f"{value:f}"
        case datetime() | date():
            return value.isoformat()
        case timedelta():
            return f"{value.total_seconds():g}"
        case Mapping():
            return ",".join(f"{key}={one:f}" for key, one in value.items())
        case str() | int() | float():
            text = str(value)
        case _:
            text = ",".join(value)
    return plain(text)  # a tab or a line's end in it would be another cell


def _for_programs(value: Cell) -> object:
    match value:
        case Decimal():
            return f"{value:f}"
        case datetime() | date():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case Mapping():
            return {key: f"{one:f}" for key, one in value.items()}
        case None | str() | int() | float():
            return value
        case _:
            return list(value)


def json_text(row: Mapping[str, Cell], fields: Sequence[str] | None = None) -> str:
    """Return a row as one line of JSON: amounts as exact text, instants in ISO 8601."""
    chosen = row if fields is None else {name: row.get(name) for name in fields}
    document = {name: _for_programs(value) for name, value in chosen.items()}
    text = json.dumps(document, ensure_ascii=False)
    is_plain = text.isprintable() and (sys.stdout.encoding or "").lower().startswith("utf")
    return text if is_plain else json.dumps(document)  # escaped: it may reach a terminal


# --- tables


def show(
    columns: Sequence[Column],
    rows: Iterable[Mapping[str, Cell]],
    *,
    fields: Sequence[str] | None = None,
    zone: tzinfo | None = None,
    total: Mapping[str, Cell] | None = None,
) -> None:
    """Print a table to stdout in the way that is right for whoever reads it.

    Args:
        columns: what there is, in order.
        rows: a value for each column by its name; what is missing is nothing.
        fields: those of `--json`: print a list of objects with them.
        zone: of the instants, for people; None: as they are.
        total: a last row, for people only.
    """
    found = list(rows)
    if fields is not None:
        lines = ",\n ".join(json_text(row, fields) for row in found)
        say(f"[{lines}]")
    elif is_terminal():
        _show_to_people(columns, found, zone, total)
    else:
        say("\t".join(column.name for column in columns))
        for row in found:
            say("\t".join(_for_pipes(row.get(column.name)) for column in columns))


def _show_to_people(
    columns: Sequence[Column],
    rows: Sequence[Mapping[str, Cell]],
    zone: tzinfo | None,
    total: Mapping[str, Cell] | None,
) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    shown = [one for one in columns if one.title and one.least_width <= console.width]
    table = Table(box=box.SIMPLE_HEAD, show_footer=total is not None, pad_edge=False)
    for column in shown:
        values = [row.get(column.name) for row in rows]
        is_number = any(_is_number(value) for value in values)
        table.add_column(
            Text(column.title),
            footer=Text(_for_people((total or {}).get(column.name), zone)),
            justify="right" if is_number else "left",
            overflow="fold",
            no_wrap=is_number,
        )
    for row in rows:
        table.add_row(*(Text(_for_people(row.get(column.name), zone)) for column in shown))
    console.print(table)


def _is_number(value: Cell) -> bool:
    return isinstance(value, int | float | Decimal | timedelta) and not isinstance(value, bool)

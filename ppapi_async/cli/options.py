"""Options that several commands have, and the kinds of their values."""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar, cast
from zoneinfo import ZoneInfo, available_timezones

import click

from ppapi_async.cli.output import Column, quoted

if TYPE_CHECKING:
    from ppapi_async.watching.resources import ResourceName

__all__ = [
    "LAST_PORT",
    "MOST_ROWS",
    "RESOURCES",
    "accounts_option",
    "check_period",
    "database_option",
    "duration",
    "interval_option",
    "json_fields",
    "json_option",
    "metrics_option",
    "moment",
    "names_option",
    "resources_option",
    "seed_option",
    "since",
    "since_option",
    "until_option",
    "utc_option",
    "whole_number",
    "zone",
]

F = TypeVar("F", bound=Callable[..., object])

LAST_PORT = 65_535
MOST_ROWS = 10_000_000  # of a sandbox: about four gigabytes
RESOURCES: tuple[ResourceName, ...] = ("links", "exchanges", "payouts", "info")
_ALL = "all"
_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DURATION = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)\s*(s|m|min|h|d|w)")


def whole_number(least: int, most: int) -> Callable[[str | int], int]:
    """Return a `type` of an option: whole numbers in a range."""

    def number(value: str | int) -> int:
        try:
            found = int(value)
        except ValueError:
            found = least - 1
        if not least <= found <= most:
            raise click.BadParameter(f"{str(value)!r}: pass a whole number from {least} to {most}")
        return found

    return number


def duration(value: str | timedelta) -> timedelta:
    """Return the duration that `90s`, `15m`, `12h`, `30d` or `2w` says; a `type` of an option.

    Raises:
        click.BadParameter: it says none.
    """
    if isinstance(value, timedelta):  # click converts defaults, too
        return value
    found = _DURATION.fullmatch(value.strip().lower())
    if found is None or not float(found[1]):
        raise click.BadParameter(f"{value!r} is none; write 90s, 15m, 12h, 30d or 2w")
    return timedelta(seconds=float(found[1]) * _UNITS[found[2]])


def moment(value: str | datetime) -> datetime:
    """Return the instant, in UTC: `30d` is so long ago, a date or time without an offset of UTC.

    Raises:
        click.BadParameter: it is none.
    """
    if isinstance(value, datetime):
        return value
    text = value.strip()
    try:
        if _DURATION.fullmatch(text.lower()):
            return datetime.now(UTC) - duration(text)
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"{value!r} is none; write 30d for 30 days ago, 2026-11-01, or 2026-11-01T12:00+03:00"
        ) from None


def since(value: str | datetime) -> datetime | None:
    """Return the instant that `moment` reads; None for `all`, which is from the beginning.

    Raises:
        click.BadParameter: it is none.
    """
    return None if value == _ALL else moment(value)


def check_period(start: datetime | None, end: datetime | None) -> None:
    """Refuse a time that does not begin before it ends; None has no limit.

    Raises:
        click.UsageError: it does not.
    """
    if start is not None and end is not None and start >= end:
        raise click.UsageError("--since must be before --until")


def zone(value: str | ZoneInfo) -> ZoneInfo:
    """Return the time zone of a name.

    Raises:
        click.BadParameter: there is none of this name.
    """
    if isinstance(value, ZoneInfo):
        return value
    try:
        return ZoneInfo(value)
    except (KeyError, ValueError, OSError):  # ZoneInfoNotFoundError is a KeyError
        names = {name.lower(): name for name in sorted(available_timezones())}
        cities = {name.rpartition("/")[2]: name for name in names}
        wanted = value.strip().lower().replace(" ", "_")
        near = difflib.get_close_matches(wanted, names | cities, n=1, cutoff=0.75)
        found = names.get(near[0]) or names[cities[near[0]]] if near else None
        hint = f"did you mean {found}?" if found else "pass one such as Europe/Moscow"
        raise click.BadParameter(f"{quoted(value)} is unknown; {hint}") from None


# --- options


def since_option(default: str = _ALL, *, type: Callable[[str], object] = since) -> Callable[[F], F]:  # noqa: A002
    """Add `--since WHEN`: from when on rows are wanted.

    Args:
        default: what stands for it where it is not given.
        type: what reads it.
    """
    return click.option(
        "--since",
        type=type,
        metavar="WHEN",
        default=default,
        show_default=True,
        help="Rows from then on: 30d, 2026-11-01, or all.",
    )


def until_option(
    default: str = "now",
    *,
    type: Callable[[str], object] = moment,  # noqa: A002
) -> Callable[[F], F]:
    """Add `--until WHEN`: up to when rows are wanted, exclusive.

    Args:
        default: what is told of it where it is not given.
        type: what reads it.
    """
    return click.option(
        "--until",
        type=type,
        metavar="WHEN",
        show_default=default,
        help="Rows before then: 30d, 2026-11-01.",
    )


def names_option(function: F) -> F:
    """Add `[NAME]...` and `--account NAME`, which say the same: the accounts, all without any."""

    @functools.wraps(function)
    def decorated(*, names: tuple[str, ...], named: tuple[str, ...], **others: object) -> object:
        return function(names=tuple(dict.fromkeys((*names, *named))), **others)

    argument = click.argument("names", metavar="[NAME]...", nargs=-1)
    option = click.option(
        "--account",
        "named",
        metavar="NAME",
        multiple=True,
        show_default="all accounts",
        help="Only this account, as NAME does; may be given again.",
    )
    return cast("F", argument(option(decorated)))


def _resources(value: str | tuple[ResourceName, ...]) -> tuple[ResourceName, ...]:
    """Return what is named, with commas between, in the order of `RESOURCES`.

    Raises:
        click.BadParameter: nothing is, or something that there is not.
    """
    if isinstance(value, tuple):  # click converts defaults, too
        return value
    wanted = [name.strip() for name in value.split(",")]
    strange = [name for name in wanted if name not in RESOURCES]
    if strange:
        raise click.BadParameter(
            f"{quoted(strange[0])} is none; choose from {', '.join(RESOURCES)}, with commas between"
        )
    return tuple(name for name in RESOURCES if name in wanted)


def resources_option(meaning: str) -> Callable[[F], F]:
    """Add `--resources RESOURCE,…`.

    Args:
        meaning: what is done with them.
    """
    return click.option(
        "--resources",
        type=_resources,
        metavar="RESOURCE,…",
        default=",".join(RESOURCES),
        show_default=True,
        help=meaning,
    )


def interval_option(meaning: str) -> Callable[[F], F]:
    """Add `--interval TIME`.

    Args:
        meaning: from what to what it is.
    """
    return click.option(
        "--interval",
        type=duration,
        metavar="TIME",
        default="60s",
        show_default=True,
        help=meaning,
    )


def seed_option(function: F) -> F:
    """Add `--seed N`: of what sandboxes make up."""
    return click.option(
        "--seed",
        type=int,
        metavar="N",
        default=1,
        show_default=True,
        help="The same seed makes up the same books.",
    )(function)


def accounts_option(function: F) -> F:
    """Add `--accounts FILE`: the accounts file."""
    return click.option(
        "--accounts",
        "accounts_file",
        metavar="FILE",
        envvar="PPAPI_ACCOUNTS",
        show_envvar=True,
        show_default="that of 'ppapi init'",
        help="The accounts file.",
    )(function)


def database_option(name: str) -> Callable[[F], F]:
    """Add `--to URL` or `--from URL`: the database of the copy.

    Args:
        name: of the option, such as "--to".
    """
    return click.option(
        name,
        "database",
        metavar="URL",
        envvar="PPAPI_MIRROR",
        show_envvar=True,
        show_default="partner.db in the place for data",
        help="The copy: a file, or postgresql://USER@HOST/NAME.",
    )


def address(value: str | tuple[str, int]) -> tuple[str, int]:
    """Return the host and the port that `127.0.0.1:9464` says; a `type` of an option.

    Raises:
        click.BadParameter: it says none.
    """
    if isinstance(value, tuple):  # click converts defaults, too
        return value
    host, colon, port = value.strip().rpartition(":")
    if not port.isascii() or not port.isdigit() or not 0 < int(port) <= LAST_PORT:
        raise click.BadParameter(f"{quoted(value)} has no port; write 9464 or 127.0.0.1:9464")
    if colon and not host:
        raise click.BadParameter(f"{quoted(value)} has no host; 0.0.0.0 is all addresses")
    return host.strip("[]") or "127.0.0.1", int(port)


def metrics_option(text: str) -> Callable[[F], F]:
    """Add `--metrics HOST:PORT`: where metrics are served while the command runs."""
    return click.option("--metrics", type=address, metavar="[HOST:]PORT", help=text)


def utc_option(function: F) -> F:
    """Add `--utc`: instants are shown in UTC, not in the zone of their account."""
    return click.option(
        "--utc", is_flag=True, help="Show times in UTC, not in the zone of their account."
    )(function)


def json_fields(
    columns: Sequence[Column], value: str | None, context: click.Context | None = None
) -> tuple[str, ...] | None:
    """Return the fields that `--json` names; None without it.

    Raises:
        click.UsageError: it names none, or one that there is not; the message lists all.
    """
    if value is None:
        return None
    known = [column.name for column in columns]
    wanted = tuple(dict.fromkeys(name.strip() for name in value.split(",") if name.strip()))
    unknown = [name for name in wanted if name not in known]
    if wanted and not unknown:
        return wanted
    width = max(map(len, known))
    listed = "\n".join(f"  {one.name.ljust(width)}  {one.help}".rstrip() for one in columns)
    problem = f"there is no field {unknown[0]!r}" if unknown else "name fields"
    raise click.UsageError(
        f"--json: {problem}; choose from, with commas between:\n{listed}", context
    )


def json_option(columns: Sequence[Column] | None = None) -> Callable[[F], F]:
    """Add `--json FIELDS`: a list of objects with these fields, in place of a table.

    Args:
        columns: what there is; None: the command says, with `json_fields`.
    """

    def fields_of(
        context: click.Context, _: click.Parameter, value: str | None
    ) -> tuple[str, ...] | str | None:
        return value if columns is None else json_fields(columns, value, context)

    return click.option(
        "--json",
        "fields",
        metavar="FIELDS",
        is_flag=False,
        flag_value="",
        callback=fields_of,
        help="Print JSON objects with these fields, with commas between; without any, list the"
        " fields there are.",
    )

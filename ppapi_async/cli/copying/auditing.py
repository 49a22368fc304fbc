"""What `audit` does: asks the sites again, and compares them with the copy, account by account.

The database is only read. So it goes well beside a `sync --follow` that writes to it.
"""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime, tzinfo
from pathlib import Path

from ppapi_async.account import Account
from ppapi_async.cli.exits import CommandFailed, Exit
from ppapi_async.cli.exporting.texts import defuse
from ppapi_async.cli.output import Cell
from ppapi_async.cli.progress import WorkProgress, progress_of
from ppapi_async.cli.whole_file import whole_file
from ppapi_async.fleet.fleet import Fleet
from ppapi_async.mirror import Audit, Difference, DifferenceKind
from ppapi_async.mirror.audit import audit
from ppapi_async.mirror.store import StoreToRead
from ppapi_async.models import Record
from ppapi_async.transport.hooks import RequestFacts
from ppapi_async.watching.resources import ResourceName

__all__ = ["compare", "in_words", "left_out", "row_of", "summary", "write"]

_AT_ONCE = 20
"""Accounts. Each has a window of rows of both sides in memory."""
_RESOURCES: Sequence[ResourceName] = ("payouts", "exchanges", "links")
_LONGEST, _PAIRS = 60, 3
"""Characters of a value, and fields of a row, on the screen."""
FIELDS = ("kind", "account", "resource", "id", "time", "fields", "here", "there", "proven_at")


async def compare(
    url: str, accounts: Sequence[Account], *, start: datetime | None, end: datetime | None
) -> Audit:
    """Compare the copy with the sites.

    Raises:
        StateError: the database could not be read.
        CommandFailed: the url is not usable, or what a database needs is not installed.
    """
    slots = asyncio.Semaphore(_AT_ONCE)
    requests: Counter[str] = Counter()
    try:
        store = await StoreToRead.open_to_read(url)
    except (ValueError, ImportError) as error:
        raise CommandFailed(str(error), Exit.USAGE) from None

    with progress_of(len(accounts)) as progress:

        def count(facts: RequestFacts) -> None:
            requests[facts.account] += 1
            progress.update(facts.account, requests=requests[facts.account], what=_what(facts))

        async with aclosing(store), Fleet(accounts, on_request=count) as fleet:

            async def compare_one(account: Account) -> Audit:
                async with slots:
                    sessions = {account.name: fleet.session(account.name)}
                    found = await audit(store, sessions, _RESOURCES, start=start, end=end)
                _end(progress, account.name, requests[account.name], found)
                return found

            parts = await asyncio.gather(*map(compare_one, accounts))
            errors = {name: error for part in parts for name, error in part.errors.items()}
            return Audit.of(parts, errors, start=start, end=end)
    raise AssertionError  # no block above swallows an error


def _what(facts: RequestFacts) -> str:
    return facts.method.removeprefix("get_").removeprefix("partner_")


def _end(progress: WorkProgress, name: str, requests: int, found: Audit) -> None:
    progress.end(name, rows=found.rows, requests=requests, has_failed=bool(found.errors))


# --- what is shown


def row_of(found: Difference, zones: Mapping[str, tzinfo]) -> Mapping[str, Cell]:
    """Return a row of the table: of both sides what differs, or all of the one that is there.

    Args:
        found: the difference.
        zones: in which times are told, by account.
    """
    row, zone = found.there or found.here, zones[found.account]
    time: datetime | None = getattr(row, "time", None)
    return {
        "kind": str(found.kind),
        "account": found.account,
        "resource": found.resource,
        "id": str(found.id),  # a number, but none to put commas into
        "time": _in_zone(time, zone),
        "fields": found.fields,
        "here": _as_json(found.here, found.fields),
        "there": _as_json(found.there, found.fields),
        "proven_at": _in_zone(found.proven_at, zone),
    }


def _in_zone(time: datetime | None, zone: tzinfo) -> datetime | None:
    try:
        return None if time is None else time.astimezone(zone)
    except OverflowError:  # dates that were left empty are of the year 1
        return time


def _as_json(record: Record | None, fields: Collection[str]) -> str | None:
    """Return a row, or these fields of it, as JSON: amounts as exact text."""
    if record is None:
        return None
    values = record.to_dict()
    chosen = {name: values[name] for name in fields if name in values} if fields else values
    return json.dumps(chosen, ensure_ascii=False)


def in_words(row: Mapping[str, Cell]) -> str:
    """Return what differs, for people."""
    if row["kind"] == DifferenceKind.MISSING:
        return "missing in the copy"
    if row["kind"] == DifferenceKind.EXTRA:
        return "the site has it no more"
    here, there = json.loads(str(row["here"])), json.loads(str(row["there"]))
    pairs = [f"{name} {_short(here[name])}, at the site {_short(there[name])}" for name in here]
    more = [f"and {len(pairs) - _PAIRS} more"] if len(pairs) > _PAIRS else []
    return "; ".join([*pairs[:_PAIRS], *more])


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def summary(found: Audit) -> str:
    """Return in one line what was compared and what differs."""
    if not found.differences:
        return f"{found.rows:,} rows of the sites compared, none of them differs"
    kinds = Counter(str(one.kind) for one in found.differences)
    parts = ", ".join(f"{count:,} {kind}" for kind, count in sorted(kinds.items()))
    return f"{found.rows:,} rows of the sites compared, {len(found.differences):,} differ: {parts}"


def left_out(found: Audit) -> list[str]:
    """Return a line for each kind of rows that could not be compared."""
    lines = (
        (found.unreadable, "cannot be read, as the sites send them"),
        (found.uncovered, "newer than the copy, or of a time that it has not read"),
        (found.unsettled, "changed meanwhile, or are to be read again by what follows the sites"),
    )
    return [f"not compared: {count:,} rows: {why}" for count, why in lines if count]


def write(path: Path, differences: Sequence[Difference], zones: Mapping[str, tzinfo]) -> None:
    """Write the differences into a CSV file, whole or not at all.

    Raises:
        CommandFailed: it could not be written.
    """
    text = io.StringIO(newline="")
    lines = csv.writer(text)
    lines.writerow(FIELDS)
    for one in differences:
        row = row_of(one, zones)
        lines.writerow([_cell(row[name]) for name in FIELDS])
    with whole_file(path) as file:
        file.write(text.getvalue().encode())


def _cell(value: Cell) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, str):
        return defuse(value)
    return " ".join(map(str, value)) if isinstance(value, Sequence) else str(value)

"""Where exported rows are from: a mirror, or the sites themselves."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Sequence
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from typing import Protocol, TypeAlias
from zoneinfo import ZoneInfo

from attrs import define, field
from sqlalchemy import func, select

from ppapi_async.account import Account
from ppapi_async.cli.accounts import check_known
from ppapi_async.cli.exporting.columns import ExportColumn, export_columns
from ppapi_async.cli.exporting.formats import Values
from ppapi_async.cli.exporting.texts import Zones
from ppapi_async.cli.output import note, plain, time_text
from ppapi_async.errors import PPAPIError
from ppapi_async.fleet.fleet import Fleet
from ppapi_async.fleet.merged import Merged
from ppapi_async.fleet.per_account import OnUnreadableOf
from ppapi_async.mirror import MirrorSnapshot, ReadOnlyMirror
from ppapi_async.mirror.rows import Codec
from ppapi_async.mirror.schema import accounts, unreadable
from ppapi_async.mirror.types import amount_text, instant_text
from ppapi_async.models import Exchange, Link, Payout, UnreadableRow
from ppapi_async.transport.retry import Retry

__all__ = ["LiveRows", "MirrorRows", "RowSource", "open_mirror", "open_sites"]

Bounds: TypeAlias = tuple[datetime | None, datetime | None]
_RETRY = Retry()
_SHOWN = 3
"""Accounts that a note names."""


class RowSource(Protocol):
    """Rows of one resource."""

    @property
    def columns(self) -> Sequence[ExportColumn]:
        """What the rows have."""

    @property
    def zones(self) -> Zones:
        """The zone of each account."""

    def pieces(self) -> AsyncGenerator[Sequence[Values], None]:
        """Read the rows, oldest first."""


@define(eq=False)
class MirrorRows(RowSource):
    """Rows of a mirror, those of all accounts in order of time."""

    _snapshot: MirrorSnapshot
    _resource: str
    _bounds: Bounds
    _with_gone: bool
    zones: Zones
    notes: list[str]
    """What there is to say of how far the mirror is."""
    columns: tuple[ExportColumn, ...] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.columns = export_columns(self._resource, from_mirror=True)

    async def pieces(self) -> AsyncGenerator[Sequence[Values], None]:
        """Read the rows, oldest first."""
        start, end = self._bounds
        rows = self._snapshot.rows(
            self._resource,
            [column.name for column in self.columns],
            start=start,
            end=end,
            accounts=self.zones,
            stored=True,
        )
        async with contextlib.aclosing(rows):
            async for piece in rows:
                # `gone_at` stands last.
                kept = piece if self._with_gone else [row for row in piece if row[-1] is None]
                yield kept if self._snapshot.is_sqlite else [_as_in_sqlite(row) for row in kept]


def _as_in_sqlite(row: Values) -> Values:
    """Return a row of PostgreSQL's as one of SQLite's."""
    return [
        instant_text(one)
        if isinstance(one, datetime)
        else amount_text(one)
        if isinstance(one, Decimal)
        else one
        for one in row
    ]


@contextlib.asynccontextmanager
async def open_mirror(
    url: str, resource: str, bounds: Bounds, names: Sequence[str], *, with_gone: bool
) -> AsyncIterator[MirrorRows]:
    """Open a mirror for reading.

    Args:
        url: of its database.
        resource: links, exchanges or payouts.
        bounds: from when, and before when.
        names: of the accounts; all without any.
        with_gone: have those rows, too, that the site lists no more.

    Raises:
        StateError: there is none, or it cannot be read.
        click.UsageError: there is no account of a name.
    """
    async with ReadOnlyMirror(url) as mirror:
        async with mirror.connect() as connection:
            wanted = accounts.c
            query = select(wanted.name, wanted.timezone, wanted.last_synced).order_by(
                wanted.account
            )
            found = {one.name: one for one in await connection.execute(query)}
            counting = (
                select(wanted.name, func.count())
                .select_from(unreadable.join(accounts, unreadable.c.account == wanted.account))
                .where(unreadable.c.resource == resource)
                .group_by(wanted.name)
            )
            odd = {one[0]: one[1] for one in await connection.execute(counting)}
        check_known(found, names, place=" in the copy")
        chosen = [name for name in found if not names or name in names]
        zones = {name: _zone(name, found[name].timezone) for name in chosen}
        notes = _notes({name: found[name].last_synced for name in chosen})
        notes += [
            f"{plain(name)}: the site lists {count:,} rows that cannot be read, and are not there"
            for name, count in odd.items()
            if name in chosen
        ]
        async with mirror.snapshot() as snapshot:
            yield MirrorRows(snapshot, resource, bounds, with_gone, zones, notes)


def _zone(account: str, name: str) -> tzinfo:
    """Return a zone; UTC where this machine does not know it, which the user is told."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # ZoneInfoNotFoundError is a KeyError
        note(f"{plain(account)}: its zone {plain(name)} is unknown here; its times are in UTC")
        return UTC


def _notes(synced: dict[str, datetime | None]) -> list[str]:
    never = [name for name, when in synced.items() if when is None]
    notes = []
    if never:
        shown = ", ".join(map(plain, never[:_SHOWN]))
        more = f" and {len(never) - _SHOWN:,} more" if len(never) > _SHOWN else ""
        notes.append(f"not all of {shown}{more} has been copied yet; run 'ppapi sync'")
    oldest = min((when for when in synced.values() if when is not None), default=None)
    if oldest is not None:
        notes.append(f"the copy is as of {time_text(oldest, UTC)} UTC")
    return notes


@define(eq=False)
class LiveRows(RowSource):
    """Rows from the sites: complete and oldest first for each account, in turns between them."""

    _resource: str
    _merged: Merged[Link] | Merged[Exchange] | Merged[Payout]
    zones: Zones
    columns: tuple[ExportColumn, ...] = field(init=False)
    failed: dict[str, PPAPIError] = field(factory=dict)
    """Accounts of which not all could be read, and why."""

    def __attrs_post_init__(self) -> None:
        self.columns = export_columns(self._resource, from_mirror=False)

    async def pieces(self) -> AsyncGenerator[Sequence[Values], None]:
        """Read the rows, window by window."""
        row_of = Codec.of(self._resource, sqlite=True).row_of
        async with self._merged as merged:
            async for name, window in merged.windows():
                if isinstance(window, PPAPIError):
                    self.failed[name] = window
                else:
                    yield [(name, *row_of(record)) for record in window.records]


def _merged(
    fleet: Fleet, resource: str, bounds: Bounds, on_unreadable: OnUnreadableOf | None
) -> Merged[Link] | Merged[Exchange] | Merged[Payout]:
    start, end = bounds
    if resource == "links":
        return fleet.iter_links(start, end, on_unreadable=on_unreadable)
    if resource == "exchanges":
        return fleet.iter_exchanges(start, end, on_unreadable=on_unreadable)
    return fleet.iter_payouts(start, end, on_unreadable=on_unreadable)


@contextlib.asynccontextmanager
async def open_sites(
    chosen: Collection[Account],
    resource: str,
    bounds: Bounds,
    *,
    odd: dict[str, list[UnreadableRow]] | None,
) -> AsyncIterator[LiveRows]:
    """Open sessions to sites.

    Args:
        chosen: the accounts.
        resource: links, exchanges or payouts.
        bounds: from when, and before when.
        odd: takes the rows that cannot be read, by account; None: an account with any fails.
    """

    def take(name: str, row: UnreadableRow) -> None:
        if odd is not None:
            odd.setdefault(name, []).append(row)

    async with Fleet(chosen, retry=_RETRY) as fleet:
        merged = _merged(fleet, resource, bounds, None if odd is None else take)
        yield LiveRows(resource, merged, {one.name: ZoneInfo(one.timezone) for one in chosen})

"""Reading accounts again and again, for those who keep what they get by account and id.

The first run reads everything; a later one what is new, and what may have changed. How far each
account is stands in a bookmark, which the caller keeps together with the rows: so a run that is
killed anywhere goes on where what was kept ends. Rows come at least once.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Mapping, MutableMapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal, TypeAlias, cast

from attrs import define, evolve, field, frozen

from ppapi_async.account import Account
from ppapi_async.errors import PPAPIError
from ppapi_async.fleet.fleet import Fleet
from ppapi_async.fleet.merged import Merged
from ppapi_async.fleet.per_account import OnUnreadableOf
from ppapi_async.models import Exchange, Json, Link, Payout, Row

__all__ = ["LEAST_LOOKBACK", "Bookmark", "Bookmarks", "ListResource", "Reread", "read_again"]

ListResource: TypeAlias = Literal["links", "exchanges", "payouts"]
Bookmarks: TypeAlias = MutableMapping[str, dict[str, Json]]
"""How far each account is, by its name, as JSON without a key."""
LEAST_LOOKBACK = timedelta(days=1)
"""Rows are dated by the site's clock, and its zone may be wrong by up to 14 hours."""
_LATE_CLICKS = timedelta(days=3)
_VERSION = 1


@frozen(kw_only=True)
class Reread:
    """What to read, and how much of it again.

    Args:
        since: where to begin; None: with the first row that a site has.
        lookback: how old a row may be and its changes are still looked for.
        status_history: ask for the histories of exchanges as well.
    """

    since: datetime | None = None
    lookback: timedelta = timedelta(days=30)
    status_history: bool = False

    def __attrs_post_init__(self) -> None:
        if self.lookback < LEAST_LOOKBACK:
            raise ValueError("lookback: pass a day or more")

    def identity(self, account: Account) -> dict[str, Json]:
        """Return what has to be as it was for a bookmark to be good: else all is read anew."""
        return {
            "since": None if self.since is None else self.since.astimezone(UTC).isoformat(),
            "timezone": account.timezone,
            "status_history": self.status_history,
        }


@define(eq=False)
class Bookmark:
    """How far one resource of one account is: the checkpoint of a stream, and what comes after it.

    A range that was read to its end is followed by one that begins `lookback` before its newest
    row, or before its own beginning, whichever is earlier: neither a site nor a machine whose clock
    is wrong has rows left out.

    Args:
        document: what is kept; it is changed in place. An empty one is a new account's.
        account: the account.
        reread: what to read.
        now: when this run began.
    """

    document: dict[str, Json]
    account: Account
    reread: Reread
    now: datetime
    start: datetime | None = field(init=False)
    """Where the stream begins."""
    _began: datetime = field(init=False)
    _newest: datetime | None = field(init=False, default=None)
    _is_stopped: bool = field(init=False, default=False)

    def __attrs_post_init__(self) -> None:
        self.start, self._began = self.reread.since, self.now
        known = self.document
        if known.get("version") != _VERSION or known.get("of") != self.reread.identity(
            self.account
        ):
            known.clear()
        self._newest = _instant(known.get("newest"))
        if "began" in known:  # a run was interrupted
            self._began = _instant(known["began"]) or self.now
            self.start = _instant(known.get("start"))
            return
        if self._newest is not None:
            with contextlib.suppress(OverflowError):  # dates that were left empty
                again = self._newest - self.reread.lookback
                self.start = again if self.start is None else max(again, self.start)
        known |= {
            "version": _VERSION,
            "of": self.reread.identity(self.account),
            "began": self.now.isoformat(),
            "start": None if self.start is None else self.start.isoformat(),
            "position": None,
        }

    def load(self) -> Mapping[str, Json] | None:
        """Return the position of the stream that was interrupted, None if there is none."""
        position = self.document.get("position")
        if not isinstance(position, dict):
            return None
        known = (self.account.fingerprint, *self.account.former_fingerprints)
        # An account without a name of its own that has got a new key begins the range anew.
        return position if position.get("account") in known else None

    def save(self, position: Mapping[str, Json]) -> None:
        """Note the position of the stream; at its end, that the range has been read."""
        if self._is_stopped:
            return
        newest = None if self._newest is None else self._newest.isoformat()
        if position.get("finished"):
            for name in ("began", "start", "position"):
                self.document.pop(name, None)
        else:
            # Whoever keeps rows by their id needs no list of those that came already.
            self.document["position"] = {**position, "told": [], "rows": 0}
        self.document["newest"] = newest

    def stop(self) -> None:
        """Stay as it is, whatever is saved from now on."""
        self._is_stopped = True

    def note(self, rows: Sequence[Row]) -> None:
        """Note rows that have been handed out."""
        for row in rows[-1:]:  # they come oldest first
            found = min(row.time, self._began)
            self._newest = found if self._newest is None else max(found, self._newest)


def _instant(value: Json) -> datetime | None:
    """Return an instant of a bookmark, None where there is none.

    Raises:
        ValueError: it is none that `save` has written.
    """
    if value is None:
        return None
    with contextlib.suppress(TypeError, ValueError):
        found = datetime.fromisoformat(cast("str", value))
        if found.tzinfo is not None:
            return found
    raise ValueError("bookmark: is damaged; leave it out to read everything anew")


async def read_again(
    fleet: Fleet,
    resource: ListResource,
    bookmarks: Bookmarks,
    reread: Reread,
    *,
    now: datetime,
    on_unreadable: OnUnreadableOf | None = None,
) -> AsyncGenerator[tuple[str, Sequence[Link | Exchange | Payout] | PPAPIError], None]:
    """Yield the rows of all accounts in pieces, as `(name, rows)`; close it when it is left early.

    A piece counts as kept when the next one is asked for: then the bookmark of its account moves.
    An account that fails ends with `(name, error)`, and the others go on.

    Args:
        fleet: the accounts, open.
        resource: "links", "exchanges" or "payouts".
        bookmarks: how far each account is; changed in place.
        reread: what to read.
        now: the present.
        on_unreadable: takes each row that cannot be read, with the account's name; None: its
            account fails, when all other rows of it have come.

    Raises:
        ValueError: a bookmark is damaged.
    """
    if resource == "links":  # they never change: only late ones are looked for
        reread = evolve(reread, lookback=min(reread.lookback, _LATE_CLICKS))
    marks = {
        name: Bookmark(bookmarks.setdefault(name, {}), fleet.session(name).account, reread, now)
        for name in fleet.status()
    }
    is_done = False
    async with _merged(fleet, resource, marks, reread, on_unreadable) as merged:
        try:
            async for name, window in merged.windows():
                if isinstance(window, PPAPIError):
                    yield name, window
                    continue
                if window.records:
                    yield name, window.records
                marks[name].note(window.records)
            is_done = True
        finally:
            if not is_done:  # of the last piece nobody knows whether all of it was kept
                for mark in marks.values():
                    mark.stop()


def _merged(
    fleet: Fleet,
    resource: ListResource,
    marks: Mapping[str, Bookmark],
    reread: Reread,
    on_unreadable: OnUnreadableOf | None,
) -> Merged[Link] | Merged[Exchange] | Merged[Payout]:
    starts = {name: mark.start for name, mark in marks.items()}
    if resource == "links":
        return fleet.iter_links(starts, checkpoints=marks, on_unreadable=on_unreadable)
    if resource == "exchanges":
        return fleet.iter_exchanges(
            starts,
            checkpoints=marks,
            on_unreadable=on_unreadable,
            status_history=reread.status_history,
        )
    return fleet.iter_payouts(starts, checkpoints=marks, on_unreadable=on_unreadable)

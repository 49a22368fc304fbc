"""Hands changes over to programs and servers: in order, and again until they take them.

A change counts as delivered only after that. Killed in between, a later run delivers it again,
under the same id, so that who takes it can tell.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Protocol

from attrs import define, field, frozen

from ppapi_async.cli.exits import CommandFailed
from ppapi_async.cli.output import duration_text, note
from ppapi_async.cli.watching.texts import AnyChange, change_document
from ppapi_async.errors import StateError
from ppapi_async.storage import State
from ppapi_async.transport.hooks import Hooks

__all__ = ["Deliveries", "FreshState", "Parcel", "Problem", "Recipient"]

_LONGEST_WAIT = 300.0
_LONGEST_ASKED = 3600.0
_WATCH = "ppapi watch: deliveries"
"""Under which name the ids of what is being delivered are kept."""


@frozen
class Parcel:
    """A change on its way."""

    id: str
    """The same each time that it is sent."""
    body: bytes
    """The change as JSON."""


@frozen
class Problem:
    """Why a change was not taken."""

    text: str
    may_pass: bool = True
    """Whether to send it again is of any use."""
    wait: float = 0.0
    """Seconds that the other side asks to wait for."""


class Recipient(Protocol):
    """Takes changes."""

    name: str
    """What to call it; nothing in it is secret."""

    async def take(self, parcel: Parcel) -> Problem | None:
        """Hand a change over, once; None: it was taken."""


@define(eq=False)
class Deliveries:
    """Hands changes over, one after the other.

    Args:
        state: keeps the ids of what is being delivered.
        recipients: each gets every change, in this order.
        skip_refused: go on without those that a recipient refuses for good.
        hooks: time and chance.
    """

    _state: State
    _recipients: Collection[Recipient]
    _skip_refused: bool
    _hooks: Hooks
    _ids: dict[str, str] | None = None
    _done: list[str] = field(factory=list)
    """Rows whose change was delivered, and may be forgotten once that is saved."""

    async def deliver(self, change: AnyChange) -> None:
        """Hand a change over to all recipients; return when they have taken it.

        Raises:
            CommandFailed: one refuses it for good.
        """
        if not self._recipients:
            await self._forget()
            return
        parcel, key = await self._parcel(change)
        for recipient in self._recipients:
            await self._deliver(recipient, parcel)
        self._done.append(key)

    async def _deliver(self, recipient: Recipient, parcel: Parcel) -> None:
        attempt = 0
        while (problem := await recipient.take(parcel)) is not None:
            if not problem.may_pass:
                if self._skip_refused:
                    note(f"{recipient.name}: {problem.text}; change {parcel.id} is left out")
                    return
                raise CommandFailed(
                    f"{recipient.name}: {problem.text}; the next run begins with this change"
                    " again, --skip-refused goes on without such"
                )
            longest = min(_LONGEST_WAIT, 2.0**attempt)
            asked = min(problem.wait, _LONGEST_ASKED)
            wait = max(asked, longest * (0.5 + self._hooks.chance() / 2))
            shown = duration_text(timedelta(seconds=max(1.0, wait)))
            note(f"{recipient.name}: {problem.text}; again in {shown}")
            await self._hooks.sleep(wait)
            attempt = min(attempt + 1, 20)

    async def _forget(self) -> None:
        """Forget the ids of a former run: whatever it delivered, this is something else."""
        if self._ids is None:
            kept = await self._state.load(_WATCH)
            if kept:
                await self._state.save(_WATCH, {}, list(kept))
            self._ids = {}

    async def _parcel(self, change: AnyChange) -> tuple[Parcel, str]:
        """Return the change as it is sent, and under what its id is kept.

        The id is made up, not made of the change: the same may happen to a row twice, and the
        second must not be taken for a repeat. It is saved before the change is sent the first time,
        and forgotten when the next change comes, which is after this one counts as delivered.
        """
        document = change_document(change)
        body = json.dumps(document).encode()
        row = json.dumps([document[name] for name in ("account", "resource", "id")])
        key, digest = (hashlib.sha256(one).hexdigest() for one in (row.encode(), body))
        if self._ids is None:
            self._ids = dict(await self._state.load(_WATCH))
        known = self._ids.get(key, "").split()
        if len(known) == 2 and known[0] == digest and key not in self._done:
            return Parcel(known[1], body), key
        given = f"msg_{secrets.token_hex(16)}"
        gone = [one for one in self._done if one != key]
        self._ids = {name: one for name, one in self._ids.items() if name not in gone}
        self._ids[key], self._done = f"{digest} {given}", []
        with contextlib.suppress(StateError):  # at worst it is sent again under another id
            await self._state.save(_WATCH, {key: self._ids[key]}, gone)
        return Parcel(given, body), key


@define(eq=False)
class FreshState(State):
    """A state that forgets what it has of each watch when that is first asked for."""

    _state: State
    _begun: set[str] = field(factory=set)

    async def load(self, watch: str) -> Mapping[str, str]:
        """Return all entries that were saved since this was made."""
        entries = await self._state.load(watch)
        if watch in self._begun:
            return entries
        await self._state.save(watch, {}, list(entries))
        self._begun.add(watch)
        return {}

    async def read(self, watch: str, name: str) -> str | None:
        """Return one entry."""
        return await self._state.read(watch, name)

    async def save(self, watch: str, put: Mapping[str, str], drop: Collection[str] = ()) -> None:
        """Drop the named entries, then put these in."""
        await self._state.save(watch, put, drop)

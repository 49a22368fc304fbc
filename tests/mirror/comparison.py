"""Compares a mirror with the books of a park, and with all that they ever showed.

It knows nothing of how the mirror works: only the books, what they showed from when to when, when
readings began that went well, and what the database has now.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

from attrs import define, field
from sqlalchemy import text

from ppapi_async.mirror import MirrorChange
from ppapi_async.mirror.queries import changes as changes_of
from ppapi_async.mirror.store import MirrorStore
from ppapi_async.watching.changes import ChangeKind
from ppapi_async.watching.resources import ResourceName
from tests.sites.park import INFO_ID, Desk, Facts, Record, State, facts_of

__all__ = ["Comparison", "compare"]

RESOURCES: Sequence[ResourceName] = ("links", "exchanges", "payouts", "info")
_CLICKS_AGAIN = 26 * 3600
"""Seconds: clicks that were read are read again once a day."""
Shown = Facts | None
"""What an answer shows of a row; None: nothing."""


@define(eq=False)
class Comparison:
    """What does not agree is in `wrong`."""

    desks: Sequence[Desk]
    reads: Mapping[str, Sequence[float]]
    """Of each account, when readings began that went well, in order."""
    wrong: list[str] = field(factory=list)
    changes: int = 0
    """In the database."""
    required: int = 0
    """States of rows, first ones aside, that lasted long enough and so had to be seen."""
    rows: int = 0
    cursors: dict[tuple[str, str], list[str]] = field(factory=dict)
    """Of each account and resource, those of its changes, in order."""
    _stories: dict[tuple[str, str, int], list[MirrorChange[Record]]] = field(factory=dict)

    async def run(self, store: MirrorStore) -> None:
        """Compare everything."""
        for resource in RESOURCES:
            async for change in changes_of(store, resource):
                self.changes += 1
                key = change.account, resource, INFO_ID if change.id is None else change.id
                self._stories.setdefault(key, []).append(change)
                self.cursors.setdefault(key[:2], []).append(change.cursor)
        async with store.connect() as connection:
            found = await connection.execute(text("SELECT name, account FROM accounts"))
            numbers = {row.name: row.account for row in found}
        if set(numbers) != {desk.account.name for desk in self.desks}:
            self.wrong.append(f"the accounts are {sorted(numbers)}")
        for desk in self.desks:
            for resource in RESOURCES[:-1]:
                await self._compare_rows(store, desk, numbers[desk.account.name], resource)
                await self._compare_coverage(store, numbers[desk.account.name], desk, resource)
            self._compare_story(desk, "info", INFO_ID, None)
            await self._compare_money(store, desk, numbers[desk.account.name])

    # Rows

    async def _compare_rows(
        self, store: MirrorStore, desk: Desk, number: int, resource: ResourceName
    ) -> None:
        records = {one.id: one for one in await store.rows(number, resource, None, None)}
        question = text(f"SELECT id, gone_at FROM {resource} WHERE account = :account")
        async with store.connect() as connection:
            kept = (await connection.execute(question, {"account": number})).all()
        gone = {row.id for row in kept if row.gone_at is not None}
        self.rows += len(kept)
        if len(records) + len(gone) != len(kept):
            self._complain(desk, resource, 0, f"{len(kept)} rows, {len(gone)} of them gone")
        for row_id, states in desk.states[resource].items():
            here: Shown = facts_of(records[row_id]) if row_id in records else None
            there = _shown(states[-1])
            if here != there:
                self._complain(desk, resource, row_id, f"here {here}, there {there}")
            self._compare_story(desk, resource, row_id, here)
            if (
                row_id not in records
                and row_id not in gone
                and self._required(desk, resource, states)
            ):
                self._complain(desk, resource, row_id, "was there for long, and is not kept")
        for row_id in (set(records) | gone) - set(desk.states[resource]):
            self._complain(desk, resource, row_id, "never was in the books")

    # What has changed

    def _compare_story(self, desk: Desk, resource: str, row_id: int, here: Shown) -> None:
        changes = self._stories.get((desk.account.name, resource, row_id), [])
        states = desk.states[resource][row_id]
        told = self._told(desk, resource, row_id, changes)
        if resource != "info":
            if not told and here is not None:
                told = [here]
            if told and told[-1] != here:
                self._complain(desk, resource, row_id, f"the last change says {told[-1]}")
        shown = [_shown(state) for state in states]
        if not _is_within(told, shown):
            self._complain(desk, resource, row_id, f"it was {shown}, and changes say {told}")
        required = self._required(desk, resource, states)
        self.required += max(0, len(required) - 1)
        if not _is_within(required, [None, *told]):
            what = f"these had to be seen: {required}; changes say {told}"
            self._complain(desk, resource, row_id, what)

    def _told(
        self, desk: Desk, resource: str, row_id: int, changes: Sequence[MirrorChange[Record]]
    ) -> list[Shown]:
        """Return what a row was, one after the other, as its changes tell; each fits the last."""
        told: list[Shown] = []
        last: Record | None = None
        for place, change in enumerate(changes):
            is_first = place == 0
            was = last if not is_first else change.previous
            if change.kind is ChangeKind.GONE and is_first:
                was = change.record
            if is_first and was is not None:
                told.append(facts_of(was))
            fits = {
                ChangeKind.NEW: is_first and change.previous is None,
                ChangeKind.CHANGED: change.previous == was and change.record != was,
                ChangeKind.GONE: change.record == was,
                ChangeKind.RETURNED: not is_first and was is None,
            }
            states = desk.states[resource][row_id]
            if is_first and change.kind is ChangeKind.NEW and resource != "info":
                # What the backfill finds is no news, and it has to find what is there.
                fits[ChangeKind.NEW] &= not states[0].is_first or any(s.is_absent for s in states)
            if not fits[change.kind] and resource != "info":
                self._complain(desk, resource, row_id, f"does not fit what was before: {change}")
            last = None if change.kind is ChangeKind.GONE else change.record
            told.append(None if last is None else facts_of(last))
        return told

    def _required(self, desk: Desk, resource: str, states: Sequence[State]) -> list[Shown]:
        """Return what lasted until two readings had begun that had to look, one after the other."""
        reads = self.reads.get(desk.account.name, ())
        ends = [*(state.since for state in states[1:]), math.inf]
        required: list[Shown] = []
        for place, (state, end) in enumerate(zip(states, ends, strict=True)):
            patience = state.patience
            if resource == "links" and place and not state.is_first:
                patience = _CLICKS_AGAIN
            due = [began for began in reads if began > state.since + patience][:2]
            if len(due) == 2 and due[1] < end:
                required.append(_shown(state))
        while required and required[0] is None:
            required.pop(0)
        return _collapsed(required)

    # Money, and what is proven

    async def _compare_money(self, store: MirrorStore, desk: Desk, number: int) -> None:
        """Compare the rewards as the database has them, digit by digit."""
        question = "SELECT id, partner_reward FROM exchanges WHERE account = :a AND gone_at IS NULL"
        async with store.connect() as connection:
            rows = (await connection.execute(text(question), {"a": number})).all()
        here = {row.id: Decimal(row.partner_reward) for row in rows}
        there = {
            order.id: Decimal(order.reward)
            for order in desk.books.orders
            if order.id not in desk.books.hidden_orders
        }
        if here != there:
            self._complain(
                desk, "exchanges", 0, f"rewards: {set(here.items()) ^ set(there.items())}"
            )

    async def _compare_coverage(
        self, store: MirrorStore, number: int, desk: Desk, resource: str
    ) -> None:
        """Check that everything up to the last reading is proven, without a gap or an overlap."""
        question = text(
            'SELECT "start", "end" FROM coverage WHERE account = :account AND resource = :resource'
            ' ORDER BY "start" IS NOT NULL, "start"'
        )
        async with store.connect() as connection:
            found = await connection.execute(question, {"account": number, "resource": resource})
            parts = [tuple(map(str, row)) for row in found]
        starts, ends = [one for one, _ in parts], [other for _, other in parts]
        if not parts or starts[0] != "None" or starts[1:] != ends[:-1]:
            self._complain(desk, resource, 0, f"proven are only {parts}")

    def _complain(self, desk: Desk, resource: str, row_id: int, what: str) -> None:
        self.wrong.append(f"{desk.account.name} {resource} {row_id}: {what}")

    # What was delivered

    def compare_delivered(self, delivered: Iterable[tuple[int, str, str, str]]) -> None:
        """Check that each change was delivered, in order, and again only after a restart."""
        stories: dict[tuple[str, str], list[tuple[int, str]]] = {}
        for process, account, resource, cursor in delivered:
            stories.setdefault((account, resource), []).append((process, cursor))
        for key, cursors in self.cursors.items():
            places = {cursor: place for place, cursor in enumerate(cursors)}
            before, by = -1, 0
            for process, cursor in stories.get(key, []):
                place = places.get(cursor, -1)
                again = place == before and process != by
                if place < 0 or not (place == before + 1 or again):
                    self.wrong.append(f"{key}: number {place} was delivered after {before}")
                before, by = place, process
            if before != len(cursors) - 1:
                self.wrong.append(f"{key}: {before + 1} of {len(cursors)} changes were delivered")


async def compare(
    database: str, desks: Sequence[Desk], reads: Mapping[str, Sequence[float]]
) -> Comparison:
    """Compare a database with the books of these accounts."""
    comparison = Comparison(desks, reads)
    store = await MirrorStore.open(database)
    try:
        await comparison.run(store)
    finally:
        await store.aclose()
    return comparison


def _shown(state: State) -> Shown:
    return None if state.is_absent else state.facts


def _collapsed(shown: Iterable[Shown]) -> list[Shown]:
    found: list[Shown] = []
    for one in shown:
        if not found or found[-1] != one:
            found.append(one)
    return found


def _is_within(some: Sequence[Shown], all_: Sequence[Shown]) -> bool:
    """Tell whether some things are among all, in that order."""
    rest = iter(all_)
    return all(any(one == other for other in rest) for one in _collapsed(some))

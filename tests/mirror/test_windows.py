"""Any windows of any site that changes meanwhile, against a plain model of what is there."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from attrs import define, evolve, field
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ppapi_async import Account, Exchange
from ppapi_async.mirror.records import MirrorChange
from ppapi_async.mirror.store import Commit, MirrorStore, Place
from ppapi_async.models import UnreadableRow
from ppapi_async.watching.resources import Record
from tests.conftest import DEPTH
from tests.mirror.test_store import MINUTE, NOON, PROVEN, exchange, reading

_IDS = 6
_MINUTES = 12


@define(eq=False)
class Site:
    """What a site has: orders by id, and which of them cannot be read."""

    rows: dict[int, Exchange] = field(factory=dict)
    odd: set[int] = field(factory=set)

    def listed(self, start: int, end: int | None) -> list[Exchange]:
        """Return what it lists of some minutes, oldest first."""
        found = [
            row
            for row in self.rows.values()
            if row.time >= NOON + start * MINUTE and (end is None or row.time < NOON + end * MINUTE)
        ]
        return sorted(found, key=lambda row: (row.time, row.id))

    def change(self, data: st.DataObject, now: int) -> None:
        """Do what an operator or a visitor does; what is edited moves to the present, `now`."""
        row_id = data.draw(st.integers(1, _IDS), "id")
        row = self.rows.get(row_id)
        kinds = ["new"] if row is None else ["hide", "edit", "accrue", "odd"]
        kind = data.draw(st.sampled_from(kinds), "what")
        if kind == "new":
            minute = data.draw(st.integers(0, now), "minute")
            self.rows[row_id] = exchange(row_id, minute=minute)
            return
        assert row is not None
        if kind == "hide":
            del self.rows[row_id]
        elif kind == "edit":
            self.rows[row_id] = evolve(row, time=NOON + now * MINUTE, status=f"at {now}")
        elif kind == "accrue":
            self.rows[row_id] = evolve(row, accrued=not row.accrued)
        else:
            self.odd ^= {row_id}


@define(eq=False)
class Model:
    """What follows from the changes alone, and from the windows alone."""

    present: dict[int, Record] = field(factory=dict)
    """What the changes, one after another, come to."""
    gone: dict[int, Record] = field(factory=dict)

    def take(self, change: MirrorChange[Record]) -> None:
        """See that a change goes with what is known, and know it."""
        assert change.id is not None
        before = self.present.get(change.id)
        if change.kind == "new":
            assert before is None
            assert change.id not in self.gone
        elif change.kind == "changed":
            assert before is not None
            assert change.previous == before != change.record
            different = [
                name for name in ("time", "status", "accrued")
                if getattr(before, name) != getattr(change.record, name)
            ]  # fmt: skip
            assert list(change.fields) == sorted(different, key=["time", "accrued", "status"].index)
        elif change.kind == "gone":
            assert change.record == before
            self.gone[change.id] = self.present.pop(change.id)
            return
        else:
            assert before is None
            del self.gone[change.id]
        self.present[change.id] = change.record


async def read_pass(
    store: MirrorStore, place: Place, site: Site, model: Model, data: st.DataObject, number: int
) -> None:
    """Read from some minute to the present, in windows of any width, while the site changes."""
    at = PROVEN + timedelta(hours=number)
    first = 0 if number == 0 else data.draw(st.integers(0, _MINUTES), "from")
    start: int | None = first
    is_broken_off = False
    commits: list[Commit] = []
    while start is not None and not is_broken_off:
        ends = range(start + 1, _MINUTES + 1)
        end: int | None = data.draw(st.sampled_from([None, *ends]), "to")
        rows = site.listed(start, end)
        window = reading(
            *(row for row in rows if row.id not in site.odd),
            unreadable=[
                UnreadableRow(row.id, row.time, (("x", "y"),), f"{row.id} {number}")
                for row in rows if row.id in site.odd
            ],
            start=NOON + start * MINUTE,
            end=None if end is None else NOON + end * MINUTE,
            proven_at=at,
        )  # fmt: skip
        commits.append(await store.commit(place, window))
        start = end
        if data.draw(st.booleans(), "meanwhile"):
            site.change(data, _MINUTES)
        is_broken_off = data.draw(st.integers(0, 9), "broken off") == 0
    if not is_broken_off:
        begin = NOON + first * MINUTE
        commits.append(await store.end_pass(place, at, "{}", believe=True, first=begin))
    for commit in commits:
        for change in commit.changes:
            model.take(change)


def test_windows_of_a_site_that_changes(mirror_url: str) -> None:
    """Each row is there once, each change once and in order; a quiet pass brings all up to date."""
    numbers = iter(range(100_000))
    with asyncio.Runner() as runner:
        store = runner.run(MirrorStore.open(mirror_url))

        async def check(data: st.DataObject) -> None:
            name = f"account {next(numbers)}"
            key = f"a-key-of-more-than-16-{name}".replace(" ", "-")
            account = Account("https://site.example", key, name=name)
            place = await store.place(await store.account(account), name, "exchanges")
            site, model = Site(), Model()
            for number in range(data.draw(st.integers(1, 3), "passes")):
                for _ in range(data.draw(st.integers(0, 4), "changes")):
                    site.change(data, _MINUTES)
                await read_pass(store, place, site, model, data, number)
                here = await store.rows(place.account, "exchanges", None, None)
                assert {row.id: row for row in here} == model.present
                assert len(here) == len(model.present)
            site.odd.clear()
            at = PROVEN + timedelta(hours=99)
            whole = {"start": None, "end": None, "proven_at": at}
            for commit in (
                await store.commit(place, reading(*site.listed(0, None), **whole)),
                await store.end_pass(place, at, "{}", believe=True, first=None),
            ):
                for change in commit.changes:
                    model.take(change)
            here = await store.rows(place.account, "exchanges", None, None)
            assert here == site.listed(0, None)
            assert model.present == site.rows
            replayed = Model()
            for change in await store.undelivered(place, 1_000):
                replayed.take(change)
            assert (replayed.present, replayed.gone) == (model.present, model.gone)

        @settings(suppress_health_check=list(HealthCheck), max_examples=20 * DEPTH)
        @given(st.data())
        def examples(data: st.DataObject) -> None:
            runner.run(check(data))

        try:
            examples()
        finally:
            runner.run(store.aclose())

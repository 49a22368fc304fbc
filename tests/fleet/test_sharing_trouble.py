"""Shared accounts while the way to the database is slow or breaks, or clocks and lists change."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Collection, Sequence

import pytest

from ppapi_async import PostgresState, StateError
from ppapi_async.fleet import sharing as sharing_module
from tests.fleet.test_sharing import HUNG_AFTER, Owner, accounts_of, until, worker
from tests.postgres import Cable

WATCH = "7f6b2c5a90d1e834/get_exchanges"
OLD, NEW = {"position": "0", "a": "0"}, {"position": "1", "b": "1"}


@contextlib.asynccontextmanager
async def never_two(owners: Sequence[Owner]) -> AsyncIterator[None]:
    """Look all the time whether an account is two workers'."""
    twice: set[str] = set()

    async def look() -> None:
        while True:
            for place, one in enumerate(owners):
                for other in owners[place + 1 :]:
                    twice.update(one.mine.keys() & other.mine.keys())
            await asyncio.sleep(0.002)

    looking = asyncio.create_task(look())
    try:
        yield
    finally:
        looking.cancel()
        await asyncio.wait([looking])
    assert not twice


def shares(*owners: Owner) -> list[int]:
    """Return how many accounts each has, the least first."""
    return sorted(len(one.mine) for one in owners)


@pytest.mark.parametrize("is_open", [False, True], ids=["a new connection", "an open one"])
async def test_a_save_is_made_or_not_wherever_the_connection_breaks(
    postgres_url: str, is_open: bool
) -> None:
    """At each answer of the server in turn: nothing half, and the next attempt works."""
    async with PostgresState(postgres_url) as looking, Cable.to(postgres_url) as cable:
        failures, answer = 0, 1
        while True:
            async with PostgresState(cable.url(postgres_url)) as state:
                await looking.save(WATCH, OLD, ["b"])
                if is_open:
                    await state.load(WATCH)
                cable.close_at_answer(answer)
                try:
                    await state.save(WATCH, NEW, ["a"])
                except StateError:
                    failures += 1
                    assert await looking.load(WATCH) in (OLD, NEW)
                    await state.save(WATCH, NEW, ["a"])
                else:
                    break
                assert await looking.load(WATCH) == NEW
            answer += 1
        cable.close_at_answer(None)
        assert failures >= (1 if is_open else 5)


@pytest.mark.untraced
@pytest.mark.parametrize("answer", range(1, 9))
async def test_a_hand_over_in_which_the_connection_breaks(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch, answer: int
) -> None:
    """At any answer: no account is ever two workers', and in the end each has its share."""
    monkeypatch.setattr(sharing_module, "_LONGEST_BEAT", 0.05)
    accounts = accounts_of(6)
    async with Cable.to(postgres_url) as cable:
        url = cable.url(postgres_url)
        async with worker(url, accounts, patience=0.02) as (_, one):
            await until(lambda: len(one.mine) == 6)
            async with worker(postgres_url, accounts) as (_, two):
                async with never_two([one, two]):
                    cable.close_at_answer(answer)
                    await until(lambda: "lose" in one.told and shares(one, two) == [3, 3])
    assert not one.mine
    assert not two.mine


@pytest.mark.untraced
async def test_a_slow_database_costs_no_account(postgres_url: str) -> None:
    """Each answer takes a sixth of what a lease lasts: all of them are kept, and none is twice."""
    accounts = accounts_of(4)
    async with Cable.to(postgres_url) as cable:
        async with worker(cable.url(postgres_url), accounts) as (_, one):
            await until(lambda: len(one.mine) == 4)
            async with worker(cable.url(postgres_url), accounts) as (_, two):
                async with never_two([one, two]):
                    await until(lambda: shares(one, two) == [2, 2])
                    cable.delay = HUNG_AFTER / 20
                    await asyncio.sleep(1.5 * HUNG_AFTER)
                    assert shares(one, two) == [2, 2]
                    cable.delay = 0.0
        assert "lose" not in one.told + two.told


@pytest.mark.parametrize("jump", [-86_400.0, 86_400.0], ids=["back", "ahead"])
async def test_the_clock_on_the_wall_may_jump(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    """Leases go by how long things take, not by what clocks show."""
    accounts, clock = accounts_of(4), time.time
    async with (
        worker(postgres_url, accounts) as (_, one),
        worker(postgres_url, accounts) as (_, two),
        never_two([one, two]),
    ):
        await until(lambda: shares(one, two) == [2, 2])
        monkeypatch.setattr(time, "time", lambda: clock() + jump)
        await asyncio.sleep(1.2 * HUNG_AFTER)
        assert shares(one, two) == [2, 2]
        monkeypatch.undo()
        assert "lose" not in one.told + two.told


async def test_more_workers_than_accounts(postgres_url: str) -> None:
    """Each account has one; who has none waits, and takes over what becomes free."""
    accounts = accounts_of(2)
    async with contextlib.AsyncExitStack() as stack:
        pairs = [await stack.enter_async_context(worker(postgres_url, accounts)) for _ in range(4)]
        owners = [owner for _, owner in pairs]
        async with never_two(owners):
            await until(lambda: shares(*owners) == [0, 0, 1, 1])
            leaving, owner = next(pair for pair in pairs if pair[1].mine)
            await leaving.aclose()
            owners.remove(owner)
            await until(lambda: shares(*owners) == [0, 1, 1])


class Busy(Owner):
    """Takes its time to hand over, and bears that an account is removed meanwhile."""

    async def hand_over(self, names: Collection[str]) -> None:
        self.told.append("hand over")
        await asyncio.sleep(0.1)
        for name in names:
            self.mine.pop(name, None)


async def test_an_account_that_is_removed_and_added_amid_a_hand_over(postgres_url: str) -> None:
    """It is nobody's twice, and in the end it is somebody's."""
    accounts, one = accounts_of(6), Busy()
    state = PostgresState(postgres_url, hung_after=HUNG_AFTER)
    async with sharing_module.Sharing(state, "group", one, accounts) as sharing:
        await until(lambda: len(one.mine) == 6)
        async with worker(postgres_url, accounts) as (_, two):
            async with never_two([one, two]):
                await until(lambda: one.told[-1] == "hand over")
                for account in accounts:
                    one.mine.pop(account.name, None)
                    sharing.remove(account.name)
                    sharing.add(account)
                await until(lambda: shares(one, two) == [3, 3])
                assert one.mine.keys() | two.mine.keys() == {each.name for each in accounts}

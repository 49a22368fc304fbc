"""Workers of a group share accounts out, on a real PostgreSQL; what owns them is a plain list."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping

import pytest

from ppapi_async import Account, PostgresState, StateError, WorkerStatus
from ppapi_async.fleet import sharing as sharing_module
from ppapi_async.fleet.sharing import Sharing, shard_of
from ppapi_async.storage.postgres_session import PostgresSession
from ppapi_async.storage.worker_table import WorkerTable
from tests.postgres import Cable, PostgresServer

HUNG_AFTER = 1.0


def accounts_of(count: int) -> list[Account]:
    """Return accounts at as many hosts."""
    return [
        Account(f"https://site{n}.example", "k" * 32, name=f"account {n}") for n in range(count)
    ]


class Owner:
    """Has what a sharing gives it, and notes what it was told."""

    def __init__(self, *, patience: float = 0.0) -> None:
        self.mine: dict[str, float | None] = {}
        self.told: list[str] = []
        self.patience = patience
        self.sharing: Sharing | None = None

    def take(self, accounts: Mapping[str, float | None]) -> None:
        assert not self.mine.keys() & accounts.keys()
        self.mine.update(accounts)
        self.told.append("take")

    async def hand_over(self, names: Collection[str]) -> None:
        self.told.append("hand over")
        await asyncio.sleep(self.patience)
        for name in names:
            del self.mine[name]

    def lose(self, names: Collection[str], error: StateError) -> None:
        self.told.append("lose")
        for name in names:
            self.mine.pop(name, None)

    def fail(self, error: BaseException) -> None:
        self.told.append(f"fail {error!r}")


@contextlib.asynccontextmanager
async def worker(
    url: str, accounts: Collection[Account], *, group: str = "group", patience: float = 0.0
) -> AsyncIterator[tuple[Sharing, Owner]]:
    """Run a worker."""
    owner = Owner(patience=patience)
    state = PostgresState(url, hung_after=HUNG_AFTER)
    async with Sharing(state, group, owner, accounts) as sharing:
        owner.sharing = sharing
        yield sharing, owner


def shown(one: WorkerStatus) -> tuple[int, bool, bool]:
    """Return what a status tells."""
    return one.accounts, one.is_self, one.is_present


async def until(check: Callable[[], bool], seconds: float = 30.0) -> float:
    """Wait until something is so; return how long it took."""
    began = time.monotonic()
    while not check():
        assert time.monotonic() - began < seconds, "it takes too long"
        await asyncio.sleep(0.01)
    return time.monotonic() - began


async def test_accounts_are_shared_and_handed_over(postgres_url: str) -> None:
    """A second worker gets its half within two beats, which comes back when it leaves."""
    accounts = accounts_of(40)
    names = {account.name for account in accounts}
    async with worker(postgres_url, accounts, patience=0.05) as (one, first):
        await until(lambda: first.mine.keys() == names)
        async with worker(postgres_url, accounts) as (two, second):
            await until(lambda: abs(len(first.mine) - len(second.mine)) <= 4)
            assert first.mine.keys() | second.mine.keys() == names
            assert not first.mine.keys() & second.mine.keys()
            assert one.owned == first.mine.keys()
            seen = [(len(first.mine), False, True), (len(second.mine), True, True)]
            await until(lambda: sorted(seen) == sorted(map(shown, two.workers())))
        await until(lambda: first.mine.keys() == names)
    assert not first.mine
    assert "lose" not in first.told + second.told


async def test_groups_do_not_know_each_other(postgres_url: str) -> None:
    """Two programs that poll the same accounts for different ends have all of them, each."""
    accounts = accounts_of(5)
    async with (
        worker(postgres_url, accounts, group="one") as (_, one),
        worker(postgres_url, accounts, group="two") as (_, two),
    ):
        await until(lambda: len(one.mine) == len(two.mine) == 5)


async def test_a_host_has_one_worker(postgres_url: str) -> None:
    """All accounts of a host are of one shard, whatever their names."""
    accounts = [Account("https://site.example/x", "k" * 32, name=f"{n}") for n in range(9)]
    assert len({shard_of(account) for account in accounts}) == 1
    async with (
        worker(postgres_url, accounts) as (_, one),
        worker(postgres_url, accounts) as (_, two),
    ):
        await until(lambda: len(one.mine) + len(two.mine) == 9)
        assert not one.mine or not two.mine


async def test_when_an_account_is_due_goes_with_it(postgres_url: str) -> None:
    """The next owner is told when an account is due, None where nobody has polled it."""
    accounts, due = accounts_of(2), time.time() - 3600
    async with worker(postgres_url, accounts) as (one, first):
        await until(lambda: len(first.mine) == 2)
        assert set(first.mine.values()) == {None}
        one.plan("account 0", due)
        one.plan("of another", 1.0)
    async with worker(postgres_url, accounts) as (_, second):
        await until(lambda: len(second.mine) == 2)
        assert second.mine == {"account 0": due, "account 1": None}


async def test_a_worker_saves_what_it_owns_and_nothing_else(postgres_url: str) -> None:
    """What was given away, or lost with the connection, cannot be written any more."""
    accounts = accounts_of(3)
    async with PostgresState(postgres_url) as shown:
        async with worker(postgres_url, accounts) as (one, first):
            await until(lambda: len(first.mine) == 3)
            state = one.state_of("account 0")
            await state.save("w/x", {"position": "1"})
            assert await state.load("w/x") == {"position": "1"}
            assert await state.read("w/x", "position") == "1"
            with pytest.raises(StateError, match="does not have the account"):
                one.state_of("account 9")
        with pytest.raises(StateError, match="lost the account"):
            await state.save("w/x", {"position": "2"})
        assert await shown.load("group: w/x") == {"position": "1"}


async def test_each_group_has_a_state_of_its_own(postgres_url: str) -> None:
    """It begins with what was saved while nothing was shared, and leaves that as it is."""
    accounts = accounts_of(1)
    async with PostgresState(postgres_url) as alone:
        await alone.save("w/x", {"position": "1", "7": "{}"})
        async with (
            worker(postgres_url, accounts, group="one") as (first, one),
            worker(postgres_url, accounts, group="two") as (second, two),
        ):
            await until(lambda: len(one.mine) == len(two.mine) == 1)
            states = first.state_of("account 0"), second.state_of("account 0")
            for state in states:
                assert await state.load("w/x") == {"position": "1", "7": "{}"}
            await states[0].save("w/x", {"position": "2"}, ["7"])
            assert await states[0].load("w/x") == {"position": "2"}
            assert await states[1].read("w/x", "position") == "1"
        assert await alone.load("w/x") == {"position": "1", "7": "{}"}


async def test_accounts_come_and_go(postgres_url: str) -> None:
    """One that is added is taken, one that is removed is forgotten."""
    accounts = accounts_of(3)
    async with worker(postgres_url, accounts[:2]) as (sharing, owner):
        await until(lambda: len(owner.mine) == 2)
        sharing.add(accounts[2])
        await until(lambda: len(owner.mine) == 3)
        sharing.remove("account 0")
        assert not sharing.is_mine("account 0")
        assert sharing.is_mine("account 1")
        async with worker(postgres_url, accounts[:1]) as (_, other):
            await until(lambda: list(other.mine) == ["account 0"])


async def test_a_worker_of_other_accounts_is_noticed(
    postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Each takes what it has accounts of, and the log says that the lists differ."""
    accounts = accounts_of(4)
    async with (
        worker(postgres_url, accounts[:2]) as (_, one),
        worker(postgres_url, accounts[2:]) as (_, two),
    ):
        await until(lambda: len(one.mine) == len(two.mine) == 2)
        await until(lambda: "other accounts than this one" in caplog.text)


async def test_a_network_that_is_cut_costs_the_accounts_in_time(
    postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a word from the server a worker lets go before another can take over."""
    accounts = accounts_of(4)
    lost_at = taken_at = 0.0
    async with Cable.to(postgres_url) as cable:
        async with worker(cable.url(postgres_url), accounts) as (one, first):
            await until(lambda: len(first.mine) == 4)
            state = one.state_of("account 0")
            async with worker(postgres_url, []) as (other, second):
                for account in accounts:
                    other.add(account)
                await until(lambda: len(first.mine) == len(second.mine) == 2)
                held = next(iter(first.mine))
                state = one.state_of(held)
                cable.cut()
                await until(lambda: not first.mine)
                lost_at = time.monotonic()
                assert len(second.mine) == 2, "nobody has it yet"
                with pytest.raises(StateError, match="lost the account"):
                    await state.save("w/x", {"position": "2"})
                await until(lambda: len(second.mine) > 2 or len(first.mine) > 0)
                taken_at = time.monotonic()
                await until(lambda: len(first.mine) == len(second.mine) == 2)
    assert 0 < taken_at - lost_at < HUNG_AFTER
    assert "has not answered for too long" in caplog.text


async def test_a_server_started_anew_is_joined_again(own_postgres: PostgresServer) -> None:
    """All that was held is lost at once, and each gets its share again."""
    accounts = accounts_of(8)
    async with (
        worker(own_postgres.url, accounts) as (_, one),
        worker(own_postgres.url, accounts) as (_, two),
    ):
        await until(lambda: len(one.mine) == len(two.mine) == 4)
        await asyncio.to_thread(own_postgres.restart)
        await until(lambda: one.told[-1] == two.told[-1] == "take" and "lose" in one.told)
        await until(lambda: len(one.mine) == len(two.mine) == 4)
        assert not one.mine.keys() & two.mine.keys()
        assert one.told.count("lose") == two.told.count("lose") == 1


async def test_the_log_tells_of_a_database_that_is_down(
    own_postgres: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, not at each attempt; the worker is back when the database is."""
    caplog.set_level(logging.INFO)
    async with worker(own_postgres.url, accounts_of(2)) as (sharing, owner):
        await until(lambda: len(owner.mine) == 2)
        await asyncio.to_thread(own_postgres.crash)
        await until(lambda: not owner.mine)
        await asyncio.sleep(0.5)
        assert sharing.owned == frozenset()
        await asyncio.to_thread(own_postgres.start)
        await until(lambda: len(owner.mine) == 2)
    assert caplog.text.count("polled again when it works") == 1
    assert "is back in the group" in caplog.text


@pytest.mark.untraced
async def test_a_worker_that_may_not_know_yet_is_spared(own_postgres: PostgresServer) -> None:
    """The server is started anew while a worker hears nothing: it may still poll for a while."""
    url, accounts = own_postgres.url, accounts_of(8)
    async with Cable.to(url) as cable:
        async with (
            worker(url, accounts) as (sharing, one),
            worker(cable.url(url), accounts) as (_, two),
        ):
            await until(lambda: len(one.mine) == len(two.mine) == 4)
            cable.cut(new=True)
            await asyncio.to_thread(own_postgres.restart)
            await until(lambda: len(one.mine) == 4 and one.told[-1] == "take")
            absent = [status.is_present for status in sharing.workers() if not status.is_self]
            assert absent == [False]
            while len(one.mine) < 8:
                assert not one.mine.keys() & two.mine.keys(), "polled by two"
                await asyncio.sleep(0.01)
            cable.mend()
            await until(lambda: len(one.mine) == len(two.mine) == 4)


async def test_a_database_that_says_nothing_is_not_waited_for(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither by who joins, nor by who leaves."""
    monkeypatch.setattr(sharing_module, "_LONGEST_ANSWER", 0.3)
    monkeypatch.setattr(sharing_module, "_LONGEST_JOIN", 0.3)
    async with Cable.to(postgres_url) as cable:
        async with worker(cable.url(postgres_url), []) as (sharing, _):
            cable.cut(new=True)
            with pytest.raises(StateError, match="could not be reached"):
                async with worker(cable.url(postgres_url), []):
                    pass
            began = time.monotonic()
            await sharing.aclose()
            await sharing.aclose()
        assert time.monotonic() - began < 2
        assert repr(sharing) == "<Sharing 'group': 0 of 0 accounts>"


@pytest.mark.parametrize("times", [1, 2, 20])
async def test_a_worker_that_is_cancelled_while_it_leaves_gives_all_up(
    postgres_url: str, times: int
) -> None:
    """At once and not when its session has run out, however often it is cancelled."""
    accounts, owner = accounts_of(3), Owner(patience=60.0)
    sharing = Sharing(PostgresState(postgres_url, hung_after=60), "group", owner, accounts)
    await sharing.__aenter__()
    await until(lambda: len(owner.mine) == 3)
    leaving = asyncio.create_task(sharing.aclose())
    await until(lambda: owner.told[-1] == "hand over")
    for _ in range(times):
        leaving.cancel()
        await asyncio.sleep(0)
    await asyncio.wait([leaving])
    assert leaving.cancelled()
    assert owner.told == ["take", "hand over", "lose"]
    async with worker(postgres_url, accounts) as (_, other):
        await until(lambda: len(other.mine) == 3)


async def test_a_database_that_falls_silent_amid_joining_is_given_up(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection was made, and then nothing comes any more."""
    monkeypatch.setattr(sharing_module, "_LONGEST_JOIN", 0.3)
    async with Cable.to(postgres_url) as cable:
        check = PostgresSession.check_that_it_stays

        async def cut_then_check(session: PostgresSession) -> None:
            cable.cut()
            await check(session)

        monkeypatch.setattr(PostgresSession, "check_that_it_stays", cut_then_check)
        with pytest.raises(StateError, match="could not be reached"):
            async with worker(cable.url(postgres_url), []):
                pass


async def test_a_mistake_of_its_own_is_told(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Accounts are let go, and the owner hears why, rather than that nothing happens any more."""
    async with worker(postgres_url, accounts_of(1)) as (_, owner):
        await until(lambda: len(owner.mine) == 1)
        monkeypatch.setattr(sharing_module, "fair_shares", None)
        await until(lambda: not owner.mine)
    assert owner.told[1] == "lose"
    assert owner.told[2].startswith("fail TypeError")


async def test_a_session_that_did_not_stay_is_left(
    postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever has come between the worker and the server meanwhile."""
    async with worker(postgres_url, accounts_of(1)) as (sharing, owner):
        await until(lambda: len(owner.mine) == 1)
        tenure = sharing._tenure
        assert tenure is not None
        tenure.session.own_pid = 1
        await until(lambda: owner.told == ["take", "lose", "take"])
    assert "behind a pooler" in caplog.text


async def test_a_plan_that_could_not_be_saved_is_saved_later(postgres_url: str) -> None:
    """With those that come next."""
    accounts, due = accounts_of(2), time.time()
    async with PostgresState(postgres_url) as state, worker(postgres_url, accounts) as (one, first):
        await until(lambda: len(first.mine) == 2)
        session = await state._current()
        await session.ask("ALTER TABLE ppapi_polls RENAME TO elsewhere")
        one.plan("account 0", due)
        await asyncio.sleep(0.2)
        await session.ask("ALTER TABLE elsewhere RENAME TO ppapi_polls")
        one.plan("account 1", due + 1)
    async with worker(postgres_url, accounts) as (_, second):
        await until(lambda: second.mine == {"account 0": due, "account 1": due + 1})


async def test_a_shard_that_could_not_be_unlocked_is_freed(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An administrator who cancels the statement does not leave accounts that nobody polls."""
    accounts, give = accounts_of(4), WorkerTable.give
    names = {account.name for account in accounts}
    cancelled: list[Collection[int]] = []

    async def give_once_cancelled(table: WorkerTable, shards: Collection[int]) -> None:
        if not cancelled:
            cancelled.append(shards)
            raise StateError("canceling statement due to user request")
        await give(table, shards)

    monkeypatch.setattr(WorkerTable, "give", give_once_cancelled)
    async with worker(postgres_url, accounts) as (_, first):
        await until(lambda: first.mine.keys() == names)
        async with worker(postgres_url, accounts) as (_, second):
            await until(lambda: bool(cancelled))
            await until(lambda: first.mine.keys() | second.mine.keys() == names)
            assert not first.mine.keys() & second.mine.keys()

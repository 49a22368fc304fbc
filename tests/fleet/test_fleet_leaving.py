"""Fleets are left in every way, and accounts come and go."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections import Counter
from collections.abc import (
    Awaitable,
    Callable,
    Sequence,
)

import pytest

from ppapi_async import (
    Account,
    AccountPhase,
    Change,
    Dialect,
    Fleet,
)
from ppapi_async.sandbox import Fault
from tests import virtual_time
from tests.fleet.test_fleet_trouble import (
    INTERVAL,
    Meter,
    Town,
    clock,
    hooks,
    left_behind,
    listening,
    open_transports,
    town,
)

pytestmark = pytest.mark.untraced  # takes twice as long with; other tests go through all lines, too


async def leave_by_break(fleet: Fleet) -> None:
    """Leave after the first change."""
    async for event in fleet.events():
        if isinstance(event, Change):
            break


async def leave_by_error(fleet: Fleet) -> None:
    """Fail at the first change."""
    async for event in fleet.events():
        if isinstance(event, Change):
            raise LookupError("the consumer's own")


async def leave_by_cancelling(fleet: Fleet) -> None:
    """Cancel the consumer while it waits for the next event."""
    async with listening(fleet) as listener:
        await listener.has_heard.wait()


async def leave_by_cancelling_with_an_event(fleet: Fleet) -> None:
    """Cancel the consumer with an event in hand."""
    async with listening(fleet, pause=1000) as listener:
        await listener.has_heard.wait()


async def leave_by_closing(fleet: Fleet) -> None:
    """Close the fleet in another task while the consumer waits."""
    async with listening(fleet) as listener:
        await listener.has_heard.wait()
        await fleet.aclose()
        await asyncio.wait_for(listener.has_ended.wait(), 1)


async def leave_by_closing_with_an_event(fleet: Fleet) -> None:
    """Close the fleet in another task while the consumer has an event in hand."""
    async with listening(fleet, pause=20) as listener:
        await listener.has_heard.wait()
        await fleet.aclose()
        await asyncio.wait_for(listener.has_ended.wait(), 20)


async def leave_by_break_and_linger(fleet: Fleet) -> None:
    """Leave after the first change, and do something else before the fleet is left."""
    await leave_by_break(fleet)
    await asyncio.sleep(0.5)


WAYS = (
    leave_by_break,
    leave_by_break_and_linger,
    leave_by_error,
    leave_by_cancelling,
    leave_by_cancelling_with_an_event,
    leave_by_closing,
    leave_by_closing_with_an_event,
)


@pytest.mark.untraced
@pytest.mark.parametrize("leave", WAYS)
def test_leaving_leaves_nothing(leave: Callable[[Fleet], Awaitable[None]]) -> None:
    """However a fleet is left, no task, connection or warning stays, nor a request under way."""

    async def whole() -> None:
        before = open_transports()
        async with town(Dialect.CLASSIC, Dialect.DELEGATING, Dialect.CLONE, each=3) as here:
            fleet = Fleet(here.accounts.values(), timeout=500, drain=7, hooks=hooks())
            with contextlib.suppress(LookupError):
                async with fleet:
                    here.sites[2].faults.add(Fault.HANG, skip=8, times=None)
                    asyncio.get_running_loop().call_later(200, order_all, here)
                    await leave(fleet)
            assert 200 < clock() < 200 + INTERVAL + 10
            assert here.sites[2].requests[-1].fault is Fault.HANG
            assert left_behind() == []
            assert "closed" in repr(fleet)
            for site in here.sites:
                site.faults.clear()
        assert len(asyncio.all_tasks()) == 1
        await asyncio.sleep(1)
        gc.collect()
        assert open_transports() == before

    virtual_time.run(whole())


def order_all(here: Town) -> None:
    """Book an order for each account."""
    for name in here.accounts:
        here.order(name)


@pytest.mark.parametrize(("seconds", "answered"), [(5, True), (100, False)])
def test_leaving_drains(seconds: float, answered: bool) -> None:
    """A request under way may end within `drain`, and is broken off after it."""

    async def whole() -> None:
        meter = Meter()
        async with town(Dialect.CLASSIC) as here:
            fleet = Fleet(
                here.accounts.values(), timeout=500, drain=7, on_request=meter, hooks=hooks()
            )
            async with fleet, listening(fleet, "info"):
                await asyncio.sleep(2.5 * INTERVAL)
                here.sites[0].faults.add(Fault.SLOW, seconds=seconds)
                await here.sites[0].arrived(here.sites[0].requests_count + 1)
                began, count = clock(), len(meter.facts)
                await fleet.aclose()
                assert abs(clock() - began - min(seconds, 7)) < 1
                await asyncio.sleep(0)
                assert [fact.status for fact in meter.facts[count:]] == [200] * answered
            await asyncio.sleep(seconds)

    virtual_time.run(whole())


def test_events_can_be_iterated_again() -> None:
    """In one place at a time; what came in between is delivered then, what was in hand again."""

    async def whole() -> None:
        async with town(Dialect.CLASSIC, Dialect.DELEGATING) as here:
            async with Fleet(here.accounts.values(), hooks=hooks()) as fleet:
                async with listening(fleet, "exchanges"):
                    await asyncio.sleep(2 * INTERVAL)
                    with pytest.raises(RuntimeError, match="one place"):
                        await anext(aiter(fleet.events()))
                for _ in range(3):
                    for name in here.accounts:
                        here.order(name)
                async with listening(fleet, "exchanges", pause=500) as first:
                    await asyncio.sleep(2 * INTERVAL)
                await asyncio.sleep(1)
                async with listening(fleet, "exchanges") as second:
                    await asyncio.sleep(2 * INTERVAL)
            assert len(first.changes()) == 1
            for name in here.accounts:
                assert [row for _, _, row in second.changes(name)] == [1, 2, 3]

    virtual_time.run(whole())


@pytest.mark.parametrize("rest", [None, 0, 0.1])
def test_events_are_iterated_again_at_once(rest: float | None) -> None:
    """After a `break` the events can be iterated again, though requests are under way."""

    async def whole() -> None:
        async with town(Dialect.CLASSIC, Dialect.DELEGATING) as here:
            async with Fleet(here.accounts.values(), hooks=hooks()) as fleet:
                here.sites[1].faults.add(Fault.HANG, skip=2, times=None)
                asyncio.get_running_loop().call_later(200, here.order, "a-0-0")
                await leave_by_break(fleet)
                if rest is not None:
                    await asyncio.sleep(rest)
                async with listening(fleet) as listener:
                    for _ in range(3):
                        await asyncio.sleep(2 * INTERVAL)
                        here.order("a-0-0")
                    await asyncio.sleep(2 * INTERVAL)
                here.sites[1].faults.clear()
            assert [row for _, _, row in listener.changes("a-0-0")] == [1, 2, 3, 4]

    virtual_time.run(whole())


def test_events_are_iterated_again_by_the_same_task() -> None:
    """Right after a `break`, without as much as a turn of the loop in between."""

    async def whole() -> None:
        async with town(Dialect.CLASSIC) as here:
            async with Fleet(here.accounts.values(), since=0, hooks=hooks()) as fleet:
                for name in here.accounts:
                    here.order(name)
                for _ in range(3):
                    await leave_by_break(fleet)

    virtual_time.run(whole())


def test_accounts_come_and_go() -> None:
    """Accounts are added, removed and taken in again while all are polled."""

    async def whole() -> None:
        meter = Meter()
        async with town(Dialect.CLASSIC, Dialect.DELEGATING, each=2) as here:
            first, other, *late = here.accounts
            mine = [here.accounts[first], here.accounts[other]]
            async with (
                Fleet(mine, on_request=meter, hooks=hooks()) as fleet,
                listening(fleet, "exchanges") as listener,
            ):
                await asyncio.sleep(2 * INTERVAL)
                for name in late:
                    fleet.add(here.accounts[name])
                await asyncio.sleep(2 * INTERVAL)
                fleet.remove(first)
                await asyncio.sleep(1)
                asked = len(meter.spans[first])
                for name in here.accounts:
                    here.order(name)
                await asyncio.sleep(2 * INTERVAL)
                assert {name for _, name, _ in listener.changes()} == {other, *late}
                assert len(meter.spans[first]) == asked
                assert set(fleet.status()) == {other, *late}
                fleet.add(here.accounts[first])
                await asyncio.sleep(2 * INTERVAL)
            assert Counter(name for _, name, _ in listener.changes()) == dict.fromkeys(
                here.accounts, 1
            )

    virtual_time.run(whole())


def test_account_is_removed_with_its_change_in_hand() -> None:
    """Its other changes are not delivered any more; taken in again, it goes on where it was."""

    async def whole() -> None:
        async with town(Dialect.CLASSIC, Dialect.DELEGATING) as here:
            for name in here.accounts:
                fleet = Fleet([here.accounts[name]], hooks=hooks())
                async with fleet, listening(fleet, "exchanges", pause=50) as listener:
                    await asyncio.sleep(2 * INTERVAL)
                    for _ in range(5):
                        here.order(name)
                    await listener.has_heard.wait()
                    fleet.remove(name)
                    await asyncio.sleep(5 * INTERVAL)
                    assert [row for _, _, row in listener.changes()] == [1]
                    fleet.add(here.accounts[name])
                    await asyncio.sleep(10 * INTERVAL)
                assert [row for _, _, row in listener.changes()] == [1, 2, 3, 4, 5]

    virtual_time.run(whole())


def test_pause_and_resume() -> None:
    """A paused account is asked nothing; resumed, it tells at once what it missed."""

    async def whole() -> None:
        meter = Meter()
        async with town(Dialect.DELEGATING, each=2) as here:
            quiet, other = here.accounts
            async with (
                Fleet(here.accounts.values(), on_request=meter, hooks=hooks()) as fleet,
                listening(fleet) as listener,
            ):
                await asyncio.sleep(2 * INTERVAL)
                fleet.pause(quiet)
                asked = len(meter.spans[quiet])
                here.order(quiet)
                here.order(other)
                await asyncio.sleep(5 * INTERVAL)
                assert fleet.status()[quiet].phase is AccountPhase.PAUSED
                assert fleet.status()[quiet].next_poll is None
                assert len(meter.spans[quiet]) == asked
                began = clock()
                fleet.resume(quiet)
                await asyncio.sleep(2.5 * INTERVAL)
                check_punctuality_after(meter.polls(quiet), began)
            assert [name for _, name, _ in listener.changes()] == [other, quiet]
            assert listener.changes(quiet)[0][0] < began + 1

    virtual_time.run(whole())


def check_punctuality_after(polls: Sequence[float], began: float) -> None:
    """Check that an account has had a poll at once, and then in its turn."""
    again = [poll for poll in polls if poll >= began]
    assert again[0] - began < 1
    assert len(again) >= 2
    assert (again[1] - polls[0] + 0.001) % INTERVAL < 1  # timers are not exact


def test_resume_after_suspension() -> None:
    """An account whose key never worked is asked once, until it is resumed."""

    async def whole() -> None:
        async with town(Dialect.CLASSIC, Dialect.DELEGATING) as here:
            for books in here.books.values():
                books.partner.banned = True
            fleet = Fleet(here.accounts.values(), hooks=hooks())
            async with fleet, listening(fleet) as listener:
                await asyncio.sleep(10 * INTERVAL)
                for site in here.sites:
                    assert site.requests_count == 1
                for name, books in here.books.items():
                    assert fleet.status()[name].phase is AccountPhase.SUSPENDED
                    books.partner.banned = False
                    fleet.resume(name)
                await asyncio.sleep(2 * INTERVAL)
                for name in here.accounts:
                    here.order(name)
                await asyncio.sleep(2 * INTERVAL)
            for name in here.accounts:
                kinds = [kind for _, kind in listener.notices(name)]
                assert kinds == ["AccountSuspended", "AccountRecovered"]
                assert len(listener.changes(name)) == 1

    virtual_time.run(whole())


def test_names_are_unique() -> None:
    """Two accounts of one name are refused, at the beginning and later; unknown names, too."""

    async def whole() -> None:
        one, two = Account("https://a.example", "k", name="x"), Account("https://b.example", "k")
        with pytest.raises(ValueError, match="'x'"):
            Fleet([one, one])
        async with Fleet([one], hooks=hooks()) as fleet:
            fleet.add(two)
            with pytest.raises(ValueError, match=r"b\.example"):
                fleet.add(two)
            assert set(fleet.status()) == {"x", "b.example"}
            for act in (fleet.remove, fleet.pause, fleet.resume, fleet.session):
                with pytest.raises(KeyError, match="nobody"):
                    act("nobody")

    virtual_time.run(whole())

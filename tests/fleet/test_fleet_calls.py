"""What a fleet does beside polling: its calls, its arguments, its end."""

from __future__ import annotations

import asyncio
import functools
import sys
from collections.abc import Callable
from datetime import timedelta

import aiohttp
import pytest
from attrs import evolve

from ppapi_async import (
    Account,
    AccountSuspended,
    Change,
    Dialect,
    Fleet,
    Hooks,
    Info,
)
from ppapi_async.sandbox import NINES, ZERO_DATE, Fault
from tests import virtual_time
from tests.fleet.test_fleet import changes, collect, fleet_of, park
from tests.watching.test_watch import KEY, later, new_order, run


@pytest.mark.untraced
@pytest.mark.parametrize("dated", [ZERO_DATE, NINES], ids=["zero date", "nines"])
@pytest.mark.parametrize("zone", ["Europe/Moscow", "America/New_York"])
def test_promise_7_a_date_that_no_datetime_holds_is_no_trouble_of_the_others(
    dated: int, zone: str
) -> None:
    """Nor of its own account: all events of all accounts go on."""

    async def main() -> None:
        async with park(Dialect.CLASSIC, Dialect.DELEGATING) as (sandboxes, accounts):
            odd = Account(accounts[0].url, KEY, name="odd", timezone=zone)
            order = next(iter(sandboxes[0].books.orders))
            async with fleet_of([odd, accounts[1]]) as fleet:
                later(
                    100,
                    lambda: sandboxes[0].books.orders.put(
                        evolve(order, id=99, created=dated, history=((dated, "new"),))
                    ),
                )
                for sandbox in sandboxes:
                    later(200, functools.partial(new_order, sandbox.books))
                events = await collect(fleet, "exchanges", seconds=900)
            heard = {(name, row) for name, _, row in changes(events)}
            assert ("site 1", 21) in heard
            assert {name for name, _ in heard} == {"odd", "site 1"}
            assert not [e for e in events if isinstance(e, AccountSuspended)]

    run(main)


def test_a_clock_set_back_does_not_stop_the_polls() -> None:
    """What was planned by the old time is planned anew."""

    async def main() -> None:
        ahead = [86_400.0]
        hooks = Hooks(
            clock=lambda: virtual_time.now() + ahead[0], sleep=asyncio.sleep, chance=lambda: 0.5
        )
        async with park(Dialect.CLASSIC) as (sandboxes, accounts):
            async with Fleet(accounts, hooks=hooks) as fleet:
                later(300, lambda: ahead.__setitem__(0, 0.0))
                later(500, lambda: new_order(sandboxes[0].books))
                assert changes(await collect(fleet, "exchanges", seconds=700)) == [
                    ("site 0", "new", 21)
                ]

    run(main)


def test_leaving_from_elsewhere_ends_the_loop() -> None:
    """`aclose` in another task: the consumer's loop ends quietly."""

    async def main() -> None:
        async with park(Dialect.CLASSIC) as (_, accounts):
            fleet = await fleet_of(accounts).__aenter__()
            later(100, lambda: asyncio.ensure_future(fleet.aclose()))
            assert [event async for event in fleet.events("exchanges")] == []
            await fleet.aclose()
            with pytest.raises(RuntimeError, match="not open"):
                fleet.events()

    run(main)


def test_leaving_drains_within_its_time() -> None:
    """A request under way may end; one that hangs is broken off."""

    async def main() -> None:
        async with park(Dialect.CLASSIC, Dialect.CLASSIC) as (sandboxes, accounts):
            sandboxes[0].faults.add(Fault.HANG, times=None)
            async with fleet_of(accounts, drain=7) as fleet:
                await collect(fleet, "exchanges", seconds=0.1)
                events = fleet.events("exchanges")
                waiting = asyncio.ensure_future(anext(aiter(events)))
                await asyncio.sleep(61)
                left = virtual_time.now()
                waiting.cancel()
                await asyncio.gather(waiting, return_exceptions=True)
                await events.aclose()
            assert 0 < virtual_time.now() - left <= 8

    run(main)


def test_events_have_one_consumer_at_a_time() -> None:
    """After the first has left, another may come."""

    async def main() -> None:
        async with park(Dialect.CLASSIC) as (sandboxes, accounts), fleet_of(accounts) as fleet:
            first = fleet.events("info")
            waiting = asyncio.ensure_future(anext(aiter(first)))
            await asyncio.sleep(1)
            with pytest.raises(RuntimeError, match="one place"):
                await anext(aiter(fleet.events("info")))
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            await first.aclose()
            later(50, lambda: setattr(sandboxes[0].books.partner, "balance", "1"))
            later(70, lambda: setattr(sandboxes[0].books.partner, "balance", "2"))
            async for event in fleet.events("info"):
                assert isinstance(event, Change)
                break

    run(main)


def test_a_lent_session_lends_its_connector() -> None:
    """And is not closed."""

    async def main() -> None:
        async with park(Dialect.CLASSIC) as (_, accounts), aiohttp.ClientSession() as http:
            async with fleet_of(accounts, http=http) as fleet:
                assert isinstance((await fleet.get_info())["site 0"], Info)
                assert repr(fleet) == "<Fleet of 1 accounts, open>"
                assert (await fleet.session("site 0").get_payouts()) is not None
            assert not http.closed

    run(main)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"interval": 0}, "interval"),
        ({"concurrency": 0}, "concurrency"),
        ({"per_host": 0}, "per_host"),
        ({"rate": 0}, "rate"),
        ({"lookback": timedelta()}, "lookback"),
        ({"drain": -1}, "drain"),
        ({"page_size": 0}, "page_size"),
        ({"timeout": 0}, "timeout"),
    ],
)
def test_wrong_arguments_are_named(options: dict[str, float], name: str) -> None:
    """When the fleet is made, not when it is entered."""
    with pytest.raises(ValueError, match=name):
        Fleet([], **options)  # type: ignore[arg-type]


def test_unknown_sources_are_named() -> None:
    """With those that there are."""

    async def main() -> None:
        async with fleet_of([]) as fleet:
            with pytest.raises(ValueError, match="links"):
                fleet.events("orders")  # type: ignore[call-overload]

    run(main)


def test_a_fleet_has_to_be_open() -> None:
    """Each call says so; it cannot be opened twice."""
    fleet = Fleet([Account("https://site.example", KEY, name="a")])
    calls: list[Callable[[], object]] = [
        fleet.events,
        fleet.iter_exchanges,
        lambda: fleet.session("a"),
        lambda: fleet.pause("a"),
    ]
    for call in calls:
        with pytest.raises(RuntimeError, match="not open"):
            call()

    async def main() -> None:
        async with fleet:
            with pytest.raises(RuntimeError, match="open already"):
                await fleet.__aenter__()

    run(main)


def test_a_rate_without_aiolimiter_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an extra."""
    monkeypatch.setitem(sys.modules, "aiolimiter", None)
    with pytest.raises(ImportError, match=r"ppapi-async\[fleet\]"):
        Fleet([], rate=1)

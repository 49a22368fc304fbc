"""The collector and the hook for Prometheus: names, values, threads, and a loop that hangs."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import NoReturn

import pytest
from attrs import evolve
from prometheus_client import CollectorRegistry, generate_latest

from ppapi_async import (
    Account,
    AccountPhase,
    AccountStatus,
    Dialect,
    Fleet,
    Retry,
    StateError,
)
from ppapi_async.metrics.families import Polls
from ppapi_async.metrics.prometheus import PrometheusHook, StatusCollector
from ppapi_async.metrics.status_collector import Look, Totals
from ppapi_async.mirror import Mirror, MirrorStanding
from ppapi_async.sandbox import Fault, Sandbox
from ppapi_async.version import __version__
from tests.fleet.test_fleet import collect, fleet_of, park
from tests.metrics.observing import values_of
from tests.metrics.test_opentelemetry import FACTS, evolved
from tests.mirror.clock import Clock
from tests.mirror.test_mirror import account_of, site
from tests.watching.test_watch import later, run

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
STATUS = AccountStatus(
    phase=AccountPhase.WAITING,
    dialect=None,
    last_success=NOW,
    next_poll=None,
    failures=0,
    last_error=None,
    lag=timedelta(),
    host="a.example",
    interval=timedelta(seconds=60),
    polls=5,
)
Labels = tuple[tuple[str, str], ...]


class Fixed:
    """A fleet whose status is what a test says."""

    def __init__(self, **accounts: AccountStatus) -> None:
        self.accounts = accounts

    def status(self) -> dict[str, AccountStatus]:
        """Return it."""
        return self.accounts


class Kept(Fixed):
    """A mirror whose database holds what a test says."""

    def __init__(self, standing: dict[str, MirrorStanding], **accounts: AccountStatus) -> None:
        super().__init__(**accounts)
        self.answer: dict[str, MirrorStanding] | Exception = standing
        self.asked = 0

    async def standing(self) -> dict[str, MirrorStanding]:
        """Return it."""
        self.asked += 1
        await asyncio.sleep(0)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def scrape(*collectors: StatusCollector) -> dict[str, dict[Labels, float]]:
    """Return what Prometheus would read, by name and labels."""
    registry = CollectorRegistry()
    for collector in collectors:
        registry.register(collector)
    return values_of(generate_latest(registry).decode())


def host(name: str = "a.example", **more: str) -> Labels:
    """Return the labels of a series."""
    return tuple(sorted({"host": name, **more}.items()))


# --- accounts


async def test_accounts_of_a_host_are_one_series() -> None:
    """Counts add up; of points in time the earliest counts, of failures in a row the most."""
    earlier = NOW - timedelta(minutes=5)
    failing = evolve(
        STATUS, phase=AccountPhase.FAILING, failures=3, failing_since=NOW, last_success=earlier
    )
    fleet = Fixed(
        one=STATUS,
        two=evolve(failing, polls=9, polls_failed=4, clock_warning="the zone is wrong"),
        three=evolve(failing, failures=2, failing_since=earlier, unsettled_payouts=2),
        other=evolve(STATUS, host="b.example", last_success=None, polls=0),
        paused=evolve(STATUS, phase=AccountPhase.PAUSED, last_success=NOW - timedelta(days=9)),
    )
    found = scrape(StatusCollector(fleet))
    phases = dict.fromkeys(map(str, AccountPhase), 0) | {"waiting": 1, "failing": 2, "paused": 1}
    assert {
        dict(labels)["phase"]: value
        for labels, value in found["ppapi_accounts"].items()
        if dict(labels)["host"] == "a.example"
    } == phases
    expected: Mapping[str, Mapping[Labels, float]] = {
        "ppapi_up": {(): 1},
        "ppapi_info": {(("version", __version__),): 1},
        "ppapi_last_success_timestamp_seconds": {host(): earlier.timestamp()},
        "ppapi_failing_since_timestamp_seconds": {host(): earlier.timestamp()},
        "ppapi_failures_in_a_row": {host(): 3, host("b.example"): 0},
        "ppapi_accounts_never_read": {host(): 0, host("b.example"): 1},
        "ppapi_poll_interval_seconds": {host(): 60, host("b.example"): 60},
        "ppapi_clock_warnings": {host(): 1, host("b.example"): 0},
        "ppapi_payouts_unsettled": {host(): 2, host("b.example"): 0},
        "ppapi_polls_total": {host(): 5 + 9 + 5 + 5, host("b.example"): 0},
        "ppapi_polls_failed_total": {host(): 4, host("b.example"): 0},
    }
    assert {name: found[name] for name in expected} == expected
    assert set(found) == {"ppapi_accounts", *expected}


async def test_accounts_are_series_of_their_own_on_request() -> None:
    """Then each has its name, beside the host."""
    fleet = Fixed(one=STATUS, two=evolve(STATUS, polls=7))
    found = scrape(StatusCollector(fleet, by_account=True))
    assert found["ppapi_polls_total"] == {host(account="one"): 5, host(account="two"): 7}
    assert len(found["ppapi_accounts"]) == 2 * len(AccountPhase)


async def test_counters_never_fall() -> None:
    """Not where an account is removed, comes back, or begins anew: Prometheus would see rates."""
    fleet = Fixed(one=STATUS, two=evolve(STATUS, polls=7, polls_failed=3))
    collector = StatusCollector(fleet)
    steps: list[tuple[dict[str, AccountStatus], float, float]] = [
        (dict(fleet.accounts), 12, 3),
        ({"one": evolve(STATUS, polls=6)}, 13, 3),
        ({"one": evolve(STATUS, polls=1)}, 14, 3),  # opened anew
        ({"one": evolve(STATUS, polls=1), "two": evolve(STATUS, polls=2, polls_failed=1)}, 16, 4),
    ]
    for accounts, polls, failed in steps:
        fleet.accounts = accounts
        found = scrape(collector)
        assert found["ppapi_polls_total"] == {host(): polls}
        assert found["ppapi_polls_failed_total"] == {host(): failed}


def test_a_look_that_is_overtaken_changes_no_sum() -> None:
    """Two threads scrape at once, and the later look is counted first."""
    totals = Totals()

    def add(number: int, polls: int) -> dict[tuple[str, ...], Polls]:
        statuses = [{"one": evolve(STATUS, polls=polls)}]
        look = Look(number=number, statuses=statuses, standings=[], counted_at=None)
        return totals.add(look, lambda name, site: (site,))

    assert [add(*look)["a.example",].begun for look in ((1, 5), (3, 9), (2, 7), (4, 10))] == [
        5,
        9,
        9,
        10,
    ]


async def test_several_fleets_are_one_collector() -> None:
    """Prometheus takes each name from one collector only."""
    first, second = Fixed(one=STATUS), Fixed(one=evolve(STATUS, polls=3))
    assert scrape(StatusCollector(first, second))["ppapi_polls_total"] == {host(): 8}
    registry = CollectorRegistry()
    registry.register(StatusCollector(first))
    with pytest.raises(ValueError, match="ppapi_up"):
        registry.register(StatusCollector(second))


def test_a_real_fleet_is_told_as_it_is() -> None:
    """Polled, failing, suspended: the numbers are those of its status."""

    async def main() -> None:
        async with park(Dialect.CLASSIC, Dialect.DELEGATING) as (sandboxes, accounts):
            wrong = Account(accounts[0].url, "Zz9wRoNgKeY8vUtSrQpOnMlKjIhGfEdC", name="wrong")
            async with fleet_of([*accounts, wrong], first="now") as fleet:
                collector = StatusCollector(fleet)
                assert set(scrape(collector)["ppapi_accounts_never_read"].values()) == {1, 2}
                sandboxes[1].faults.add(Fault.HTML_502, times=None)
                later(500, lambda: found.update(scrape(collector)))
                found: dict[str, dict[Labels, float]] = {}
                await collect(fleet, "info", seconds=501)
                status = fleet.status()
            good, bad = (host(account.host) for account in accounts)
            phases = found["ppapi_accounts"]
            assert phases[host(accounts[0].host, phase="waiting")] == 1
            assert phases[host(accounts[0].host, phase="suspended")] == 1
            assert phases[host(accounts[1].host, phase="failing")] == 1
            assert found["ppapi_polls_total"][good] == 1 + status["site 0"].polls
            assert found["ppapi_polls_failed_total"][good] == 1
            assert found["ppapi_polls_failed_total"][bad] == status["site 1"].polls_failed > 2
            since = status["site 1"].failing_since
            assert since is not None
            assert found["ppapi_failing_since_timestamp_seconds"][bad] == since.timestamp()
        assert "ppapi_accounts" not in scrape(collector)  # it is closed
        assert scrape(collector)["ppapi_up"] == {(): 1}

    run(main)


# --- threads


async def test_it_is_read_in_the_loop_whoever_asks() -> None:
    """A fleet is no thing for two threads: the one that scrapes waits for the loop."""
    threads: list[threading.Thread] = []

    class Watched(Fixed):
        def status(self) -> dict[str, AccountStatus]:
            threads.append(threading.current_thread())
            return super().status()

    collector = StatusCollector(Watched(one=STATUS))
    found = await asyncio.to_thread(scrape, collector)
    assert found["ppapi_up"] == {(): 1}
    assert scrape(collector) == found
    assert threads == [threading.current_thread()] * 2


@pytest.mark.untraced
async def test_accounts_that_come_and_go_disturb_no_scrape() -> None:
    """Four threads scrape as fast as they can, while the loop adds and removes accounts."""
    async with Fleet([Account("http://127.0.0.1:9", "k3y", name="first")]) as fleet:
        collector, done = StatusCollector(fleet), threading.Event()

        def scrape_on() -> int:
            count = 0
            while not done.is_set():
                found = scrape(collector)
                assert found["ppapi_up"] == {(): 1}
                count += 1
            return count

        scrapers = [asyncio.create_task(asyncio.to_thread(scrape_on)) for _ in range(4)]
        for number in range(40):
            fleet.add(Account("http://127.0.0.1:9", "k3y", name=f"{number}"))
            await asyncio.sleep(0.002)
            if number % 2:
                fleet.remove(f"{number}")
        done.set()
        assert min(await asyncio.gather(*scrapers)) > 0


async def test_a_loop_that_hangs_is_told() -> None:
    """The scrape ends within the patience, with `ppapi_up 0` and no number that may be wrong."""
    collector = StatusCollector(Fixed(one=STATUS), patience=0.05)
    found: list[dict[str, dict[Labels, float]]] = []
    thread = threading.Thread(target=lambda: found.append(scrape(collector)))
    thread.start()
    thread.join()  # the loop is here, and hangs
    assert found[0] == {"ppapi_up": {(): 0}, "ppapi_info": {(("version", __version__),): 1}}
    await asyncio.sleep(0)  # nobody waits for the reading any more
    assert (await asyncio.to_thread(scrape, collector))["ppapi_up"] == {(): 1}


def test_a_loop_that_is_closed_is_told() -> None:
    """At once."""

    async def make() -> StatusCollector:
        return StatusCollector(Fixed(one=STATUS), patience=600)

    assert scrape(asyncio.run(make()))["ppapi_up"] == {(): 0}


async def test_what_goes_wrong_in_the_loop_is_raised_to_who_scrapes() -> None:
    """It is a bug, and not to be hidden."""

    class Broken(Fixed):
        def status(self) -> NoReturn:
            raise KeyError("broken")

    collector = StatusCollector(Broken())
    with pytest.raises(KeyError, match="broken"):
        await asyncio.to_thread(scrape, collector)


def test_it_is_made_in_a_loop() -> None:
    """Or nobody would know whom to ask."""
    with pytest.raises(RuntimeError, match="no running event loop"):
        StatusCollector(Fixed())


async def test_misuse_is_told_at_once() -> None:
    """With what to pass."""
    with pytest.raises(TypeError, match="pass fleets and mirrors"):
        StatusCollector()
    with pytest.raises(TypeError, match="pass fleets and mirrors"):
        StatusCollector("fleet")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="patience"):
        StatusCollector(Fixed(), patience=-1)
    with pytest.raises(TypeError, match="by_account"):
        StatusCollector(Fixed(), by_account="yes")  # type: ignore[arg-type]
    assert repr(StatusCollector(Fixed())) == "<StatusCollector of 1>"


# --- mirrors

STANDING = MirrorStanding(
    host="a.example",
    rows={"links": 10, "exchanges": 4, "payouts": 1},
    last_synced=NOW,
    unreadable=1,
    holes=2,
)


async def counted(collector: StatusCollector) -> dict[str, dict[Labels, float]]:
    """Scrape once to have the database counted, and again to see it."""
    scrape(collector)
    for _ in range(5):
        await asyncio.sleep(0)
    return scrape(collector)


async def test_a_mirror_is_counted_beside_the_scrapes() -> None:
    """The first scrape gets no numbers yet, the next one does; the earliest time counts."""
    later_on = evolve(STANDING, last_synced=NOW + timedelta(hours=1), rows={"links": 5})
    never = evolve(STANDING, host="b.example", last_synced=None, unreadable=0, holes=0)
    mirror = Kept({"one": STANDING, "two": later_on, "three": never}, one=STATUS)
    collector, began = StatusCollector(mirror), time.time()
    assert "ppapi_mirror_rows" not in scrape(collector)
    found = await counted(collector)
    assert found["ppapi_mirror_rows"] == {
        host(resource="links"): 15,
        host(resource="exchanges"): 4,
        host(resource="payouts"): 1,
        host("b.example", resource="links"): 10,
        host("b.example", resource="exchanges"): 4,
        host("b.example", resource="payouts"): 1,
    }
    assert found["ppapi_mirror_last_synced_timestamp_seconds"] == {host(): NOW.timestamp()}
    assert found["ppapi_mirror_accounts_never_synced"] == {host(): 0, host("b.example"): 1}
    assert found["ppapi_mirror_unreadable_rows"] == {host(): 2, host("b.example"): 0}
    assert found["ppapi_mirror_coverage_holes"] == {host(): 4, host("b.example"): 0}
    [at] = found["ppapi_mirror_counted_timestamp_seconds"].values()
    assert began <= at <= time.time()


async def test_a_database_is_not_asked_at_each_scrape() -> None:
    """Once in `count_every`, however often it is scraped."""
    mirror = Kept({"one": STANDING}, one=STATUS)
    collector = StatusCollector(mirror)
    for _ in range(5):
        await counted(collector)
    assert mirror.asked == 1


@pytest.mark.untraced
def test_a_database_that_is_slow_is_asked_less_often() -> None:
    """It spends a hundredth of its time on being counted."""

    async def main() -> None:
        mirror = SlowlyKept({"one": STANDING}, one=STATUS)
        collector = StatusCollector(mirror, count_every=60)
        for _ in range(130):
            await asyncio.sleep(60)
            scrape(collector)
        assert 5 < mirror.asked < 8

    class SlowlyKept(Kept):
        async def standing(self) -> dict[str, MirrorStanding]:
            await asyncio.sleep(12)
            return await super().standing()

    run(main)


@pytest.mark.parametrize("error", [StateError("gone"), RuntimeError("the mirror is not open")])
def test_a_database_that_cannot_be_read_leaves_the_last_count(error: Exception) -> None:
    """Whose age is told; nothing else is heard of it."""

    async def main() -> None:
        troubles: list[object] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, trouble: troubles.append(trouble))
        mirror = Kept({"one": STANDING}, one=STATUS)
        collector = StatusCollector(mirror, count_every=60)
        before = await counted(collector)
        mirror.answer = error
        await asyncio.sleep(61)
        after = await counted(collector)
        gc.collect()
        assert mirror.asked == 2
        assert after == before
        assert troubles == []

    run(main)


@contextlib.asynccontextmanager
async def mirrored(url: str) -> AsyncIterator[tuple[Sandbox, Mirror, Clock]]:
    """Open a mirror of a site."""
    clock = Clock()
    async with site(clock) as sandbox:
        retry = Retry(attempts=1)
        async with Mirror(url, account_of(sandbox), retry=retry, hooks=clock.hooks()) as mirror:
            yield sandbox, mirror, clock


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so, some seconds at the most."""
    for _ in range(5_000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it did not come to be so")


@pytest.mark.untraced
async def test_a_real_mirror_is_told_as_it_is(mirror_url: str) -> None:
    """Its rows are those of the books; a scrape in the middle of leaving it does no harm."""
    async with mirrored(mirror_url) as (sandbox, mirror, _):
        await mirror.sync()
        collector = StatusCollector(mirror)
        await asyncio.to_thread(scrape, collector)
        await until(lambda: "ppapi_mirror_rows" in scrape(collector))
        found, books, where = scrape(collector), sandbox.books, account_of(sandbox).host
    assert found["ppapi_mirror_rows"] == {
        host(where, resource="links"): len(list(books.clicks)),
        host(where, resource="exchanges"): len(list(books.orders)),
        host(where, resource="payouts"): len(list(books.payouts)),
    }
    assert found["ppapi_mirror_last_synced_timestamp_seconds"] == {host(where): Clock().time}
    assert scrape(collector)["ppapi_up"] == {(): 1}


async def test_a_mirror_may_be_left_while_it_is_counted(mirror_url: str) -> None:
    """Nothing is left behind, no task and no warning."""
    async with mirrored(mirror_url) as (_, mirror, _):
        collector = StatusCollector(mirror, count_every=timedelta(microseconds=1))
        for _ in range(3):
            scrape(collector)
            await asyncio.sleep(0)
    await until(lambda: len(asyncio.all_tasks()) == 1)
    scrape(collector)
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == 1


# --- requests


@pytest.mark.parametrize("by_account", [False, True])
def test_requests_are_counted_by_host_and_method(by_account: bool) -> None:
    """Durations, rows, bytes, repeats; accounts only if asked for."""
    registry = CollectorRegistry()
    hook = PrometheusHook(registry=registry, by_account=by_account)
    hook(FACTS)
    hook(evolved(attempt=2, rows=None, seconds=7.0, error="ServerError", status=500))
    hook(evolved(method="get_info", rows=None))
    found = values_of(generate_latest(registry).decode())
    place = {"host": "site.example", "method": "get_links"}
    if by_account:
        place["account"] = "one"
    labels = tuple(sorted(place.items()))
    assert found["ppapi_rows_total"] == {labels: 12}
    assert found["ppapi_received_bytes_total"][labels] == 1_800
    assert found["ppapi_retries_total"][labels] == 1
    durations = found["ppapi_request_duration_seconds_sum"]
    assert {key: value for key, value in durations.items() if ("method", "get_links") in key} == {
        tuple(sorted({**place, "outcome": outcome}.items())): seconds
        for outcome, seconds in (("ok", 0.3), ("bad_answer", 7.0))
    }
    assert repr(hook) == "<PrometheusHook>"


async def test_a_session_takes_the_hook() -> None:
    """As `on_request=`, and so do fleets and mirrors."""
    registry = CollectorRegistry()
    hook = PrometheusHook(registry=registry)
    async with Sandbox(rows=3) as sandbox:
        account = account_of(sandbox)
        async with Fleet(account, on_request=hook) as fleet:
            await fleet.get_info()
            await asyncio.sleep(0)
    found = values_of(generate_latest(registry).decode())
    counts = found["ppapi_request_duration_seconds_count"]
    assert counts == {host(account.host, method="get_info", outcome="ok"): 1}

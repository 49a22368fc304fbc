"""The pytest plugin, in pytest runs of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ppapi_async import testing

pytest_plugins = ["pytester"]

_BOTH_MODES = pytest.mark.parametrize("mode", ["strict", "auto"])
_TEST = """
import pytest
from ppapi_async import Session
from ppapi_async.sandbox import Fault
"""


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Return a pytester whose runs load no plugin unless told."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    return pytester


def _configure(run: pytest.Pytester, mode: str, *more: str) -> None:
    lines = [
        "[pytest]",
        "addopts = -p pytest_asyncio.plugin --strict-markers",
        f"asyncio_mode = {mode}",
        "asyncio_default_fixture_loop_scope = function",
        "filterwarnings = error",
        *more,
    ]
    run.makeini("\n".join(lines))


def _result(run: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return run.runpytest_inprocess(*arguments, plugins=[testing])


@pytest.mark.untraced
@_BOTH_MODES
def test_the_fixtures_work_in_both_modes(run: pytest.Pytester, mode: str) -> None:
    """A test gets a running sandbox, 100 exchanges and an account on it."""
    _configure(run, mode)
    run.makepyfile(
        _TEST
        + """
@pytest.mark.asyncio
async def test_all(ppapi_sandbox, ppapi_account):
    ppapi_sandbox.faults.add(Fault.SLOW, seconds=0)
    async with Session(ppapi_account) as session:
        orders = await session.get_exchanges()
    assert {o.id for o in orders} == {o.id for o in ppapi_sandbox.books.orders}
    assert len(orders) == 100
    await ppapi_sandbox.arrived(2)
"""
    )
    _result(run).assert_outcomes(passed=1)


@pytest.mark.untraced
def test_the_auto_mode_needs_no_asyncio_marker(run: pytest.Pytester) -> None:
    """In auto mode a bare async test will do, and sync tests go on beside it."""
    _configure(run, "auto")
    run.makepyfile(
        _TEST
        + """
async def test_info(ppapi_account):
    async with Session(ppapi_account) as session:
        assert (await session.get_info()).min_payout == 10

def test_sync():
    pass
"""
    )
    _result(run).assert_outcomes(passed=2)


@pytest.mark.untraced
@_BOTH_MODES
def test_the_marker_sets_the_sandbox_up(run: pytest.Pytester, mode: str) -> None:
    """Dialect, rows and zone are the sandbox's; the account follows, so that times are true."""
    _configure(run, mode)
    run.makepyfile(
        _TEST
        + """
@pytest.mark.asyncio
@pytest.mark.ppapi_sandbox(dialect="delegating", rows=700, timezone="Europe/Moscow", seed=4)
async def test_moscow(ppapi_sandbox, ppapi_account):
    assert ppapi_sandbox.dialect == "delegating"
    assert ppapi_account.timezone == "Europe/Moscow"
    async with Session(ppapi_account) as session:
        orders = await session.get_exchanges()
    truth = {o.id: o.edited for o in ppapi_sandbox.books.orders}
    assert {o.id: int(o.time.timestamp()) for o in orders} == truth
    assert len(truth) == 700

@pytest.mark.asyncio
@pytest.mark.ppapi_sandbox(dialect="user-api", rows=2)
async def test_login(ppapi_account):
    async with Session(ppapi_account) as session:
        assert len(await session.get_exchanges()) == 2
"""
    )
    _result(run).assert_outcomes(passed=2)


def test_the_nearest_marker_has_the_last_word(run: pytest.Pytester) -> None:
    """Markers of module, class and test add up, argument by argument; parameters bring theirs."""
    _configure(run, "auto")
    run.makepyfile(
        _TEST
        + """
pytestmark = pytest.mark.ppapi_sandbox(dialect="clone", rows=5)

@pytest.mark.ppapi_sandbox(rows=6)
class TestMarked:
    async def test_class(self, ppapi_sandbox):
        assert (ppapi_sandbox.dialect, len(ppapi_sandbox.books.orders)) == ("clone", 6)

    @pytest.mark.ppapi_sandbox(dialect="classic")
    async def test_own(self, ppapi_sandbox):
        assert (ppapi_sandbox.dialect, len(ppapi_sandbox.books.orders)) == ("classic", 6)

@pytest.mark.parametrize(
    "rows", [pytest.param(n, marks=pytest.mark.ppapi_sandbox(rows=n)) for n in (1, 2)]
)
async def test_parameter(ppapi_sandbox, rows):
    assert len(ppapi_sandbox.books.orders) == rows
"""
    )
    _result(run).assert_outcomes(passed=4)


@pytest.mark.untraced
@_BOTH_MODES
@pytest.mark.parametrize("scope", ["function", "class", "module", "package", "session"])
def test_the_sandbox_runs_in_the_loop_of_the_test(
    run: pytest.Pytester, mode: str, scope: str
) -> None:
    """Whatever loop a test asks for: a sandbox in another one would never answer."""
    _configure(run, mode)
    run.makepyfile(
        _TEST
        + f"""
@pytest.mark.asyncio(loop_scope={scope!r})
class TestScoped:
    async def test_one(self, ppapi_account):
        async with Session(ppapi_account, timeout=5) as session:
            await session.get_info()

    async def test_two(self, ppapi_sandbox, ppapi_account):
        async with Session(ppapi_account, timeout=5) as session:
            await session.get_info()
        assert ppapi_sandbox.requests_count == 1
"""
    )
    _result(run).assert_outcomes(passed=2)


def test_the_sandbox_follows_the_default_loop_scope(run: pytest.Pytester) -> None:
    """`asyncio_default_test_loop_scope` counts where a test says nothing."""
    _configure(run, "auto", "asyncio_default_test_loop_scope = session")
    run.makepyfile(
        _TEST
        + """
async def test_info(ppapi_account):
    async with Session(ppapi_account, timeout=5) as session:
        await session.get_info()
"""
    )
    _result(run).assert_outcomes(passed=1)


def test_fixtures_of_users_build_on_it(run: pytest.Pytester) -> None:
    """An open session as a fixture, and books of one's own in place of made-up ones."""
    _configure(run, "auto")
    run.makepyfile(
        _TEST
        + """
from ppapi_async.sandbox import Books, Order

@pytest.fixture
async def session(ppapi_account):
    async with Session(ppapi_account) as session:
        yield session

@pytest.mark.ppapi_sandbox(books=Books(orders=[Order(id=7, created=1_760_000_000)]))
async def test_own_books(session):
    assert [order.id for order in await session.get_exchanges()] == [7]
"""
    )
    _result(run).assert_outcomes(passed=1)


@pytest.mark.untraced
@_BOTH_MODES
def test_several_sandboxes_at_once(run: pytest.Pytester, mode: str) -> None:
    """A fleet over three sites, each with books of its own; they end with the test."""
    _configure(run, mode)
    run.makepyfile(
        _TEST
        + """
from ppapi_async import Fleet
pytestmark = pytest.mark.ppapi_sandbox(rows=4, timezone="Asia/Tokyo")

@pytest.mark.asyncio
async def test_fleet(ppapi_sandboxes):
    global sites
    sites = await ppapi_sandboxes("classic", "delegating", "user-api", rows=6)
    async with Fleet([site.account(site.dialect) for site in sites]) as fleet:
        ids = {}
        async for name, row in fleet.iter_exchanges():
            ids.setdefault(name, set()).add(row.id)
    assert ids == {site.dialect: set(range(1, 7)) for site in sites}
    assert {site.timezone for site in sites} == {"Asia/Tokyo"}
    first, second = ([order.created for order in site.books.orders] for site in sites[:2])
    assert first != second

@pytest.mark.asyncio
async def test_again(ppapi_sandboxes, ppapi_sandbox):
    assert not any("http" in repr(site) for site in sites)
    (site,) = await ppapi_sandboxes("clone")
    (other,) = await ppapi_sandboxes("clone")
    assert len({site.url, other.url, ppapi_sandbox.url}) == 3
    assert len(site.books.orders) == 4
    async with Session(site.account()) as session:
        assert len(await session.get_exchanges()) == 4
"""
    )
    _result(run, "-p", "no:randomly").assert_outcomes(passed=2)


@_BOTH_MODES
def test_time_flies_for_a_watch(run: pytest.Pytester, mode: str) -> None:
    """Polls of a week, an order of the sandbox's later, and no second of the test's."""
    _configure(run, mode)
    run.makepyfile(
        _TEST
        + """
import asyncio, time
from datetime import UTC, datetime, timedelta
from ppapi_async import SQLiteState
from ppapi_async.sandbox import Order

@pytest.mark.asyncio
@pytest.mark.ppapi_clock(datetime(2026, 3, 29, 0, 30, tzinfo=UTC))
async def test_week(ppapi_clock, ppapi_sandbox, ppapi_account, tmp_path):
    began = time.monotonic()
    start = ppapi_clock.now
    assert start == datetime(2026, 3, 29, 0, 30, tzinfo=UTC)
    async def order_later():
        await ppapi_clock.advance(timedelta(days=7))
        ppapi_sandbox.books.orders.put(Order(id=777, created=int(ppapi_clock.time())))
    adding = asyncio.create_task(order_later())
    state = SQLiteState(tmp_path / "state.db")
    async with Session(ppapi_account, hooks=ppapi_clock.hooks) as session:
        async for change in session.watch_exchanges(interval=21_600, state=state):
            break
    await adding
    assert change.record.id == 777
    assert change.record.time - start == timedelta(days=7)
    assert timedelta(0) <= ppapi_clock.now - change.record.time <= timedelta(hours=9)
    assert 20 < ppapi_sandbox.requests_count < 200
    assert time.monotonic() - began < 60
"""
    )
    _result(run).assert_outcomes(passed=1)


@pytest.mark.untraced
@_BOTH_MODES
def test_a_fleet_and_its_sites_go_by_one_clock(run: pytest.Pytester, mode: str) -> None:
    """What a site books in the next hour comes in the next hour; retries wait without waiting."""
    _configure(run, mode)
    run.makepyfile(
        _TEST
        + """
import asyncio
from ppapi_async import Change, Fleet

@pytest.mark.asyncio
@pytest.mark.ppapi_fault("html-503", times=3, site="clone", retry_after=900)
async def test_fleet(ppapi_sandboxes, ppapi_clock):
    sites = await ppapi_sandboxes("classic", "clone", rows=5, pace=60)
    seen, start = set(), ppapi_clock.time()
    accounts = [site.account(site.dialect) for site in sites]
    async with Fleet(accounts, interval=300, hooks=ppapi_clock.hooks) as fleet:
        async for event in fleet.events("exchanges"):
            if isinstance(event, Change):
                seen.add(event.account)
                assert abs(event.record.time.timestamp() - start) < 4 * 3600
            if len(seen) == 2:
                break
    assert ppapi_clock.time() - start < 4 * 3600
"""
    )
    _result(run).assert_outcomes(passed=1)


@pytest.mark.parametrize("scope", ["function", "session"])
def test_the_clock_ends_with_its_test(run: pytest.Pytester, scope: str) -> None:
    """The next test of the same loop waits for real, and the loop's time has not gone back."""
    _configure(run, "strict")
    run.makepyfile(
        _TEST
        + f"""
import asyncio, time
pytestmark = pytest.mark.asyncio(loop_scope={scope!r})
before = 0.0

async def test_one(ppapi_clock):
    global before
    loop, real = asyncio.get_running_loop(), time.monotonic()
    timer = loop.call_later(50_000, print)
    await ppapi_clock.advance(86_400)
    await loop.run_in_executor(None, time.sleep, 0.01)
    assert abs(ppapi_clock.time() - time.time() - 86_400) < 60
    before = loop.time() if {scope == "session"} else 0.0

async def test_two(ppapi_account):
    began = time.monotonic()
    await asyncio.sleep(0.02)
    assert time.monotonic() - began >= 0.015
    assert asyncio.get_running_loop().time() >= before
    async with Session(ppapi_account, timeout=5) as session:
        await session.get_info()
"""
    )
    _result(run, "-p", "no:randomly").assert_outcomes(passed=2)


def test_who_waits_for_ever_is_told_so(run: pytest.Pytester) -> None:
    """A test that waits for what does not come fails; what it had open is closed all the same."""
    _configure(run, "auto")
    run.makepyfile(
        _TEST
        + """
async def test_never(ppapi_clock, ppapi_account):
    async with Session(ppapi_account, hooks=ppapi_clock.hooks) as session:
        async for change in session.watch_exchanges(interval=345_600):
            pass

async def test_far(ppapi_clock):
    await ppapi_clock.advance(86_400 * 100)
    await ppapi_clock.advance(86_400 * 30)
"""
    )
    result = _result(run)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*the test waits for something that does not happen*"])


def test_what_a_clock_cannot_be_is_refused(run: pytest.Pytester) -> None:
    """Not a naive moment, no moment at all, not in uvloop; and no time goes backwards."""
    _configure(run, "auto")
    run.makepyfile(
        _TEST
        + """
import asyncio
from datetime import datetime
from ppapi_async.testing.clock import run_clock

@pytest.mark.ppapi_clock(datetime(2026, 1, 1))
async def test_naive(ppapi_clock): pass

@pytest.mark.ppapi_clock()
async def test_none(ppapi_clock): pass

async def test_back(ppapi_clock):
    with pytest.raises(ValueError, match="duration: pass more than 0 seconds"):
        await ppapi_clock.advance(-1)

def test_other_loop():
    uvloop = pytest.importorskip("uvloop")
    async def main():
        with run_clock(None): pass
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        with pytest.raises(TypeError, match="a selector only, not in uvloop"):
            runner.run(main())
"""
    )
    result = _result(run)
    result.assert_outcomes(passed=2, errors=2)
    result.stdout.fnmatch_lines(["*ppapi_clock: is a naive datetime*"])
    result.stdout.fnmatch_lines(["*ppapi_clock: pass the moment, as in *"])


@_BOTH_MODES
def test_faults_by_name(run: pytest.Pytester, mode: str) -> None:
    """In the order in which they are written, the module's first; parameters bring theirs."""
    _configure(run, mode)
    run.makepyfile(
        _TEST
        + """
from ppapi_async import BlockedError, Retry, ServerError
pytestmark = [pytest.mark.asyncio, pytest.mark.ppapi_fault("SLOW", seconds=0)]

def faults(site):
    return [call.fault for call in site.requests]

@pytest.mark.ppapi_fault("html-502", method="get_exchanges", times=2)
@pytest.mark.ppapi_fault("challenge-403", times=1)
async def test_two(ppapi_sandbox, ppapi_account, ppapi_clock):
    async with Session(ppapi_account, hooks=ppapi_clock.hooks) as session:
        await session.get_info()
        with pytest.raises(BlockedError):
            await session.get_info()
        assert len(await session.get_exchanges()) == 100
    assert faults(ppapi_sandbox)[:2] == ["slow", "challenge-403"]
    assert faults(ppapi_sandbox)[2:4] == ["html-502"] * 2

@pytest.mark.parametrize("error", [
    pytest.param(ServerError, marks=pytest.mark.ppapi_fault("html-500", times=None)),
    pytest.param(BlockedError, marks=pytest.mark.ppapi_fault("geo-200", times=None)),
])
async def test_parameter(ppapi_sandbox, ppapi_account, error):
    async with Session(ppapi_account, retry=Retry(attempts=1)) as session:
        await session.get_info()
        with pytest.raises(error):
            await session.get_info()
"""
    )
    _result(run, "-p", "no:randomly").assert_outcomes(passed=3)


@_BOTH_MODES
def test_a_fault_for_one_of_several_sites(run: pytest.Pytester, mode: str) -> None:
    """By its number or its dialect; the others are well, and one without a site is for all."""
    _configure(run, mode)
    run.makepyfile(
        _TEST
        + """
pytestmark = pytest.mark.asyncio

@pytest.mark.ppapi_fault("empty")
@pytest.mark.ppapi_fault("html-500", site=2)
@pytest.mark.ppapi_fault("reset", site="delegating")
async def test_sites(ppapi_sandboxes, ppapi_sandbox):
    sites = await ppapi_sandboxes("classic", "delegating")
    sites += await ppapi_sandboxes("clone")
    planned = [[site.faults.take("get_info", None) for _ in range(2)] for site in sites]
    assert [[one and one.name for one in two] for two in planned] == [
        ["empty", None], ["empty", "reset"], ["empty", "html-500"]
    ]
    assert len(ppapi_sandbox.faults) == 1
"""
    )
    _result(run).assert_outcomes(passed=1)


def test_a_fault_that_would_never_strike_is_refused(run: pytest.Pytester) -> None:
    """An unknown name, an unknown argument, a site that there is not: each says what is wrong."""
    _configure(run, "auto")
    run.makepyfile(
        _TEST
        + """
@pytest.mark.ppapi_fault("html-502x")
async def test_name(ppapi_sandbox): pass

@pytest.mark.ppapi_fault("html-502", time=2)
async def test_argument(ppapi_sandbox): pass

@pytest.mark.ppapi_fault("html-502", site=1)
async def test_single(ppapi_sandbox): pass

@pytest.mark.ppapi_fault("html-502", site="clone")
async def test_site(ppapi_sandboxes):
    await ppapi_sandboxes("classic")
"""
    )
    result = _result(run, "-p", "no:randomly")
    result.assert_outcomes(passed=1, errors=4)
    result.stdout.fnmatch_lines(["*ppapi_fault: there is no 'html-502x', only closed, *"])
    result.stdout.fnmatch_lines(["*ppapi_fault:*unexpected keyword argument 'time'*"])
    result.stdout.fnmatch_lines(["*ppapi_fault: no site 1 was started*"])
    result.stdout.fnmatch_lines(["*ppapi_fault: no site 'clone' was started*"])


def test_the_clock_has_its_class() -> None:
    """For annotations; nothing else hides in the module."""
    assert testing.FakeClock.__name__ == "FakeClock"
    with pytest.raises(AttributeError, match="has no attribute 'RealClock'"):
        testing.RealClock  # noqa: B018


def test_positional_arguments_of_the_marker_are_refused(run: pytest.Pytester) -> None:
    """They would be ignored silently otherwise."""
    _configure(run, "auto")
    run.makepyfile(
        _TEST
        + """
@pytest.mark.ppapi_sandbox("clone")
async def test_it(ppapi_account):
    pass
"""
    )
    result = _result(run)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*ppapi_sandbox: pass keyword arguments, such as dialect=*"])


def test_without_pytest_asyncio_it_says_what_to_install(run: pytest.Pytester) -> None:
    """The plugin forces nothing on others: only who asks for a fixture hears of pytest-asyncio."""
    run.makeini("[pytest]\nfilterwarnings = error")
    run.makepyfile(
        """
def test_others():
    pass

def test_it(ppapi_account):
    pass
"""
    )
    result = _result(run)
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*pip install 'ppapi-async?testing?'*"])


def test_fixtures_and_marker_are_listed(run: pytest.Pytester) -> None:
    """`pytest --fixtures` and `--markers` show what there is, without the inner workings."""
    _configure(run, "auto")
    fixtures = _result(run, "--fixtures")
    fixtures.stdout.fnmatch_lines(
        ["ppapi_sandbox*", "ppapi_account*", "ppapi_sandboxes*", "ppapi_clock*"]
    )
    fixtures.stdout.no_fnmatch_line("*_loop --*")
    markers = _result(run, "--markers").stdout
    for name in ("sandbox", "fault", "clock"):
        markers.fnmatch_lines([f"@pytest.mark.ppapi_{name}(*"])


def test_the_module_itself_imports_only_pytest() -> None:
    """It is loaded in every pytest run of everyone who has the library: no sandbox, no aiohttp."""
    program = """
import sys, types
package = sys.modules["ppapi_async"] = types.ModuleType("ppapi_async")
package.__path__ = [sys.argv[1]]  # in place of the package, which imports the whole client
import ppapi_async.testing
assert not {"aiohttp", "attrs", "asyncio", "pytest_asyncio"} & set(sys.modules)
own = {name for name in sys.modules if name.startswith("ppapi_async")}
assert own == {"ppapi_async", "ppapi_async.testing"}, own
"""
    folder = str(Path(testing.__file__).parents[1])
    ran = subprocess.run(
        [sys.executable, "-c", program, folder], capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")

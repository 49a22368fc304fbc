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
    fixtures.stdout.fnmatch_lines(["ppapi_sandbox*", "ppapi_account*", "ppapi_sandboxes*"])
    fixtures.stdout.no_fnmatch_line("*_loop --*")
    _result(run, "--markers").stdout.fnmatch_lines(["@pytest.mark.ppapi_sandbox(*"])


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
    folder = str(Path(testing.__file__).parent)
    ran = subprocess.run(
        [sys.executable, "-c", program, folder], capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")

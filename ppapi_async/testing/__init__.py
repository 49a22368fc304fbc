"""Fixtures for the tests of programs that use this library: a pytest plugin.

    pip install "ppapi-async[testing]"

and in `conftest.py`

    pytest_plugins = ["ppapi_async.testing"]

It has to be asked for, so that the tests of all your other projects in the same environment start
as fast as before. `ppapi_sandbox` is a running `ppapi_async.sandbox.Sandbox`, fresh
for each test; `ppapi_account` is an `Account` on it:

    from ppapi_async import Session
    from ppapi_async.sandbox import Fault

    async def test_all_orders_are_booked(ppapi_sandbox, ppapi_account):
        ppapi_sandbox.faults.add(Fault.HTML_502)
        async with Session(ppapi_account) as session:
            orders = await session.get_exchanges()
        assert len(orders) == len(ppapi_sandbox.books.orders)

The marker `ppapi_sandbox` takes the arguments of `Sandbox`, on a test, a class or a module (as
`pytestmark`); the nearest has the last word for each argument. Unless told otherwise the site is a
classic one with 100 exchanges. The account knows the site's `timezone`.

    @pytest.mark.ppapi_sandbox(dialect="delegating", rows=2000, timezone="Europe/Moscow")
    async def test_pages(ppapi_sandbox, ppapi_account): ...

    @pytest.mark.parametrize("page", [
        pytest.param("new", marks=pytest.mark.ppapi_sandbox(dialect="clone")),
        pytest.param("old", marks=pytest.mark.ppapi_sandbox(dialect="classic")),
    ])
    async def test_both(ppapi_account, page): ...

`ppapi_sandboxes` starts several, one for each dialect that is named, with the marker's arguments
and those of the call:

    async def test_a_fleet(ppapi_sandboxes):
        sites = await ppapi_sandboxes("classic", "delegating", "clone", rows=20)
        async with Fleet([site.account() for site in sites]) as fleet: ...

Each of them is another site's, with other rows and another key.

The marker `ppapi_fault` plans a fault, by the name that `ppapi_async.sandbox.Fault` has for it and
with the arguments of `FaultQueue.add`. Several strike in the order in which they are written.
`site=` is the one of several that it is meant for: its number from 0 on, or its dialect.

    @pytest.mark.ppapi_fault("html-502", method="get_exchanges", times=2)
    async def test_a_site_that_is_down_twice(ppapi_account): ...

`ppapi_clock` is a `FakeClock`. While there is something to do, it stands still; where everyone
waits, it is at once the moment of the first. Sandboxes of the test go by it by themselves, clients
by `hooks=`:

    async def test_an_order_of_the_next_hour(ppapi_clock, ppapi_sandbox, ppapi_account):
        async with Session(ppapi_account, hooks=ppapi_clock.hooks) as session:
            ...
            await ppapi_clock.advance(3600)  # no time at all

Its marker says when it begins: `@pytest.mark.ppapi_clock(datetime(2026, 3, 29, tzinfo=UTC))`, else
it begins with the present. All waiting of the test's loop flies, also that of `asyncio.sleep` and
`asyncio.timeout`. It stands still while `SQLiteState` or an executor of the loop works in a thread.
It cannot see what other processes and other threads do, such as PostgreSQL and a `Mirror`'s
database: a wait that is meant for these ends too early.

Both modes of pytest-asyncio will do; in the strict one mark the tests `@pytest.mark.asyncio` as
usual. Sandboxes run in the very loop of their test, whatever `loop_scope` that has, so the
test has to be async.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import pytest

if TYPE_CHECKING:
    from ppapi_async.account import Account
    from ppapi_async.sandbox import Fault, Sandbox

    from .clock import FakeClock

__all__ = ["FakeClock", "ppapi_account", "ppapi_clock", "ppapi_sandbox", "ppapi_sandboxes"]

# Imports stand inside functions here: a test run that asks for no sandbox does not load one.

_ROWS = 100
_RUNNERS = "ppapi_async.testing.runners"
_LoopScope: TypeAlias = Literal["function", "class", "module", "package", "session"]
_LOOP_SCOPES: tuple[_LoopScope, ...] = get_args(_LoopScope)
_PYTEST_ASYNCIO = ("asyncio", "pytest_asyncio.plugin")  # by entry point, or by -p


def __getattr__(name: str) -> object:
    if name == "FakeClock":
        from .clock import FakeClock  # noqa: PLC0415

        return FakeClock
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers, and what runs the sandbox where there is pytest-asyncio."""
    config.addinivalue_line(
        "markers",
        "ppapi_sandbox(**options): arguments of ppapi_async.sandbox.Sandbox for the fixtures"
        " ppapi_sandbox and ppapi_account, such as dialect, rows, timezone.",
    )
    config.addinivalue_line(
        "markers",
        "ppapi_fault(name, *, site=None, **options): a fault that strikes the sandbox, by its name"
        ' in ppapi_async.sandbox.Fault, such as "html-502", with the arguments of FaultQueue.add.',
    )
    config.addinivalue_line(
        "markers",
        "ppapi_clock(start): the moment at which the fixture ppapi_clock begins.",
    )
    if _has_pytest_asyncio(config):
        config.pluginmanager.register(_make_runners(), _RUNNERS)


def _has_pytest_asyncio(config: pytest.Config) -> bool:
    return any(config.pluginmanager.hasplugin(name) for name in _PYTEST_ASYNCIO)


@pytest.fixture
def ppapi_sandbox(request: pytest.FixtureRequest) -> Sandbox:
    """Return a running sandbox, as the marker `ppapi_sandbox` wants it."""
    sandbox: Sandbox = _run(request, "sandbox")
    return sandbox


@pytest.fixture
def ppapi_account(ppapi_sandbox: Sandbox) -> Account:
    """Return an account on the sandbox; its dialect is left to be recognised."""
    return ppapi_sandbox.account()


@pytest.fixture
def ppapi_sandboxes(request: pytest.FixtureRequest) -> Callable[..., Awaitable[list[Sandbox]]]:
    """Return what starts a sandbox for each dialect, as in `await start("classic", "clone")`.

    Keyword arguments are those of `Sandbox`, for all of them; each makes up books of its own.
    """
    start: Callable[..., Awaitable[list[Sandbox]]] = _run(request, "sandboxes")
    return start


@pytest.fixture
def ppapi_clock(request: pytest.FixtureRequest) -> FakeClock:
    """Return a clock whose time flies while the test waits; `hooks` make a client go by it."""
    clock: FakeClock = _run(request, "clock")
    return clock


def _run(request: pytest.FixtureRequest, what: str) -> Any:
    """Return what runs in the loop of the test."""
    if not _has_pytest_asyncio(request.config):
        pytest.fail(
            f"ppapi_{what} needs pytest-asyncio: pip install 'ppapi-async[testing]'", pytrace=False
        )
    if what != "clock" and "ppapi_clock" in request.fixturenames:
        request.getfixturevalue("ppapi_clock")  # a runner, once in the loop, cannot start another
    return request.getfixturevalue(_runner_of(what, _loop_scope(request)))


def _options(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return what the markers say, those of the test over those of its class and module."""
    options: dict[str, Any] = {"dialect": "classic", "rows": _ROWS}
    for marker in reversed(list(request.node.iter_markers("ppapi_sandbox"))):
        if marker.args:
            pytest.fail(
                'ppapi_sandbox: pass keyword arguments, such as dialect="clone"', pytrace=False
            )
        options |= marker.kwargs
    if "ppapi_clock" in request.fixturenames:
        options.setdefault("clock", request.getfixturevalue("ppapi_clock").time)
    return options


def _plan_faults(
    request: pytest.FixtureRequest, sandbox: Sandbox, number: int | None = None
) -> None:
    """Plan the faults that the markers name for a site, those of the module first."""
    for marker in reversed(list(request.node.iter_markers("ppapi_fault"))):
        options = dict(marker.kwargs)
        site = options.pop("site", None)
        if site is not None and site not in (number, sandbox.dialect):
            continue
        try:
            sandbox.faults.add(_fault(*marker.args), **options)
        except (TypeError, ValueError) as error:
            pytest.fail(f"ppapi_fault: {error}", pytrace=False)


def _fault(name: str) -> Fault:
    """Return the fault of a name, in either spelling."""
    from ppapi_async.sandbox import Fault  # noqa: PLC0415

    try:
        return Fault(name.lower().replace("_", "-"))
    except ValueError:
        raise ValueError(f"there is no {name!r}, only {', '.join(Fault)}") from None


def _check_sites(request: pytest.FixtureRequest, sites: list[Sandbox]) -> None:
    """Fail where a fault was meant for a site that was not started: it would pass for harmless."""
    known = {site.dialect.value for site in sites} | set(range(len(sites)))
    for marker in request.node.iter_markers("ppapi_fault"):
        site = marker.kwargs.get("site")
        if site is not None and site not in known:
            pytest.fail(f"ppapi_fault: no site {site!r} was started", pytrace=False)


def _loop_scope(request: pytest.FixtureRequest) -> str:
    """Return the scope of the loop in which pytest-asyncio will run the test."""
    marker = request.node.get_closest_marker("asyncio")
    asked = {} if marker is None else marker.kwargs
    default = request.config.getini("asyncio_default_test_loop_scope")
    return str(asked.get("loop_scope") or asked.get("scope") or default)


def _runner_of(what: str, scope: str) -> str:
    return f"_ppapi_{what}_in_{scope}_loop"


def _make_runners() -> ModuleType:
    """Return a plugin with fixtures for each loop that a test may run in.

    A module, since pytest looks for the fixtures of other objects in their class.
    """
    runners = ModuleType(_RUNNERS)
    for scope in _LOOP_SCOPES:
        setattr(runners, _runner_of("sandbox", scope), _make_runner(scope))
        setattr(runners, _runner_of("sandboxes", scope), _make_starter(scope))
        setattr(runners, _runner_of("clock", scope), _make_clock(scope))
    return runners


def _make_runner(scope: _LoopScope) -> object:
    import pytest_asyncio  # noqa: PLC0415

    @pytest_asyncio.fixture(loop_scope=scope, name=_runner_of("sandbox", scope))
    async def run_sandbox(request: pytest.FixtureRequest) -> AsyncIterator[Sandbox]:
        async with _sandbox(_options(request)) as sandbox:
            _plan_faults(request, sandbox)
            if "ppapi_sandboxes" not in request.fixturenames:
                _check_sites(request, [])
            yield sandbox

    return run_sandbox


def _make_starter(scope: _LoopScope) -> object:
    import pytest_asyncio  # noqa: PLC0415

    @pytest_asyncio.fixture(loop_scope=scope, name=_runner_of("sandboxes", scope))
    async def start_sandboxes(
        request: pytest.FixtureRequest,
    ) -> AsyncIterator[Callable[..., Awaitable[list[Sandbox]]]]:
        marked = _options(request)
        started: list[Sandbox] = []
        async with contextlib.AsyncExitStack() as stack:

            async def start(*dialects: str, **options: Any) -> list[Sandbox]:
                seed = int(options.get("seed", marked.get("seed", 1)))
                before = len(started)
                for number, dialect in enumerate(dialects):
                    own = {"dialect": dialect, "seed": seed + number}
                    site = await stack.enter_async_context(_sandbox(marked | options | own))
                    _plan_faults(request, site, len(started))
                    started.append(site)
                return started[before:]

            yield start
        _check_sites(request, started)

    return start_sandboxes


def _make_clock(scope: _LoopScope) -> object:
    import pytest_asyncio  # noqa: PLC0415

    @pytest_asyncio.fixture(loop_scope=scope, name=_runner_of("clock", scope))
    async def run_clock(request: pytest.FixtureRequest) -> AsyncIterator[FakeClock]:
        from . import clock  # noqa: PLC0415

        with clock.run_clock(_start(request)) as running:
            yield running

    return run_clock


def _start(request: pytest.FixtureRequest) -> datetime | int | None:
    """Return the moment that the nearest marker `ppapi_clock` has, if there is one."""
    marker = request.node.get_closest_marker("ppapi_clock")
    if marker is None:
        return None
    if marker.kwargs or len(marker.args) != 1:
        pytest.fail(
            "ppapi_clock: pass the moment, as in ppapi_clock(datetime(2026, 3, 29, tzinfo=UTC))",
            pytrace=False,
        )
    start: datetime | int = marker.args[0]
    return start


def _sandbox(options: dict[str, Any]) -> Sandbox:
    from ppapi_async.account import Dialect  # noqa: PLC0415
    from ppapi_async.sandbox import Sandbox  # noqa: PLC0415

    return Sandbox(
        Dialect(options["dialect"]), **{k: options[k] for k in options if k != "dialect"}
    )

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

Both modes of pytest-asyncio will do; in the strict one mark the tests `@pytest.mark.asyncio` as
usual. Sandboxes run in the very loop of their test, whatever `loop_scope` that has, so the
test has to be async.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import pytest

if TYPE_CHECKING:
    from ppapi_async.account import Account
    from ppapi_async.sandbox import Sandbox

__all__ = ["ppapi_account", "ppapi_sandbox", "ppapi_sandboxes"]

# Imports stand inside functions here: a test run that asks for no sandbox does not load one.

_ROWS = 100
_RUNNERS = "ppapi_async.testing.runners"
_LoopScope: TypeAlias = Literal["function", "class", "module", "package", "session"]
_LOOP_SCOPES: tuple[_LoopScope, ...] = get_args(_LoopScope)
_PYTEST_ASYNCIO = ("asyncio", "pytest_asyncio.plugin")  # by entry point, or by -p


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, and what runs the sandbox where there is pytest-asyncio."""
    config.addinivalue_line(
        "markers",
        "ppapi_sandbox(**options): arguments of ppapi_async.sandbox.Sandbox for the fixtures"
        " ppapi_sandbox and ppapi_account, such as dialect, rows, timezone.",
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


def _run(request: pytest.FixtureRequest, what: str) -> Any:
    """Return what runs in the loop of the test."""
    if not _has_pytest_asyncio(request.config):
        pytest.fail(
            f"ppapi_{what} needs pytest-asyncio: pip install 'ppapi-async[testing]'", pytrace=False
        )
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
    return options


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
    return runners


def _make_runner(scope: _LoopScope) -> object:
    import pytest_asyncio  # noqa: PLC0415

    @pytest_asyncio.fixture(loop_scope=scope, name=_runner_of("sandbox", scope))
    async def run_sandbox(request: pytest.FixtureRequest) -> AsyncIterator[Sandbox]:
        async with _sandbox(_options(request)) as sandbox:
            yield sandbox

    return run_sandbox


def _make_starter(scope: _LoopScope) -> object:
    import pytest_asyncio  # noqa: PLC0415

    @pytest_asyncio.fixture(loop_scope=scope, name=_runner_of("sandboxes", scope))
    async def start_sandboxes(
        request: pytest.FixtureRequest,
    ) -> AsyncIterator[Callable[..., Awaitable[list[Sandbox]]]]:
        marked = _options(request)
        async with contextlib.AsyncExitStack() as stack:

            async def start(*dialects: str, **options: Any) -> list[Sandbox]:
                seed = int(options.get("seed", marked.get("seed", 1)))
                return [
                    await stack.enter_async_context(
                        _sandbox(marked | options | {"dialect": dialect, "seed": seed + number})
                    )
                    for number, dialect in enumerate(dialects)
                ]

            yield start

    return start_sandboxes


def _sandbox(options: dict[str, Any]) -> Sandbox:
    from ppapi_async.account import Dialect  # noqa: PLC0415
    from ppapi_async.sandbox import Sandbox  # noqa: PLC0415

    return Sandbox(
        Dialect(options["dialect"]), **{k: options[k] for k in options if k != "dialect"}
    )

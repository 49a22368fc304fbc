"""Profiles of hypothesis, and what most tests share."""

from __future__ import annotations

import compileall
import contextlib
import gc
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Hashable, Sequence
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, settings

import ppapi_async
from ppapi_async.payouts import UNSETTLED
from tests.postgres import (
    breakable_postgres,
    database_url,
    mirror_url,
    own_postgres,
    postgres_mirror,
    postgres_server,
    postgres_url,
    sqlite_mirror,
)
from tests.sampling import left_out
from tests.tracing import Tracing, import_everything, untraced

__all__ = [
    "COLLECTED", "DEPTH", "IS_THOROUGH",
    "breakable_postgres", "database_url", "dealt", "mirror_url", "own_postgres",
    "postgres_mirror", "postgres_server", "postgres_url", "sqlite_mirror",
]  # fmt: skip

T = TypeVar("T", bound=Hashable)

settings.register_profile("fast", max_examples=30, deadline=None)
settings.register_profile(
    "thorough",
    max_examples=50_000,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
_PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "fast")
settings.load_profile(_PROFILE)
IS_THOROUGH = _PROFILE == "thorough"
DEPTH = 10 if IS_THOROUGH else 1
"""How much larger than in CI the things are that strategies make."""
COLLECTED = pytest.StashKey[list[str]]()
"""The ids of the tests in the order in which this process found them."""
_FIRST_CASES = pytest.StashKey[frozenset[str]]()
_TRACING = pytest.StashKey[Tracing]()
_RUN = pytest.StashKey[int]()
"""How many tests this process has run."""
_OFTEN = 100
"""After so many tests what is in memory is let be."""
_REPEATING = (
    *("examples", "fleet", "house", "mirror", "pipelines", "properties"),
    *("sandbox", "security", "storage", "watching"),
)
"""Folders whose tests go through the same code in each of their cases: databases, dialects, faults.
Of each test there the first case is traced, which is near to half of what tracing costs."""
_UNTRACED = ("docs", "laboratory", "standin")
"""Folders whose tests look at pages or are long: others go through all lines, too."""


def pytest_configure(config: pytest.Config) -> None:
    """Keep bytecode, whatever the environment says, and let Ctrl-C be heard.

    Many tests start programs, each of which would compile anew what it imports.

    A shell that starts the tests in the background has Ctrl-C ignored: then programs under test,
    and what they start, would never end where they are to be interrupted.
    """
    sys.dont_write_bytecode = False
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    if not hasattr(config, "workerinput"):
        compileall.compile_dir(Path(ppapi_async.__file__).parent, quiet=1)
        if config.getoption("numprocesses", None):
            Tracing().__enter__()  # this process hands tests out and runs none
            _compile_tests()
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _compile_tests() -> None:
    """Find the tests once, if they have never been found here, for all workers.

    Each of them would rewrite the assertions of all tests, and compile all the libraries that they
    import: four processes at once, for what takes one some twenty seconds.
    """
    here = Path(__file__).parent
    tag = f"{sys.implementation.cache_tag}-pytest-{pytest.__version__}"
    if not any(here.rglob(f"__pycache__/test_*.{tag}.pyc")):
        command = [sys.executable, "-m", "pytest", "--collect-only", "-qq", str(here)]
        # What is wrong with them, workers tell.
        subprocess.run(command, stdout=subprocess.DEVNULL, check=False)


def pytest_xdist_auto_num_workers() -> int:
    """Have one worker more than there are processors: many tests wait for the network to settle."""
    return len(os.sched_getaffinity(0)) + 1 if hasattr(os, "sched_getaffinity") else 3


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> Generator[None]:
    """Keep what was collected, before others choose from it and shuffle it.

    With the whole suite not every combination of parameters is run: see `tests/sampling.py`.
    Then what is long comes first, in whatever order: at the end a worker would wait for it alone.
    """
    found = [item.nodeid for item in items]
    yield
    is_whole = [Path(one).name for one in config.args] == ["tests"]
    others = [] if IS_THOROUGH or not is_whole else left_out(items)
    if others:
        config.hook.pytest_deselected(items=others)
        gone = {item.nodeid for item in others}
        items[:] = [item for item in items if item.nodeid not in gone]
        found = [name for name in found if name not in gone]
    config.stash[COLLECTED] = found
    chosen = {item.nodeid for item in items}
    firsts = {name.partition("[")[0]: name for name in reversed(found) if name in chosen}
    config.stash[_FIRST_CASES] = frozenset(firsts.values())
    if not config.option.collectonly:
        items.sort(key=lambda item: item.get_closest_marker("untraced") is None)
        workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
        items[:] = dealt(items, workers, _is_for_one_worker)


def _is_for_one_worker(item: pytest.Item) -> bool:
    """Tell whether a test needs what takes seconds to make, once in each worker that needs it.

    That is aiogram, which takes five to import; a server of PostgreSQL to stop; programs that are
    run for several tests.
    """
    fixtures = item.fixturenames if isinstance(item, pytest.Function) else ()
    is_marked = item.get_closest_marker("one_worker") is not None
    wants = "_aiogram" in fixtures or "own_postgres" in fixtures
    return is_marked or wants or "[docs/guides/bot.md]" in item.nodeid


def dealt(
    items: Sequence[T], workers: int, is_together: Callable[[T], bool] = lambda item: False
) -> list[T]:
    """Return the items in an order in which the first ones are the first of each worker.

    xdist cuts the list into a piece for each worker, shorter ones first: all that is long would be
    in one piece, and the last of it would be waited for. Those that are to be together begin the
    first piece.
    """
    sizes = sorted(len(items[first::workers]) for first in range(workers))
    pieces: list[list[T]] = [[item for item in items if is_together(item)][: sizes[0]]]
    pieces += [[] for _ in sizes[1:]]
    together, begin = len(pieces[0]), set(pieces[0])
    rest = iter(item for item in items if item not in begin)
    for length in range(max(sizes)):
        for piece, size in zip(pieces, sizes, strict=True):
            if length < (size - together if piece is pieces[0] else size):
                piece.append(next(rest))
    return [item for piece in pieces for item in piece]


@pytest.fixture(autouse=True)
def _nothing_unsettled() -> None:
    """Begin without payouts of earlier tests: the ports of their sites come again."""
    UNSETTLED.clear()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Do not trace how tests are found; one process measures the first lines of modules."""
    tracing = session.config.stash[_TRACING] = Tracing.now()
    if tracing.is_on and os.environ.get("PYTEST_XDIST_WORKER", "gw0") == "gw0":
        import_everything()
    with untraced():
        return (yield)


def pytest_collection_finish() -> None:
    """Let what there is for good be: a look for garbage would go through all of it each time.

    Of nine thousand tests and their modules that is a third of a second, and many tests look.
    """
    _freeze()


def _freeze() -> None:
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Do not trace pytest; now and then let be what tests have loaded and cached since."""
    item.config.stash[_RUN] = number = item.config.stash.get(_RUN, 0) + 1
    if number % _OFTEN == 0:
        _freeze()
    with untraced():
        return (yield)


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Trace a test unless it is marked `untraced`, or draws what it tries: that covers by luck.

    Nor one that goes through the same code again: traced it takes twice the time.
    """
    with _tracing(item):
        return (yield)


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_fixture_setup(request: pytest.FixtureRequest) -> Generator[None, object, object]:
    """Trace what a test that is traced needs, if it is for that test alone."""
    with _tracing(request.node) if request.scope == "function" else contextlib.nullcontext():
        return (yield)


def _tracing(item: pytest.Item) -> Tracing:
    is_first = item.nodeid in item.config.stash[_FIRST_CASES]
    folder = item.nodeid.split("/")[1]
    repeats = folder in _REPEATING or item.get_closest_marker("every_case")
    is_marked = any(map(item.get_closest_marker, ("untraced", "hypothesis")))
    if (repeats and not is_first) or folder in _UNTRACED or is_marked:
        return Tracing()
    return item.config.stash[_TRACING]

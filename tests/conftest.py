"""Profiles of hypothesis, and what most tests share."""

from __future__ import annotations

import compileall
import contextlib
import os
import signal
import sys
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, settings

import ppapi_async
from ppapi_async.payouts import UNSETTLED
from tests.postgres import (
    breakable_postgres,
    database_url,
    own_postgres,
    postgres_server,
    postgres_url,
)

__all__ = [
    "COLLECTED", "DEPTH", "IS_THOROUGH",
    "breakable_postgres", "database_url", "dealt", "own_postgres", "postgres_server",
    "postgres_url", "untraced",
]  # fmt: skip

T = TypeVar("T")

settings.register_profile("fast", max_examples=60, deadline=None)
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
_REPEATING = ("fleet", "laboratory", "mirror", "security", "standin")
"""Folders whose tests go through the same code in each of their cases: databases, dialects, faults.
Of each test there the first case is traced, which is near to half of what tracing costs."""


def pytest_configure(config: pytest.Config) -> None:
    """Keep bytecode, whatever the environment says, and let Ctrl-C be heard.

    Many tests start programs, each of which would compile the package anew.

    A shell that starts the tests in the background has Ctrl-C ignored: then programs under test,
    and what they start, would never end where they are to be interrupted.
    """
    sys.dont_write_bytecode = False
    if not hasattr(config, "workerinput"):
        compileall.compile_dir(Path(ppapi_async.__file__).parent, quiet=1)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_xdist_auto_num_workers() -> int:
    """Have one worker more than there are processors: many tests wait for the network to settle."""
    return len(os.sched_getaffinity(0)) + 1 if hasattr(os, "sched_getaffinity") else 3


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> Generator[None]:
    """Keep what was collected, before others choose from it and shuffle it.

    Then what is long comes first, in whatever order: at the end a worker would wait for it alone.
    """
    collected = [item.nodeid for item in items]
    config.stash[COLLECTED] = collected
    firsts = {nodeid.partition("[")[0]: nodeid for nodeid in reversed(collected)}
    config.stash[_FIRST_CASES] = frozenset(firsts.values())
    yield
    if not config.option.collectonly:
        items.sort(key=lambda item: item.get_closest_marker("no_cover") is None)
        items[:] = dealt(items, int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))


def dealt(items: Sequence[T], workers: int) -> list[T]:
    """Return the items in an order in which the first ones are the first of each worker.

    xdist cuts the list into a piece for each worker, shorter ones first: all that is long would be
    in one piece, and the last of it would be waited for.
    """
    pieces = sorted((items[first::workers] for first in range(workers)), key=len)
    return [item for piece in pieces for item in piece]


@pytest.fixture(autouse=True)
def _nothing_unsettled() -> None:
    """Begin without payouts of earlier tests: the ports of their sites come again."""
    UNSETTLED.clear()


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Do not trace what is marked `no_cover`, nor what draws what it tries: that covers by luck.

    Nor what goes through the same code again. It takes half the time then. pytest-cov 7 means to
    see to it, but in the workers of xdist a second tracer of its own remains.
    """
    is_again = (
        item.nodeid.split("/")[1] in _REPEATING
        and item.nodeid not in item.config.stash[_FIRST_CASES]
    )
    is_traced = not is_again and not any(map(item.get_closest_marker, ("no_cover", "hypothesis")))
    with contextlib.nullcontext() if is_traced else untraced():
        return (yield)


@contextlib.contextmanager
def untraced() -> Generator[None]:
    """Stop the tracer of coverage for a while, if there is one."""
    trace = sys.gettrace()
    if trace is None:
        yield
        return
    sys.settrace(None)
    try:
        yield
    finally:
        sys.settrace(trace)

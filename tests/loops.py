"""Real event loops of each kind, and a look at what a test has left in them."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from ppapi_async import Exchange

__all__ = [
    "LOOPS", "cancel_often", "living_rows", "run", "sockets", "tasks_of_ours", "threads_down_to",
]  # fmt: skip

T = TypeVar("T")
_DEADLINE = 30.0
"""Real seconds after which a test is taken to hang."""
LOOPS = ("asyncio", *(() if sys.platform == "win32" else ("uvloop",)))
if sys.version_info >= (3, 12):
    LOOPS += ("eager",)


def _factory(kind: str) -> Callable[[], asyncio.AbstractEventLoop]:
    if kind == "uvloop":
        import uvloop

        return uvloop.new_event_loop
    return asyncio.new_event_loop


def run(kind: str, main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine in a loop of this kind, and fail where it hangs."""

    async def whole() -> T:
        if kind == "eager":
            factory: Any = vars(asyncio)["eager_task_factory"]
            asyncio.get_running_loop().set_task_factory(factory)
        async with asyncio.timeout(_DEADLINE):
            return await main()

    with asyncio.Runner(loop_factory=_factory(kind)) as runner:
        return runner.run(whole())


async def cancel_often(task: asyncio.Task[Any], times: int) -> None:
    """Cancel a task, in every turn of the loop so many times, and wait for its end."""
    for _ in range(times):
        task.cancel()
        await asyncio.sleep(0)
    await asyncio.wait([task])


def tasks_of_ours() -> set[str]:
    """Return the tasks but the running one and those of the servers."""
    running = asyncio.current_task()
    tasks = {repr(task) for task in asyncio.all_tasks() if task is not running}
    return {task for task in tasks if "RequestHandler" not in task and "Sandbox" not in task}


async def threads_down_to(most: int) -> int:
    """Wait some seconds until no more threads run than so many; return how many do.

    One that says that its connection is closed has still a step to go.
    """
    until = time.monotonic() + _DEADLINE / 10
    # No event tells of the end of a thread.
    while threading.active_count() > most and time.monotonic() < until:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    return threading.active_count()


def sockets() -> int:
    """Return how many sockets this process has open."""
    gc.collect()
    return sum(_is_socket(Path("/proc/self/fd", name)) for name in os.listdir("/proc/self/fd"))  # noqa: PTH208


def _is_socket(path: Path) -> bool:
    try:
        return str(path.readlink()).startswith("socket:")
    except OSError:  # the descriptor that the list itself was read by
        return False


def living_rows(*, collect: bool = True) -> int:
    """Count the exchanges that are in memory, after garbage is gone if asked to."""
    if collect:
        gc.collect()
    return sum(type(one) is Exchange for one in gc.get_objects())

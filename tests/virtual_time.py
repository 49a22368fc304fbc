"""An event loop whose time flies: when nothing is left to do, it is at once the next moment.

Sockets are real. While an answer is under way between two ends in this loop, one of them has
something to do (the kernel delivers on loopback before `send` returns), so time stands still; it
also stands still while a thread works for the loop.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import TypeVar, TypeVarTuple, Unpack
from unittest import mock

from ppapi_async import Hooks

__all__ = ["BEGINNING", "VirtualLoop", "hooks", "now", "run"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
BEGINNING = 1_780_000_000.0
"""The wall clock when the loop's own clock shows 0."""
_END = 6 * 86_400.0


class _Selector(selectors.DefaultSelector):
    """Skips the time that it should wait."""

    def __init__(self) -> None:
        super().__init__()
        self.ahead = 0.0
        self.threads = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None or self.threads:
            return super().select(timeout)
        self.ahead += max(0.0, timeout)
        if self.ahead > _END:
            raise TimeoutError("the test waits for something that does not happen")
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop that starts at 0 and never waits for time."""

    def __init__(self) -> None:
        self._skipping = _Selector()
        super().__init__(self._skipping)

    def time(self) -> float:
        """Return the seconds since the beginning."""
        return self._skipping.ahead

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """Run in a thread; time stands still until it is done."""
        return self.stand_still(super().run_in_executor(executor, func, *args))

    def stand_still(self, future: asyncio.Future[T]) -> asyncio.Future[T]:
        """Let no time pass until a future is done that a thread works for."""
        self._skipping.threads += 1
        future.add_done_callback(self._thread_is_done)
        return future

    def _thread_is_done(self, _: object) -> None:
        self._skipping.threads -= 1


def _wrap_future(
    future: concurrent.futures.Future[T], *, loop: asyncio.AbstractEventLoop | None = None
) -> asyncio.Future[T]:
    """Do what `asyncio.wrap_future` does, and have the loop wait: `SQLiteState` is so awaited."""
    running = asyncio.get_running_loop()
    wrapped = asyncio.futures.wrap_future(future, loop=loop)
    return running.stand_still(wrapped) if isinstance(running, VirtualLoop) else wrapped


def now() -> float:
    """Return the wall clock of the running loop."""
    return BEGINNING + asyncio.get_running_loop().time()


def hooks(chance: Callable[[], float] = lambda: 0.5) -> Hooks:
    """Return the hooks of a client that lives in such a loop."""
    return Hooks(clock=now, sleep=asyncio.sleep, chance=chance)


def run(main: Coroutine[object, object, T], *, debug: bool = False) -> T:
    """Run a coroutine in a loop whose time flies."""
    with (
        mock.patch("asyncio.wrap_future", _wrap_future),
        asyncio.Runner(loop_factory=VirtualLoop, debug=debug) as runner,
    ):
        return runner.run(main)

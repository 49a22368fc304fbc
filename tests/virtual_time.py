"""A loop whose time flies from 0 on: see `ppapi_async.testing.flying_time`, which it is made of."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import TypeVar, TypeVarTuple, Unpack

from ppapi_async import Hooks
from ppapi_async.testing.flying_time import FlyingTime, watch_threads

__all__ = ["BEGINNING", "VirtualLoop", "hooks", "now", "run"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
BEGINNING = 1_780_000_000.0
"""The wall clock when the loop's own clock shows 0."""
_END = 6 * 86_400.0


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop that starts at 0 and never waits for time.

    Args:
        settle: real seconds that the network is given before a notable time is skipped.
    """

    def __init__(self, settle: float = 0.0) -> None:
        selector = selectors.DefaultSelector()
        self.flying = FlyingTime(selector, limit=_END, settle=settle)
        super().__init__(selector)

    def time(self) -> float:
        """Return the seconds since the beginning."""
        return self.flying.ahead

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """Run in a thread; time stands still until it is done."""
        return self.flying.watch(super().run_in_executor(executor, func, *args))

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Wait for the threads as long as they take; from 3.12 on a time would have flown first."""
        await super().shutdown_default_executor()


def now() -> float:
    """Return the wall clock of the running loop."""
    return BEGINNING + asyncio.get_running_loop().time()


def hooks(chance: Callable[[], float] = lambda: 0.5) -> Hooks:
    """Return the hooks of a client that lives in such a loop."""
    return Hooks(clock=now, sleep=asyncio.sleep, chance=chance)


def run(main: Coroutine[object, object, T], *, debug: bool = False, settle: float = 0.0) -> T:
    """Run a coroutine in a loop whose time flies."""
    loop = VirtualLoop(settle)
    with (
        watch_threads({loop: loop.flying}),
        asyncio.Runner(loop_factory=lambda: loop, debug=debug) as runner,
    ):
        return runner.run(main)

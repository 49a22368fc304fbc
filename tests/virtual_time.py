"""An event loop whose time flies: when nothing is left to do, it is at once the next moment.

Sockets are real. While an answer is under way between two ends in this loop, time stands still: one
of them has something to do, or the kernel, busy with others, has still bytes to deliver. It also
stands still while a thread works for the loop. What cannot be seen is an end that was closed with
bytes under way: a test that must not miss them asks for `settle`.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import fcntl
import functools
import io
import selectors
import socket
import termios
import time
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
_NOTABLE = 0.1
_MOMENT = 0.0002
_MOMENTS = 500
_MOST_TURNS = 100_000
"""Turns of the loop in one moment, in which nothing came: then somebody waits for time to pass."""
_AFTER = 1e-9
"""Seconds by which timers are late, as all are: aiohttp may set one again that is on time."""


class _Selector(selectors.DefaultSelector):
    """Skips the time that it should wait."""

    def __init__(self, settle: float) -> None:
        super().__init__()
        self.ahead = 0.0
        self.threads = 0
        self.settle = settle
        self.turns = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        self.turns = 0 if ready or timeout != 0 or self.threads else self.turns + 1
        if self.turns > _MOST_TURNS:
            raise TimeoutError(f"something goes on without end: {_what_waits()}")
        if ready or timeout == 0:
            return ready
        if timeout is None or self.threads:
            return super().select(timeout)
        if timeout >= _NOTABLE:
            if self.settle:
                time.sleep(self.settle)
            for _ in range(_MOMENTS):  # no more: bytes that nobody reads do not arrive
                if not self._is_sending():
                    break
                time.sleep(_MOMENT)
            if ready := super().select(0):
                return ready
        self.ahead += max(0.0, timeout) + _AFTER
        if self.ahead > _END:
            raise TimeoutError("the test waits for something that does not happen")
        return []

    def _is_sending(self) -> bool:
        """Tell whether any socket has bytes that have not arrived at its other end."""
        descriptors = [key.fd for key in self.get_map().values()]
        if not any(map(_has_unacknowledged, descriptors)):
            return False
        for descriptor in descriptors:  # what has arrived may be acknowledged 40 ms later
            _acknowledge(descriptor)
        return any(map(_has_unacknowledged, descriptors))


def _what_waits() -> str:
    """Return where the tasks of the running loop are."""
    text = io.StringIO()
    for task in asyncio.all_tasks():
        task.print_stack(file=text)
    return text.getvalue()


def _has_unacknowledged(descriptor: int) -> bool:
    with contextlib.suppress(OSError):  # a listening one has none
        return any(fcntl.ioctl(descriptor, termios.TIOCOUTQ, b"\0\0\0\0"))
    return False


def _acknowledge(descriptor: int) -> None:
    """Have the kernel acknowledge at once what it has received."""
    with contextlib.suppress(OSError):  # no TCP
        one = socket.socket(fileno=descriptor)
        try:
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        finally:
            one.detach()


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop that starts at 0 and never waits for time.

    Args:
        settle: real seconds that the network is given before a notable time is skipped.
    """

    def __init__(self, settle: float = 0.0) -> None:
        self._skipping = _Selector(settle)
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

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Wait for the threads as long as they take; from 3.12 on a time would have flown first."""
        await super().shutdown_default_executor()

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


def run(main: Coroutine[object, object, T], *, debug: bool = False, settle: float = 0.0) -> T:
    """Run a coroutine in a loop whose time flies."""
    factory = functools.partial(VirtualLoop, settle)
    with (
        mock.patch("asyncio.wrap_future", _wrap_future),
        asyncio.Runner(loop_factory=factory, debug=debug) as runner,
    ):
        return runner.run(main)

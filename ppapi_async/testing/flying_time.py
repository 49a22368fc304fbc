"""Time that flies: where a loop has nothing left to do, it is at once the next moment.

Sockets are real. While an answer is under way between two ends in this loop, time stands still: one
of them has something to do, or the kernel, busy with others, has still bytes to deliver. It also
stands still while a thread works for the loop. What cannot be seen is an end that was closed with
bytes under way: a test that must not miss them asks for `settle`.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import io
import selectors
import socket
import sys
import time
from collections.abc import Iterator
from typing import TypeVar, cast
from unittest import mock

if sys.platform != "win32":
    import fcntl
    import termios

__all__ = ["FlyingTime", "let_fly", "watch_threads"]

T = TypeVar("T")
_NOTABLE = 0.1
_MOMENT = 0.0002
_MOMENTS = 500
_MOST_TURNS = 100_000
"""Turns of the loop in one moment, in which nothing came: then somebody waits for time to pass."""
_AFTER = 1e-9
"""Seconds by which timers are late, as all are: aiohttp may set one again that is on time."""


class FlyingTime:
    """The time of one loop, whose selector skips what it should wait.

    Args:
        selector: the loop's; its `select` is replaced.
        limit: seconds of flown time after which the loop fails with a `TimeoutError`, once.
        settle: real seconds that the network is given before a notable time is skipped.
    """

    def __init__(
        self, selector: selectors.BaseSelector, *, limit: float, settle: float = 0.0
    ) -> None:
        self.ahead = 0.0
        self.threads = 0
        self.limit = limit
        self._settle = settle
        self._turns = 0
        self._selector = selector
        self._select = selector.select
        selector.select = self.select  # type: ignore[method-assign]

    def end(self) -> None:
        """Give the selector back as it was."""
        self._selector.select = self._select  # type: ignore[method-assign]

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is ready; where nothing is, let `timeout` seconds have passed.

        Raises:
            TimeoutError: the loop turns without end, or waits for longer than the limit.
        """
        ready = self._select(0)
        self._turns = 0 if ready or timeout != 0 or self.threads else self._turns + 1
        if self._turns > _MOST_TURNS:
            self._turns = 0
            raise TimeoutError(f"something goes on without end: {_what_waits()}")
        if ready or timeout == 0:
            return ready
        if timeout is None or self.threads:
            return self._select(timeout)
        if timeout >= _NOTABLE and (ready := self._wait_for_bytes()):
            return ready
        self.ahead += max(0.0, timeout) + _AFTER
        if self.ahead > self.limit:
            self.limit = float("inf")  # what closes after that may take its time
            raise TimeoutError("the test waits for something that does not happen")
        return []

    def watch(self, future: asyncio.Future[T]) -> asyncio.Future[T]:
        """Let no time pass until a future is done that a thread works for."""
        self.threads += 1
        future.add_done_callback(self._thread_is_done)
        return future

    def _thread_is_done(self, _: object) -> None:
        self.threads -= 1

    def _wait_for_bytes(self) -> list[tuple[selectors.SelectorKey, int]]:
        if self._settle:
            time.sleep(self._settle)
        for _ in range(_MOMENTS):  # no more: bytes that nobody reads do not arrive
            if not self._is_sending():
                break
            time.sleep(_MOMENT)
        return self._select(0)

    def _is_sending(self) -> bool:
        """Tell whether any socket has bytes that have not arrived at its other end."""
        descriptors = [key.fd for key in self._selector.get_map().values()]
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
    if sys.platform != "win32":
        with contextlib.suppress(OSError):  # a listening one has none
            return any(fcntl.ioctl(descriptor, termios.TIOCOUTQ, b"\0\0\0\0"))
    return False


def _acknowledge(descriptor: int) -> None:
    """Have the kernel acknowledge at once what it has received; only Linux can be told to."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # no TCP
            one = socket.socket(fileno=descriptor)
            try:
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            finally:
                one.detach()


@contextlib.contextmanager
def watch_threads(times: dict[asyncio.AbstractEventLoop, FlyingTime]) -> Iterator[None]:
    """Let no time pass in these loops while they wait by `asyncio.wrap_future`, as stores do."""
    original = asyncio.wrap_future

    def wrap_future(
        future: concurrent.futures.Future[T], *, loop: asyncio.AbstractEventLoop | None = None
    ) -> asyncio.Future[T]:
        wrapped = original(future, loop=loop)
        flying = times.get(loop or asyncio.get_running_loop())
        return wrapped if flying is None else flying.watch(wrapped)

    with mock.patch("asyncio.wrap_future", wrap_future):
        yield


@contextlib.contextmanager
def let_fly(loop: asyncio.AbstractEventLoop, *, limit: float) -> Iterator[FlyingTime]:
    """Have the time of a loop that runs already fly for a while; it never goes back.

    Raises:
        TypeError: it is no loop with a selector, such as uvloop's.
    """
    if not isinstance(loop, asyncio.SelectorEventLoop):
        raise TypeError(
            f"time flies in a loop with a selector only, not in {type(loop).__module__}."
            f"{type(loop).__name__}: use asyncio.SelectorEventLoop in this test"
        )
    # Each loop with a selector keeps it under this name, from Python 3.4 to 3.14.
    flying = FlyingTime(cast("selectors.BaseSelector", vars(loop)["_selector"]), limit=limit)
    own_time, own_executor, began = loop.time, loop.run_in_executor, loop.time()

    def run_in_executor(*arguments: object) -> asyncio.Future[object]:
        return flying.watch(own_executor(*arguments))  # type: ignore[arg-type] # as it was called

    replaced: dict[str, object] = {
        "time": lambda: began + flying.ahead,
        "run_in_executor": run_in_executor,
    }
    vars(loop).update(replaced)
    try:
        with watch_threads({loop: flying}):
            yield flying
    finally:
        flying.end()
        del vars(loop)["run_in_executor"]
        skipped = max(0.0, loop.time() - own_time())
        vars(loop)["time"] = lambda: own_time() + skipped

"""What all that is iterated over with `async for` shares: how it is read, left and closed.

What is iterated over is read in a task of its own, the reading task, from its first step to the end
of its clean-up. So it does not matter which task asks for the next item, and none is cancelled but
the one that waits: after a cancelled or timed-out wait the next one gets what the first would have
got. Leaving cancels the reading task, which cleans up by itself; whoever closes waits for that.

The reading task hands over portions, and reads on only when the consumer asks for what comes after
a portion. The items of a portion are handed out without a switch between tasks.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, suppress
from operator import length_hint
from types import TracebackType
from typing import Generic, Self, TypeAlias, TypeVar

from attrs import define, field

from ppapi_async.errors import PPAPIError
from ppapi_async.transport.closing import UnderWay, wait_until_done
from ppapi_async.transport.fairness import ITEMS_OF_TURN, let_others_run

__all__ = ["Items", "Iteration", "ReadingTask"]

ItemT = TypeVar("ItemT")
ItemT_co = TypeVar("ItemT_co", covariant=True)
Portions: TypeAlias = Callable[[], AsyncGenerator[list[ItemT], None]]
"""Makes the generator that reads. A list that it yields is emptied as its items are handed out."""
_log = logging.getLogger("ppapi_async")


class ReadingTask(Generic[ItemT_co]):
    """The task that reads for an iteration, and the portion that its consumer has in hand.

    Args:
        portions: makes the generator that reads. It runs in the task, and is closed there.
        on_leave: told at once, and once, when the iteration is left, how many items of the last
            portion were handed out. An error of its is raised where somebody closes.
        under_way: where the session keeps what is being read for it.
        ends_quietly: whether the iteration ends without an error when its session is closed.
    """

    def __init__(
        self,
        portions: Portions[ItemT_co],
        on_leave: Callable[[int], None] | None,
        under_way: set[UnderWay] | None,
        *,
        ends_quietly: bool,
    ) -> None:
        self.items: Iterator[ItemT_co] = iter(())
        """What can be handed out in this turn."""
        self._portion: list[ItemT_co] = []
        """What of the portion is left for later turns."""
        self._at = 0
        """How much of the portion belonged to turns up to this one."""
        self._portions: Portions[ItemT_co] | None = portions
        self._on_leave = on_leave
        self._under_way = under_way
        self._ends_quietly = ends_quietly
        self._task: asyncio.Task[None] | None = None
        self._thread: int | None = None
        self._asked: asyncio.Future[None] | None = None
        """What the reading task waits for: that the consumer has asked for more."""
        self._news: asyncio.Future[None] | None = None
        """What the consumer waits for."""
        self._is_awaited = False
        self._error: BaseException | None = None
        self._has_begun = False
        self.left = False

    # The consumer

    async def next_item(self) -> ItemT_co:
        """Return the next item when those of this turn are gone.

        Raises:
            StopAsyncIteration: there are no more.
            RuntimeError: another task waits for it.
        """
        if self._is_awaited:
            raise RuntimeError("another task waits for the next item already")
        self._is_awaited = True
        try:
            while not self.left:
                if self._portion:
                    if self._at:  # a consumer that never waits must not hold the loop
                        await let_others_run()
                        if self.left:  # in the meantime
                            break
                    return self._begin_turn()
                self._ask()
                await self._wait_for_news()
            while self.is_running:
                await self._wait_for_news()
        finally:
            self._is_awaited = False
        error, self._error = self._error, None
        raise StopAsyncIteration if error is None else error

    def _begin_turn(self) -> ItemT_co:
        items = self._portion[:ITEMS_OF_TURN]
        del self._portion[:ITEMS_OF_TURN]  # nothing keeps what was handed out
        self._at, self.items = self._at + len(items), iter(items)
        return next(self.items)

    def _ask(self) -> None:
        if not self._has_begun:
            self._has_begun, self._thread = True, threading.get_ident()
            self._task = asyncio.create_task(self._read())
            if self._under_way is not None:
                self._under_way.add(self)
            self._task.add_done_callback(self._finish)
        elif self._asked is not None:
            asked, self._asked = self._asked, None
            if not asked.done():
                asked.set_result(None)

    async def _wait_for_news(self) -> None:
        if self._portion or (self.left and not self.is_running):
            return
        self._news = asyncio.get_running_loop().create_future()
        await self._news

    # The reading task

    async def _read(self) -> None:
        portions, self._portions = self._portions, None
        if portions is None:
            return
        async with aclosing(portions()) as reading:
            async for portion in reading:
                if portion:
                    self._asked = asked = asyncio.get_running_loop().create_future()
                    self._portion, self._at, self.items = portion, 0, iter(())
                    self._wake()
                    await asked

    def _wake(self) -> None:
        news, self._news = self._news, None
        if news is not None and not news.done():
            news.set_result(None)

    def _finish(self, task: asyncio.Task[None]) -> None:
        if self._under_way is not None:
            self._under_way.discard(self)
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if not self.left:
            self._error = error
        elif isinstance(error, PPAPIError):
            _log.debug("%s; it was being closed", error)
        elif isinstance(error, Exception):
            _log.warning("what was iterated over could not be closed: %s", type(error).__name__)
        self._leave_quietly()
        self._wake()

    # Leaving

    @property
    def is_running(self) -> bool:
        """Whether it reads, or cleans up."""
        return self._task is not None and not self._task.done()

    def leave(self) -> None:
        """Hand out no more, and have the reading task clean up. What has to be saved is saved now.

        Raises:
            BaseException: what `on_leave` raises.
        """
        if self.left:
            return
        self.left = True
        taken = self._at - length_hint(self.items)
        for _ in self.items:  # the consumer has this iterator in hand
            pass
        self._portion, self._portions = [], None
        if self._task is not None and self.is_running:
            self._task.cancel()
        on_leave, self._on_leave = self._on_leave, None
        if on_leave is not None:
            on_leave(taken)

    def _leave_quietly(self) -> None:
        try:
            self.leave()
        except Exception as error:  # noqa: BLE001 - it must not hide why it was left
            _log.warning("the position could not be saved: %s", type(error).__name__)

    def drop(self) -> None:
        """Leave, because nobody has the iterator any more."""
        task = self._task
        if self.left:
            return
        if task is None or task.get_loop().is_closed() or threading.get_ident() == self._thread:
            self._leave_quietly()
        else:  # the garbage collector of another thread
            with suppress(RuntimeError):  # closed meanwhile
                task.get_loop().call_soon_threadsafe(self._leave_quietly)

    def stop(self, error: BaseException) -> None:
        """Leave, because what it reads from has been closed, which the consumer is told."""
        if not self.left:
            self._error = None if self._ends_quietly else error
            self._leave_quietly()

    async def wait_until_left(self) -> None:
        """Wait until it has cleaned up; not from within."""
        if self._task is not None and self._task is not asyncio.current_task():
            await wait_until_done([self._task])

    async def ended(self) -> None:
        """Wait until it has cleaned up, or until this wait is cancelled."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def aclose(self) -> None:
        """Leave, and wait until it has cleaned up."""
        try:
            self.leave()
        finally:
            await self.wait_until_left()


class Items(Generic[ItemT]):
    """The iterator over an iteration. Dropped, as by a `break`, it leaves the iteration."""

    __slots__ = ("_items", "_reading")

    def __init__(self, reading: ReadingTask[ItemT]) -> None:
        self._reading = reading
        self._items = reading.items

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ItemT:
        for item in self._items:
            return item
        try:
            item = await self._reading.next_item()
            self._items = self._reading.items
            return item
        finally:
            # The traceback of a cancellation keeps this frame, which is not to keep the iterator.
            del self

    def __del__(self) -> None:
        self._reading.drop()

    async def aclose(self) -> None:
        """Stop: nothing stays behind."""
        await self._reading.aclose()


@define(eq=False)
class Iteration:
    """Can be iterated once, left at any time, and closed from anywhere, at any time and often.

    A wait for the next item that is cancelled or timed out takes nothing away: the next wait gets
    what it would have got.
    """

    _reading: ReadingTask[object] | None = field(default=None, init=False)
    _closed: bool = field(default=False, init=False)

    async def aclose(self) -> None:
        """Stop: nothing stays behind. A loop over it ends, in whatever task it waits."""
        self._closed = True
        if self._reading is not None:
            await self._reading.aclose()

    @property
    def left(self) -> bool:
        """Whether it has ended, or somebody has left it, though it may still clean up."""
        return self._closed or (self._reading is not None and self._reading.left)

    async def ended(self) -> None:
        """Wait until it has cleaned up."""
        if self._reading is not None:
            await self._reading.ended()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def _start(
        self,
        portions: Portions[ItemT],
        *,
        on_leave: Callable[[int], None] | None = None,
        under_way: set[UnderWay] | None = None,
        ends_quietly: bool = False,
    ) -> Items[ItemT]:
        """Return the iterator over the items of all portions."""
        if self._reading is not None:
            raise RuntimeError("it can be iterated once; ask for another")
        reading = ReadingTask(portions, on_leave, under_way, ends_quietly=ends_quietly)
        self._reading = reading
        if self._closed:
            reading.leave()
        return Items(reading)

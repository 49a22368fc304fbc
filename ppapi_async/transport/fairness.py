"""Shares the event loop out: nobody works on for long without letting others run.

All that could hold the loop goes through here: what is gone through item by item (`in_turns`), the
requests that begin and the answers that are decoded (`Decoding`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator, Iterable, Iterator
from typing import Generic, TypeVar

from attrs import define, field

from ppapi_async.protocol import finish

__all__ = ["ITEMS_OF_TURN", "Decoding", "in_turns", "let_others_run"]

T = TypeVar("T")
ITEMS_OF_TURN = 250
"""Rows that are handed out or looked at in one turn of the loop, in a millisecond at most."""
_SMALL = 16 * 1024
"""Bytes of an answer that is decoded at once, in about a fifth of a millisecond."""
_TURN = 128 * 1024
"""Bytes of small answers in one turn of the loop."""
_REQUEST = 32 * 1024
"""Bytes that could be decoded in the time that the beginning of a request takes."""


async def let_others_run() -> None:
    """Return in the next turn of the loop."""
    await asyncio.sleep(0)


def in_turns(items: Iterable[T], of_turn: int = ITEMS_OF_TURN) -> AsyncIterator[T]:
    """Iterate over items, and let others run after so many."""
    return _InTurns(iter(items), of_turn)


@define(eq=False)
class _InTurns(Generic[T]):
    """No generator: one that is left early would have to be closed."""

    _items: Iterator[T]
    _of_turn: int
    _gone: int = 0

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        if self._gone == self._of_turn:
            self._gone = 0
            await let_others_run()
        for item in self._items:
            self._gone += 1
            return item
        raise StopAsyncIteration


@define(eq=False)
class Decoding:
    """Lets few requests begin in a turn of the loop, and one large answer or few small be decoded.

    Sessions that share it do not hold the loop in a row, however many requests begin or answers
    come at once; and an answer that takes long does not keep those of others waiting.
    """

    lock: asyncio.Lock = field(factory=asyncio.Lock)
    """Held for a slice of something large, over a turn of the loop. It is given in the order in
    which it was asked for: so all get a slice in turn, however long the others' work is."""
    _beginning: asyncio.Lock = field(factory=asyncio.Lock)
    """Held by the request that waits for the next turn of the loop; the others queue for it."""
    _queued: int = 0
    _spent: int = 0
    """Of `_TURN`, in this turn of the loop."""

    async def begin(self) -> None:
        """Return when a request may begin: at once, or in a later turn of the loop."""
        if not self._queued and self._has_room(_REQUEST):
            self._spend(_REQUEST)
            return
        self._queued += 1
        try:
            async with self._beginning:
                await let_others_run()
                self._spend(_REQUEST)
        finally:
            self._queued -= 1

    async def run(self, slices: Generator[None, None, T], size: int) -> T:
        """Decode all slices, with chances for others in between, and return their result."""
        if size <= _SMALL and self._has_room(size) and not self.lock.locked():
            self._spend(size)
            return finish(slices)
        while True:
            async with self.lock:
                try:
                    if size <= _SMALL:
                        return finish(slices)
                    next(slices)
                except StopIteration as stop:
                    value: T = stop.value
                    return value
                finally:
                    # Still holding the lock: one slice in a turn of the loop, whoever waits.
                    await let_others_run()

    def _has_room(self, size: int) -> bool:
        return self._spent + size <= _TURN

    def _spend(self, size: int) -> None:
        if not self._spent:
            asyncio.get_running_loop().call_soon(self._begin_turn)
        self._spent += max(size, 1)

    def _begin_turn(self) -> None:
        self._spent = 0

"""Shares the event loop out among the answers that are decoded in it."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import TypeVar

from attrs import define, field

__all__ = ["Decoding"]

T = TypeVar("T")
_SMALL = 16 * 1024
"""Bytes of an answer that is decoded at once, in about a fifth of a millisecond."""
_TURN = 128 * 1024
"""Bytes of small answers in one turn of the loop."""


@define(eq=False)
class Decoding:
    """Lets one large answer, or a few small ones, be decoded in a turn of the loop.

    Sessions that share it do not hold the loop in a row, however many answers come at once.
    """

    lock: asyncio.Lock = field(factory=asyncio.Lock)
    """Held by whoever works through something large, over at least one turn."""
    _small: int = 0

    async def run(self, steps: Generator[None, None, T], size: int) -> T:
        """Carry the steps out, with chances for others in between, and return their result."""
        if size <= _SMALL and self._small + size <= _TURN and not self.lock.locked():
            self._count(size)
            return _exhaust(steps)
        async with self.lock:
            while True:
                try:
                    next(steps)
                except StopIteration as stop:
                    value: T = stop.value
                    # Still holding the lock: one answer in a turn of the loop, whoever waits.
                    await asyncio.sleep(0)
                    return value
                await asyncio.sleep(0)

    def _count(self, size: int) -> None:
        if not self._small:
            asyncio.get_running_loop().call_soon(self._begin_turn)
        self._small += size + 1

    def _begin_turn(self) -> None:
        self._small = 0


def _exhaust(steps: Generator[None, None, T]) -> T:
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            value: T = stop.value
            return value

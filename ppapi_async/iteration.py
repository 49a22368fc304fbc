"""What all that is iterated over with `async for` shares: leaving it leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import AsyncGenerator, Iterator
from types import TracebackType
from typing import Self

from attrs import define, field

__all__ = ["Iteration"]


@define(eq=False)
class Iteration:
    """Can be iterated once, left at any time, and closed by whoever keeps it."""

    _started: bool = field(default=False, init=False)
    _running: weakref.ref[AsyncGenerator[object, None]] | None = field(default=None, init=False)
    _ended: asyncio.Event | None = field(default=None, init=False)

    async def aclose(self) -> None:
        """Stop: nothing stays behind."""
        generator = None if self._running is None else self._running()
        if generator is not None:
            await generator.aclose()
        elif self._ended is not None:  # left by its loop, asyncio is closing it
            await self._ended.wait()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def _start(self, generator: AsyncGenerator[object, None]) -> None:
        if self._started:
            raise RuntimeError("it can be iterated once; ask for another")
        self._started = True
        # Weakly: when the loop that iterates is left, nothing else may keep the generator alive.
        self._running = weakref.ref(generator)

    @contextlib.contextmanager
    def _until_left(self) -> Iterator[None]:
        """Mark the time within which the generator has something to clean up."""
        self._ended = asyncio.Event()
        try:
            yield
        finally:
            self._ended.set()

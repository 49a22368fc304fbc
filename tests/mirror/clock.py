"""A clock that goes on when a test says so."""

from __future__ import annotations

import asyncio

from attrs import define, field

from ppapi_async import Hooks

__all__ = ["NOW", "Clock"]

NOW = 1_790_000_000


@define(eq=False)
class Clock:
    """What sleeps by it wakes up when the test has moved it far enough."""

    time: float = float(NOW)
    _sleepers: list[tuple[float, asyncio.Future[None]]] = field(factory=list)

    def __call__(self) -> float:
        return self.time

    def hooks(self) -> Hooks:
        """Return hooks that go by it."""
        return Hooks(clock=self, sleep=self.sleep, chance=lambda: 0.5)

    async def sleep(self, seconds: float) -> None:
        """Sleep until it has been moved so far."""
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.time + seconds, woken))
        await woken

    def advance(self, seconds: float) -> None:
        """Move it on, and wake up whoever is due."""
        self.time += seconds
        due = [one for one in self._sleepers if one[0] <= self.time]
        self._sleepers = [one for one in self._sleepers if one[0] > self.time]
        for _, woken in due:
            if not woken.done():
                woken.set_result(None)

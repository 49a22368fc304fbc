"""The clock of a test: sessions, fleets, sandboxes and the test itself go by it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from datetime import UTC, datetime

from ppapi_async._validation import Duration, Instant, instant, seconds_of
from ppapi_async.transport.hooks import Hooks

from .flying_time import FlyingTime, let_fly

__all__ = ["FakeClock", "run_clock"]

_LIMIT = 40 * 86_400.0


class FakeClock:
    """A clock whose time flies: where everyone waits, it is at once the moment of the first.

    While there is something to do, it stands still. `hooks` are for `Session`, `Fleet` and what
    else takes `Hooks`: clock, sleep and chance (always 0.5). `Sandbox(clock=clock.time)`
    has a server go by it, too.
    """

    def __init__(self, flying: FlyingTime, start: float) -> None:
        self._flying = flying
        self._start = start

    def time(self) -> float:
        """Return the moment in unix seconds."""
        return self._start + self._flying.ahead

    @property
    def now(self) -> datetime:
        """The moment, in UTC."""
        return datetime.fromtimestamp(self.time(), UTC)

    @property
    def hooks(self) -> Hooks:
        """Clock, sleep and chance for a `Session`, `Fleet` or `Mirror`."""
        return Hooks(clock=self.time, sleep=asyncio.sleep, chance=lambda: 0.5)

    async def advance(self, duration: Duration) -> None:
        """Let time pass (seconds, or a `timedelta`); what is due meanwhile happens in its order.

        Raises:
            TypeError: it is no duration.
            ValueError: it is not more than 0 seconds.
        """
        seconds = seconds_of(duration, "duration")
        self._flying.limit += seconds
        await asyncio.sleep(seconds)


@contextlib.contextmanager
def run_clock(start: Instant) -> Iterator[FakeClock]:
    """Have the time of the running loop fly, from a moment on; None: from the present.

    Raises:
        TypeError: the start is no moment, or the loop has no selector.
        ValueError: the start is a naive datetime.
    """
    moment = instant(start, "ppapi_clock")
    loop = asyncio.get_running_loop()
    with let_fly(loop, limit=_LIMIT) as flying:
        yield FakeClock(flying, time.time() if moment is None else moment.timestamp())

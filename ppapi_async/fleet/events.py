"""The events of a fleet, one after the other."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Generic, TypeVar, cast

from attrs import define

from ppapi_async.fleet.scheduler import FleetEvent, Scheduler
from ppapi_async.streaming.iteration import Iteration

__all__ = ["Events"]

EventT_co = TypeVar("EventT_co", bound=FleetEvent, covariant=True)


@define(eq=False, repr=False)
class Events(Iteration, Generic[EventT_co]):
    """What the accounts of a fleet have to deliver: iterate it once, for as long as you like.

    A change counts as delivered when the next event is asked for.
    """

    _polling: Callable[[Iteration], AbstractAsyncContextManager[Scheduler | None]]
    """Has the accounts polled meanwhile; None where the fleet has been left."""

    def __repr__(self) -> str:
        return f"<Events of a fleet{', left' * self.left}>"

    def __aiter__(self) -> AsyncIterator[EventT_co]:
        """Iterate over the events. It ends when the fleet is left.

        Raises:
            RuntimeError: the events are being iterated elsewhere.
        """
        return self._start(self._iterate, ends_quietly=True)

    async def _iterate(self) -> AsyncGenerator[list[EventT_co], None]:
        async with self._polling(self) as scheduler:
            while scheduler is not None:
                item = await scheduler.next_item()
                yield [cast("EventT_co", item.change)]  # only what was asked for is polled
                await scheduler.acknowledge(item)

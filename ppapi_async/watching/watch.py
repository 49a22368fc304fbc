"""Polling one account for as long as one likes."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Generic, TypeAlias, TypeVar

from attrs import define, field

from ppapi_async.errors import PPAPIError
from ppapi_async.models import Info, Row
from ppapi_async.storage import State
from ppapi_async.streaming.iteration import Iteration
from ppapi_async.transport.client import Transport
from ppapi_async.watching.changes import Change, RowsUnreadable
from ppapi_async.watching.delivery import Poller, in_use
from ppapi_async.watching.poll_policy import PollPolicy, after_success

__all__ = ["OnError", "Watch"]

RecordT = TypeVar("RecordT", bound=Row | Info)
OnError: TypeAlias = Callable[[PPAPIError | None], object]
"""Called with how polling goes; may be `async def`."""
_log = logging.getLogger("ppapi_async")


@define(eq=False, repr=False)
class Watch(Iteration, Generic[RecordT]):
    """The changes at one account, for ever: iterate it once.

    A change counts as delivered when the next one is asked for. Until then it is delivered again
    after a restart with the same state. Leaving the loop early is fine; whoever keeps the watch can
    also close it with `aclose` or `async with`.
    """

    _transport: Transport
    _poller: Poller[RecordT]
    _state: State
    _interval: float
    _on_error: OnError | None
    _policy: PollPolicy = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._policy = PollPolicy(self._interval)

    def __repr__(self) -> str:
        name, interval = self._transport.account.name, self._interval
        return f"<Watch {self._poller.method} of {name!r} every {interval:g} s>"

    def __aiter__(self) -> AsyncIterator[Change[RecordT]]:
        """Iterate over the changes.

        It ends when the session is closed.

        Raises:
            PPAPIError: nothing could ever be read, for a reason that will not pass by itself: a
                wrong key, a method that the site does not have, an unreadable state.
        """
        return self._start(self._iterate, under_way=self._transport.under_way, ends_quietly=True)

    async def _iterate(self) -> AsyncGenerator[list[Change[RecordT]], None]:
        async with in_use(self._state):
            while not self._transport.closed:
                began = self._transport.hooks.clock()
                error: PPAPIError | None = None
                try:
                    async with contextlib.aclosing(self._poller.poll()) as deliveries:
                        async for delivery in deliveries:
                            if isinstance(delivery.change, RowsUnreadable):
                                self._report(delivery.change.error)
                            else:
                                yield [delivery.change]
                            await delivery.acknowledge()
                except PPAPIError as caught:
                    error = caught
                if not self._transport.closed:
                    await self._transport.hooks.sleep(self._wait_after(error, began))

    def _wait_after(self, error: PPAPIError | None, began: float) -> float:
        """Return how long to wait after a poll.

        Raises:
            PPAPIError: it is no use to go on.
        """
        hooks, policy = self._transport.hooks, self._policy
        if error is None:
            if policy.succeed(began):
                _log.info("%s: %s works again", self._transport.account.name, self._poller.method)
                self._call_on_error(None)
            return after_success(self._interval, hooks.clock() - began, hooks.chance())
        failure = policy.fail(error, hooks.chance(), worked=self._poller.worked)
        if not failure.may_pass:
            raise error
        if failure.is_news:
            self._report(error)
        return failure.wait

    def _report(self, error: PPAPIError) -> None:
        _log.warning("%s; polling on", error)
        self._call_on_error(error)

    def _call_on_error(self, error: PPAPIError | None) -> None:
        if self._on_error is not None:
            self._transport.callbacks.call_soon(self._on_error, error)

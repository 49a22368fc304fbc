"""The rows of many accounts in one stream.

Workers read the accounts, each holding one window until the consumer has taken it: so nobody
starves, and memory does not grow with what is there. A window counts as handed out when what comes
after it is asked for; of the window in which the loop is left, those rows count that came.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from typing import Generic, TypeAlias, TypeVar

from attrs import define, field

from ppapi_async.errors import PPAPIError, StateError
from ppapi_async.fleet.member import Member
from ppapi_async.models import Row, Window
from ppapi_async.streaming.iteration import Iteration
from ppapi_async.streaming.stream import Stream
from ppapi_async.transport.closing import UnderWay, wait_until_done

__all__ = ["Merged"]

RowT = TypeVar("RowT", bound=Row)


@define(eq=False)
class _Portion(Generic[RowT]):
    """A window of an account on its way to the consumer, or why no more come."""

    name: str
    content: Window[RowT] | PPAPIError
    taken: asyncio.Event = field(factory=asyncio.Event)
    """Set when the consumer asks for what comes after it."""
    is_counted: bool = False
    """Whether its stream goes on after that, which counts it as handed out."""

    @property
    def rows(self) -> list[RowT]:
        """The rows of the window."""
        return [] if isinstance(self.content, PPAPIError) else self.content.records


_Queue: TypeAlias = asyncio.Queue[_Portion[RowT] | None]
"""None: a worker has ended."""


@define(eq=False, repr=False)
class Merged(Iteration, Generic[RowT]):
    """`(name, row)` of many accounts: oldest first and complete for each, in turns between them.

    An account that fails ends with `(name, error)`; the others go on. Iterate it once, row by row
    or by `windows()`; leaving the loop early is fine, and checkpoints hold what was handed out.
    """

    _streams: Sequence[tuple[Member, Stream[RowT]]]
    _concurrency: int
    _under_way: set[UnderWay]
    _latest: dict[str, tuple[Stream[RowT], _Portion[RowT] | None]] = field(factory=dict)
    """By account that is being read: its stream, and the latest portion of it."""
    _in_hand: _Portion[RowT] | None = None

    def __repr__(self) -> str:
        return f"<Merged {len(self._streams)} streams{', left' * self.left}>"

    def __aiter__(self) -> AsyncIterator[tuple[str, RowT | PPAPIError]]:
        """Iterate over the rows of all accounts.

        Raises:
            TransportError: the fleet was closed meanwhile.
        """
        return self._start(self._read_rows, on_leave=self._leave, under_way=self._under_way)

    def windows(self) -> AsyncIterator[tuple[str, Window[RowT] | PPAPIError]]:
        """Iterate over proven windows instead of single rows, as `(name, window)`."""
        return self._start(
            self._read_windows, on_leave=self._leave_window, under_way=self._under_way
        )

    @property
    def record(self) -> type[RowT] | None:
        """What the rows are; None where there is no account."""
        return self._streams[0][1].record if self._streams else None

    @property
    def has_checkpoints(self) -> bool:
        """Whether the position of any account is kept."""
        return any(stream.has_checkpoint for _, stream in self._streams)

    # The consumer

    async def _read_rows(self) -> AsyncGenerator[list[tuple[str, RowT | PPAPIError]], None]:
        async with contextlib.aclosing(self._read()) as portions:
            async for portion in portions:
                if isinstance(portion.content, PPAPIError):
                    yield [(portion.name, portion.content)]
                else:
                    yield [(portion.name, row) for row in portion.content.records]

    async def _read_windows(
        self,
    ) -> AsyncGenerator[list[tuple[str, Window[RowT] | PPAPIError]], None]:
        async with contextlib.aclosing(self._read()) as portions:
            async for portion in portions:
                yield [(portion.name, portion.content)]

    async def _read(self) -> AsyncGenerator[_Portion[RowT], None]:
        queue: _Queue[RowT] = asyncio.Queue()
        waiting = iter(self._streams)
        count = min(self._concurrency, len(self._streams))
        tasks = [asyncio.create_task(self._work(waiting, queue)) for _ in range(count)]
        try:
            while count:
                portion = await queue.get()
                if portion is None:
                    count -= 1
                    continue
                self._in_hand = portion
                yield portion
                portion.taken.set()
                self._in_hand = None
            for task in tasks:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await wait_until_done(tasks)

    def _leave(self, taken: int) -> None:
        """Save the position of each account; `taken` rows of the portion in hand were handed out.

        Raises:
            StateError: a position could not be saved; the others were.
        """
        in_hand, self._in_hand = self._in_hand, None
        with contextlib.ExitStack() as leaving:  # each is left, whatever fails
            for stream, portion in self._latest.values():
                count = taken if portion is not None and portion is in_hand else 0
                if portion is not None and portion.taken.is_set():
                    count = len(portion.rows)
                leaving.callback(stream.leave, count)
        self._latest.clear()

    def _leave_window(self, taken: int) -> None:
        rows = [] if self._in_hand is None else self._in_hand.rows
        self._leave(len(rows) if taken else 0)

    # The workers

    async def _work(
        self, waiting: Iterator[tuple[Member, Stream[RowT]]], queue: _Queue[RowT]
    ) -> None:
        """Read one account after the other."""
        try:
            for member, stream in waiting:
                self._latest[member.name] = stream, None
                error = await member.ask(self._read_account(member.name, stream, queue))
                _, latest = self._latest[member.name]
                if latest is not None and not latest.is_counted:
                    # The account was let go meanwhile. What was read of it is handed out first.
                    await latest.taken.wait()
                    stream.leave(len(latest.rows))
                del self._latest[member.name]
                if error is not None:
                    portion: _Portion[RowT] = _Portion(member.name, error)
                    queue.put_nowait(portion)
                    await portion.taken.wait()
        finally:
            queue.put_nowait(None)

    async def _read_account(
        self, name: str, stream: Stream[RowT], queue: _Queue[RowT]
    ) -> StateError | None:
        try:
            async with contextlib.aclosing(stream.read()) as windows:
                async for window in windows:
                    portion = _Portion(name, window)
                    self._latest[name] = stream, portion
                    queue.put_nowait(portion)
                    await portion.taken.wait()
                    portion.is_counted = True
        except ValueError as error:
            if not str(error).startswith("checkpoint:"):
                raise
            return StateError(str(error), account=name)  # of one account, so it is a value
        return None

"""Files of the package that one call crosses: `python -m bench.files`.

A reader who follows a call opens these files. Counted are those of which a function runs, the
sandbox left out.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import ppapi_async
from ppapi_async import Hooks, Session
from ppapi_async.sandbox import Order, Sandbox

PACKAGE = Path(ppapi_async.__file__).parent


class Crossed:
    """The files of which a function has run since the last `take`."""

    def __init__(self) -> None:
        self.files: set[str] = set()

    def note(self, frame: FrameType, event: str, _: object) -> None:
        """Note the file of a call."""
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(PACKAGE):
            name = str(path.relative_to(PACKAGE))
            if not name.startswith("sandbox"):
                self.files.add(name)

    def take(self, what: str) -> None:
        """Say which there were, and begin anew."""
        print(f"{what}: {len(self.files)}: {' '.join(sorted(self.files))}")
        self.files.clear()


@contextlib.contextmanager
def noting() -> Iterator[Crossed]:
    """Note each call."""
    crossed = Crossed()
    sys.setprofile(crossed.note)
    try:
        yield crossed
    finally:
        sys.setprofile(None)


async def main() -> None:
    """Print the files of each flow."""
    polls: asyncio.Queue[asyncio.Event] = asyncio.Queue()

    async def sleep(_: float) -> None:
        go_on = asyncio.Event()
        polls.put_nowait(go_on)
        await go_on.wait()

    async with (
        Sandbox(rows=20) as sandbox,
        Session(sandbox.url, sandbox.api_key, hooks=Hooks(sleep=sleep)) as session,
    ):
        await session.get_info()
        with noting() as crossed:
            await session.get_info()
            crossed.take("get_info")
        await session.get_exchanges()
        with noting() as crossed:
            stream = session.iter_exchanges()
            await anext(aiter(stream))
            crossed.take("a page to its first row")
        await stream.aclose()
        watch = session.watch_exchanges(interval=60)
        first = asyncio.ensure_future(anext(aiter(watch)))
        for _ in range(2):
            (await polls.get()).set()
        go_on = await polls.get()
        with noting() as crossed:
            go_on.set()
            go_on = await polls.get()
            crossed.take("a quiet poll")
            orders = sandbox.books.orders
            orders.put(Order(id=orders.next_id, created=int(time.time()), reward="1"))
            go_on.set()
            await first
            crossed.take("a poll with news")
        await watch.aclose()
        sandbox.books.partner.balance = "100"
        method = next(iter((await session.get_info()).items))
        with noting() as crossed:
            await session.add_payout(method.id, "TXabcdefgh")
            crossed.take("add_payout")


if __name__ == "__main__":
    asyncio.run(main())

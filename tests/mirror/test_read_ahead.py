"""The next window is read while the last one is written, and nothing of it is left behind."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator

import pytest

from ppapi_async import Dialect, Retry, StateError
from ppapi_async.mirror import Mirror, MirrorConflict, schema
from ppapi_async.mirror.read_ahead import read_ahead
from ppapi_async.mirror.store import Commit, MirrorStore, Place, Reading
from ppapi_async.sandbox import Fault, Sandbox
from tests.mirror.clock import Clock
from tests.mirror.test_mirror import account_of, changes_of, rows_of, site


async def numbers(log: list[str], most: int = 4) -> AsyncGenerator[int, None]:
    """Yield numbers, and note what becomes of it."""
    try:
        for one in range(1, most + 1):
            log.append(f"makes {one}")
            await asyncio.sleep(0)
            yield one
        raise OSError("no more")
    except asyncio.CancelledError:
        log.append("cancelled")
        raise
    finally:
        log.append("closed")


async def _turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_it_is_one_ahead_and_no_more() -> None:
    """In order, one more than was taken; an error comes after all that was made before it."""
    log, taken = list[str](), list[int]()

    async def read() -> None:
        async with contextlib.aclosing(read_ahead(numbers(log))) as ahead:
            async for one in ahead:
                taken.append(one)
                await _turns()
                made = [note for note in log if note.startswith("makes")]
                assert len(made) == min(one + 1, 4)

    with pytest.raises(OSError, match="no more"):
        await read()
    assert taken == [1, 2, 3, 4]
    assert log.count("closed") == 1


@pytest.mark.parametrize("in_the_middle", [True, False])
async def test_whoever_leaves_early_leaves_nothing_behind(in_the_middle: bool) -> None:
    """The source has been closed, while it made the next one or after that."""
    log, others = list[str](), asyncio.all_tasks()
    async with contextlib.aclosing(read_ahead(numbers(log))) as ahead:
        async for _ in ahead:
            if not in_the_middle:
                await _turns()
            break
    assert log[-1] == "closed"
    assert asyncio.all_tasks() == others


async def test_a_cancelled_reader_cancels_its_source() -> None:
    """Whoever waits for the next one and is cancelled leaves nothing behind."""
    log = list[str]()

    async def never() -> AsyncGenerator[int, None]:
        try:
            await asyncio.Event().wait()
            yield 1
        finally:
            log.append("closed")

    async def read() -> None:
        async with contextlib.aclosing(read_ahead(never())) as ahead:
            async for _ in ahead:
                pass

    reading = asyncio.create_task(read())
    await _turns()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert log == ["closed"]


class _Held:
    """Holds the second transaction until a test lets it go on."""

    def __init__(self, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.go_on = asyncio.Event(), asyncio.Event()
        self.number = self.requests = 0
        commit = MirrorStore.commit

        async def held(store: MirrorStore, place: Place, reading: Reading) -> Commit:
            self.number += 1
            if self.number == 2:
                self.requests = sandbox.requests_count
                self.begun.set()
                await self.go_on.wait()
            return await commit(store, place, reading)

        monkeypatch.setattr(MirrorStore, "commit", held)


@pytest.mark.untraced
@pytest.mark.parametrize("how", ["cancelled", "overtaken", "unreadable"])
async def test_a_window_being_written_and_one_read_ahead(
    how: str, mirror_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancelled, or the fence lost, or the site gone: what is written stays, and it goes on."""
    clock = Clock()
    async with site(clock, Dialect.DELEGATING, rows=2_400) as sandbox:
        async with Mirror(
            mirror_url,
            [account_of(sandbox)],
            resources=["exchanges"],
            hooks=clock.hooks(),
            retry=Retry(attempts=1),
            page_size=100,
        ) as mirror:
            others = asyncio.all_tasks()
            held = _Held(sandbox, monkeypatch)
            syncing = asyncio.create_task(mirror.sync())
            async with asyncio.timeout(10):
                await held.begun.wait()
            if how == "unreadable":
                sandbox.faults.add(Fault.CLOSED, times=None)
            async with asyncio.timeout(10):
                # It reads while the window is written.
                while sandbox.requests_count == held.requests:  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
            if how == "cancelled":
                syncing.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await syncing
            else:
                if how == "overtaken":
                    await _overtake(mirror)
                held.go_on.set()
                error = (await syncing).accounts["one"].error
                assert isinstance(error, MirrorConflict) is (how == "overtaken"), error
                assert error is not None
                assert isinstance(error, StateError) is (how == "overtaken")
            left = asyncio.all_tasks() - others
            assert not [task for task in left if "read_ahead" in repr(task)]
            sandbox.faults.clear()
            written = len((await rows_of(mirror))["exchanges"])
            assert written == (2_400 if how == "unreadable" else 1_212)
            assert (await mirror.sync()).ok
            found = await rows_of(mirror)
            assert found["exchanges"].keys() == {order.id for order in sandbox.books.orders}
            assert await changes_of(mirror) == []


async def _overtake(mirror: Mirror) -> None:
    async with mirror._open_store._database.connect(writes=True) as connection:
        positions = schema.positions
        await connection.execute(positions.update().values(version=positions.c.version + 1))
        await connection.commit()

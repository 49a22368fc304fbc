"""How sessions share the event loop out: what begins and what is decoded in one turn of it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Generator

import pytest

from ppapi_async import Session
from ppapi_async.sandbox import Sandbox
from ppapi_async.transport.fairness import Decoding

MANY = 40
A_FEW = 4


class Turns:
    """Counts the turns of the running loop."""

    def __init__(self) -> None:
        self.number = 0
        self._go_on()

    def _go_on(self) -> None:
        self.number += 1
        self._handle = asyncio.get_running_loop().call_soon(self._go_on)

    def stop(self) -> None:
        """Count no more."""
        self._handle.cancel()


async def in_turns(decoding: Decoding, calls: int, size: int | None = None) -> list[int]:
    """Begin requests, or decode answers of a size, all at once; return the turn of each."""
    turns, taken = Turns(), list[int]()

    def steps() -> Generator[None, None, None]:
        taken.append(turns.number)
        yield from ()

    async def one() -> None:
        if size is None:
            await decoding.begin()
            taken.append(turns.number)
        else:
            await decoding.run(steps(), size)

    await asyncio.gather(*(one() for _ in range(calls)))
    turns.stop()
    return taken


async def test_one_request_begins_at_once() -> None:
    """Who is alone does not wait: not even for the next turn of the loop."""
    turns, decoding = Turns(), Decoding()
    await decoding.begin()
    assert turns.number == 1
    turns.stop()


async def test_few_requests_begin_in_one_turn() -> None:
    """Of many requests, a few begin in each turn of the loop, and all of them soon."""
    taken = await in_turns(Decoding(), MANY)
    assert max(Counter(taken).values()) <= A_FEW
    assert len(taken) == MANY
    assert max(taken) <= 3 * MANY


async def test_requests_begin_in_their_order() -> None:
    """Who came first begins first, however many come later."""
    decoding, begun = Decoding(), list[int]()

    async def begin(number: int) -> None:
        await decoding.begin()
        begun.append(number)

    async with asyncio.TaskGroup() as group:
        for number in range(MANY):
            group.create_task(begin(number))
            if number % 10 == 9:
                await asyncio.sleep(0)
    assert begun == sorted(begun)


async def test_a_request_that_is_cancelled_holds_nobody_up() -> None:
    """The queue goes on when those who wait in it are cancelled, the first of them included."""
    decoding = Decoding()
    tasks = [asyncio.create_task(decoding.begin()) for _ in range(MANY)]
    await asyncio.sleep(0)
    for task in tasks[A_FEW : MANY - 1]:
        task.cancel()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert done[-1] is None
    assert sum(isinstance(end, asyncio.CancelledError) for end in done) == MANY - 1 - A_FEW


class Noting(Decoding):
    """WatchStore the turn in which each request begins."""

    turns: Turns
    begun: list[int]

    async def begin(self) -> None:
        await super().begin()
        self.begun.append(self.turns.number)


async def test_requests_of_a_session_begin_in_turns() -> None:
    """What `Decoding` promises, a session keeps: the requests of many tasks do not go at once."""
    async with Sandbox(rows=1) as sandbox:
        session, noting = Session(sandbox.url, sandbox.api_key), Noting()
        noting.turns, noting.begun = Turns(), []
        session._connection.open(noting)
        await asyncio.gather(*(session.get_info() for _ in range(MANY)))
        await session.aclose()
        noting.turns.stop()
    assert len(noting.begun) == MANY
    assert max(Counter(noting.begun).values()) <= A_FEW


@pytest.mark.parametrize(
    ("size", "most"),
    [
        pytest.param(1_000, 131 + 1, id="small: as many as fit a turn, and one more"),
        pytest.param(16 * 1024, 8 + 1, id="the largest small"),
        pytest.param(16 * 1024 + 1, 1, id="large: one"),
    ],
)
async def test_a_turn_decodes_so_much(size: int, most: int) -> None:
    """A few small answers, or one large one, are decoded in a turn of the loop."""
    taken = await in_turns(Decoding(), 140, size)
    assert len(taken) == 140
    assert max(Counter(taken).values()) == most


async def test_a_small_answer_waits_for_one_step_of_a_large_one() -> None:
    """However long the large one takes: the loop is shared in turns, and no turn does both.

    250,000 odd rows of one account kept the small answers of all others waiting for 16 seconds.
    """
    decoding, turns = Decoding(), Turns()
    taken: dict[str, list[int]] = {"large": [], "small": []}

    def steps(name: str, count: int) -> Generator[None, None, str]:
        for _ in range(count):
            taken[name].append(turns.number)
            yield
        return name

    large = asyncio.create_task(decoding.run(steps("large", 1_000), 10**6))
    await asyncio.sleep(0)
    small = asyncio.create_task(decoding.run(steps("small", 1), 100))
    assert (await large, await small) == ("large", "small")
    turns.stop()
    assert taken["large"] == sorted(set(taken["large"]))
    assert not set(taken["small"]) & set(taken["large"])
    assert sum(turn < taken["small"][0] for turn in taken["large"]) <= 3


async def test_large_answers_are_decoded_side_by_side() -> None:
    """Each gets a step in turn, so that none waits for the whole of another."""
    decoding, order = Decoding(), list[int]()

    def steps(number: int) -> Generator[None, None, None]:
        for _ in range(50):
            order.append(number)
            yield

    await asyncio.gather(*(decoding.run(steps(number), 10**6) for number in range(3)))
    assert len(order) == 150
    assert all(len(set(order[at : at + 6])) == 3 for at in range(0, 120, 6))


async def test_a_small_answer_in_steps_is_decoded_at_once() -> None:
    """A small answer does not pause, whatever its steps would allow."""
    turns, decoding = Turns(), Decoding()

    def steps() -> Generator[None, None, int]:
        yield
        yield
        return turns.number

    assert await decoding.run(steps(), 100) == turns.number == 1
    turns.stop()

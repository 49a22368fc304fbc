"""A small soak; `python -X dev -W error -m tests.properties.soak` is the large one."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from ppapi_async.errors import PPAPIError
from ppapi_async.protocol import Answer
from ppapi_async.protocol.responses import Decoder
from ppapi_async.transport.client import Transport
from tests.properties.soak import HEAP, Footprint, Growth, Report, soak

pytestmark = pytest.mark.untraced  # takes twice as long with; other tests go through all lines, too
HOARD: list[object] = []


@pytest.fixture(autouse=True)
def _no_hoard() -> None:
    HOARD.clear()


def test_nothing_is_left_behind() -> None:
    """After faulted requests and polls all is back where it was, and nobody complained."""
    report = soak(70, 40, seed=17)
    assert report.is_clean, str(report)
    requests, polls = report.growths
    assert requests.requests >= 70
    assert polls.polls >= 40
    assert {"well", "CancelledError", "TimeoutError"} <= set(report.ends)
    assert len(report.faults) > 20


def test_a_hoard_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The soak fails where errors and memory are kept, and tells by whom."""
    once = Transport.once

    async def hoarding(
        self: Transport,
        method: str,
        params: Mapping[str, str | int],
        decode: Decoder[object],
        **options: int,
    ) -> object | PPAPIError:
        result = await once(self, method, params, decode, attempt=1)
        HOARD.append([result, b"%d" % len(HOARD) * 8192])
        return result

    monkeypatch.setattr(Transport, "once", hoarding)
    report = soak(30, 1, looks=1)
    assert not report.is_clean
    growth = report.growths[0]
    assert growth.heap > HEAP // 2
    assert any(name.startswith("ppapi_async.errors.") for name in growth.more)
    assert "test_soak.py" in "".join(growth.where)


async def test_footprint_tells_what_there_is_more_of(tmp_path: Path) -> None:
    """Descriptors, tasks and objects of the library are counted."""
    before = Footprint.now()
    task = asyncio.create_task(asyncio.sleep(0))
    answer = Answer(200, {}, b"")
    with (tmp_path / "open").open("w"):
        more = Footprint.now().more_than(before)
    await task
    assert more == {"descriptors": 1, "tasks": 1, "ppapi_async.protocol.responses.Answer": 1}
    del answer
    assert Footprint.now().more_than(before) == {}


@pytest.mark.parametrize(
    ("more", "heap", "clean"),
    [({}, 0, True), ({}, HEAP - 1, True), ({}, HEAP, False), ({"tasks": 1}, 0, False)],
)
def test_a_growth_is_clean(more: dict[str, int], heap: int, clean: bool) -> None:
    """Nothing may be left behind, and the heap may grow by less than 256 KiB."""
    growth = Growth("requests", 1, 1, more, heap, ["here.py:1"])
    assert growth.is_clean is clean
    assert ("here.py:1" in str(growth)) is not clean
    assert Report([growth]).is_clean is clean
    assert not Report([], Counter(), Counter(), ["asyncio: a task was destroyed"]).is_clean

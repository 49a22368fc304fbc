"""The rows of a window, decoded a slice at a time: in order, each once, few in memory."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from ppapi_async import Account, Dialect, Link, Session, UnreadableRow
from ppapi_async.errors import DecodeError, PPAPIError
from ppapi_async.protocol import Answer, PageCodec, Reader
from ppapi_async.protocol.page import Page
from ppapi_async.protocol.site_clock import SiteClock
from ppapi_async.sandbox import Books, Sandbox
from ppapi_async.streaming.slices import RowSlices
from tests.loops import living_rows

READER = Reader(Account("https://site.example", "k" * 32), "get_links")
DAY = 86_400
AT = 1_700_000_000


def piece_of(seconds: Mapping[int, int], **more: object) -> bytes:
    """Return an answer with these rows, `{id: wire second}`."""
    rows = [{"id": i, "time": second} | more for i, second in seconds.items()]
    return json.dumps({"error": 0, "data": {"items": rows}}).encode()


class Window:
    """A window of some answers, and what was decoded of it so far."""

    def __init__(self, *answers: Mapping[int, int], zone: str = "UTC", **more: object) -> None:
        self.clock = SiteClock(ZoneInfo(zone))
        self.rows: dict[int, Link | bytes] = {}
        self.seconds: dict[int, int] = {}
        self.decoded: list[bytes] = []
        for answer in answers:
            self.rows |= dict.fromkeys(answer, piece_of(answer, **more))
            self.seconds.update(answer.items())

    async def decode(self, kept: bytes, /) -> Page[Link] | PPAPIError:
        """Decode a piece, and remember that it was."""
        self.decoded.append(kept)
        return PageCodec(Link, self.clock, READER).decode(Answer(200, {}, kept))

    def slices(self, *, newest_first: bool = False) -> RowSlices[Link]:
        """Return what hands its rows out."""
        return RowSlices(self.rows, self.seconds, self.clock, self.decode, newest_first)


async def ids_of(slices: RowSlices[Link]) -> list[int]:
    """Take all rows."""
    return [row.id async for rows in slices.slices() for row in rows]


@pytest.mark.parametrize("newest_first", [False, True])
async def test_rows_come_by_time_and_then_by_id(newest_first: bool) -> None:
    """Whatever the order in which answers brought them; each answer is decoded once."""
    window = Window({5: AT + 9, 4: AT + 8, 3: AT + 5}, {3: AT + 5, 7: AT + 5, 1: AT})
    ids = await ids_of(window.slices(newest_first=newest_first))
    assert ids == ([5, 4, 7, 3, 1] if newest_first else [1, 3, 7, 4, 5])
    assert len(window.decoded) == 2
    assert window.rows == {}


async def test_what_is_not_asked_for_is_not_decoded() -> None:
    """A piece is decoded when the first of its rows is next, and not before."""
    newer = {i: AT + i for i in range(1_000, 1_300)}
    window = Window(newer, {i: AT + i for i in range(300)})
    slices = window.slices()
    reading = slices.slices()
    assert [len(await anext(reading)), len(window.decoded)] == [250, 1]
    assert [len(await anext(reading)), len(window.decoded)] == [50, 1]
    assert len(slices._decoded) == 0
    assert [len(await anext(reading)), len(window.decoded)] == [250, 2]
    await reading.aclose()


async def test_records_that_are_there_already_are_handed_out() -> None:
    """An answer of no usual form was decoded at once; its rows stand among the others."""
    window = Window({5: AT + 9, 3: AT + 5})
    page = await window.decode(piece_of({4: AT + 7}))
    assert isinstance(page, Page)
    window.rows[4], window.seconds[4] = page.records[0], AT + 7
    assert await ids_of(window.slices()) == [3, 4, 5]


async def test_a_row_that_turns_out_to_be_unreadable_is_told() -> None:
    """It hides no other; one that another answer brought anew is that answer's to tell."""
    window = Window({5: AT + 9, 3: AT + 5}, browser=[])
    window.rows[9], window.seconds[9] = piece_of({9: AT + 6, 5: AT + 9}), AT + 6
    window.rows[5] = window.rows[9]
    slices = window.slices()
    assert await ids_of(slices) == [9, 5]
    assert list(slices.unreadable) == [3]


async def test_a_row_without_a_usable_id_is_told_by_its_digest() -> None:
    """Where the careful reading finds no id, none is made up."""
    window = Window({5: AT + 9})
    odd = UnreadableRow(id=None, time=None, problems=(), digest="d")

    async def decode(_: bytes, /) -> Page[Link] | PPAPIError:
        return Page([], [], unreadable=[odd])

    window.decode = decode  # type: ignore[method-assign]
    slices = window.slices()
    assert await ids_of(slices) == []
    assert slices.unreadable == {("d", 1): odd}


async def test_what_is_no_page_after_all_is_an_error() -> None:
    """What decoding comes to is raised where the rows are asked for."""
    window = Window({5: AT + 9})
    error = DecodeError("odd", account="site.example", method="get_links")

    async def decode(_: bytes, /) -> Page[Link] | PPAPIError:
        return error

    window.decode = decode  # type: ignore[method-assign]
    with pytest.raises(DecodeError, match="odd"):
        await ids_of(window.slices())


@pytest.mark.parametrize("newest_first", [False, True])
async def test_rows_of_an_hour_that_the_clock_skips_stand_by_their_instant(
    newest_first: bool,
) -> None:
    """A row of 2:30, which was no time of that day, is of a later instant than one of 3:10."""
    forward = int(datetime(2024, 3, 31, 2, 0, tzinfo=UTC).timestamp())
    rows = {1: forward - 60, 2: forward + 1_800, 3: forward + 4_200, 4: forward + 9_000}
    window = Window(rows, zone="Europe/Berlin")
    got = [row async for some in window.slices(newest_first=newest_first).slices() for row in some]
    assert [row.id for row in got] == ([4, 2, 3, 1] if newest_first else [1, 3, 2, 4])
    assert got == sorted(got, key=lambda row: (row.time, row.id), reverse=newest_first)


async def test_a_clock_that_stands_changes_no_slices() -> None:
    """Far from a change of the clock, and beyond all dates, rows of a zone come in slices, too."""
    window = Window({i: AT + i for i in range(300)}, zone="Europe/Berlin")
    assert [len(rows) async for rows in window.slices().slices()] == [250, 50]
    assert SiteClock(ZoneInfo("Europe/Berlin")).ahead_at(10**15) == timedelta()


def test_nothing_shows_what_is_held() -> None:
    """An answer may hold anything, the key among it."""
    assert "secret" not in repr(Window({5: AT}, browser="secret").slices())


@pytest.mark.untraced
@pytest.mark.parametrize("concurrency", [1, 4])
async def test_a_stream_holds_few_records(concurrency: int) -> None:
    """1,500 at most, of a capped site, however many rows its windows hold.

    Those that other tests have left in this process are not its own.
    """
    before = living_rows()
    now = int(time.time())
    books = Books.uniform(5_000, now - 90 * DAY, now - 2 * DAY)
    held, rows = 0, 0
    async with (
        Sandbox(Dialect.DELEGATING, books=books) as sandbox,
        Session(sandbox.url, sandbox.api_key) as session,
    ):
        async for _ in session.iter_exchanges(concurrency=concurrency):
            rows += 1
            if rows % 470 == 0:
                held = max(held, living_rows(collect=False) - before)
    assert rows == 5_000
    assert held <= 1_500

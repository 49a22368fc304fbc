"""What watches and the mirror read with."""

from __future__ import annotations

import contextlib

import pytest

from ppapi_async import Dialect, Exchange, Session
from ppapi_async.models import UnreadableRow
from ppapi_async.sandbox import Books, Sandbox
from ppapi_async.session import connection_of
from ppapi_async.streaming.stream import Request
from ppapi_async.transport.hooks import Hooks
from ppapi_async.watching.range_reader import RangeReader

NOW = 1_790_000_000
DAY = 86_400


def reader_of(session: Session, *, repeats: bool) -> RangeReader[Exchange]:
    """Return what reads the exchanges."""
    connection = connection_of(session)
    unreadable: list[UnreadableRow] = []
    return RangeReader(
        transport=connection.transport,
        evidence=connection.evidence("get_exchanges"),
        request=Request(method="get_exchanges", record=Exchange, start=None, end=None, params={}),
        page_size=connection.page_size,
        clock_check=connection.clock_check,
        on_unreadable=unreadable.append,
        repeats=repeats,
    )


@pytest.mark.untraced
@pytest.mark.parametrize("repeats", [True, False])
async def test_a_row_that_moves_while_a_stream_runs_is_handed_out_again(*, repeats: bool) -> None:
    """Whoever keeps rows by their ids gets it as it is now; others get each row once."""
    clock = [float(NOW)]
    books = Books.uniform(2_000, NOW - 10 * DAY, NOW - DAY)
    first = books.orders[1]
    async with (
        Sandbox(Dialect.DELEGATING, books=books, clock=lambda: clock[0]) as site,
        Session(
            site.url, site.api_key, page_size=20, hooks=Hooks(clock=lambda: clock[0])
        ) as session,
    ):
        reader, got = reader_of(session, repeats=repeats), list[Exchange]()
        async with contextlib.aclosing(reader.read_stream(None, None)) as windows:
            async for window in windows:
                if not got and window.records:
                    assert window.records[0].id == first.id
                    assert window.end is not None
                    clock[0] += 60
                    books.move_order(first.id, int(clock[0]) - 1, "cancel")
                got += window.records
    met = [row.status for row in got if row.id == first.id]
    assert len({row.id for row in got}) == 2_000
    assert (len(met) > 1) == repeats
    assert (met[-1] == "cancel") == repeats

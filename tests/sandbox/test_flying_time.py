"""Time that flies, by itself."""

from __future__ import annotations

import asyncio
import contextlib
import selectors
import socket
import sys

import pytest

from ppapi_async.testing.flying_time import FlyingTime
from tests import virtual_time


def test_time_flies_over_what_nobody_reads_and_not_over_what_is_ready() -> None:
    """Bytes under way are given a moment; what is there to be read comes at once."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        client = stack.enter_context(socket.create_connection(server.getsockname()))
        other, _ = server.accept()
        stack.enter_context(other)
        client.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                client.send(b"x" * 65_536)
        selector = stack.enter_context(selectors.DefaultSelector())
        selector.register(client, selectors.EVENT_READ)
        flying = FlyingTime(selector, limit=100.0, settle=0.001)
        assert selector.select(50.0) == []
        assert flying.ahead == pytest.approx(50.0)
        selector.register(other, selectors.EVENT_READ)
        assert len(selector.select(50.0)) == 1
        assert flying.ahead == pytest.approx(50.0)
        flying.end()
        assert len(selector.select(0)) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="has no such loop")
def test_what_turns_without_end_is_told_where_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that waits for time to pass, and lets none pass, would hang for ever."""

    async def main() -> None:
        while True:  # noqa: ASYNC110
            await asyncio.sleep(0)

    monkeypatch.setattr("ppapi_async.testing.flying_time._MOST_TURNS", 200)
    with pytest.raises(TimeoutError, match=r"goes on without end: (?s:.*)in main"):
        virtual_time.run(main())

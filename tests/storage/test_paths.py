"""The path of a file in place of a state or a checkpoint."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path

import pytest

from ppapi_async import Account, FileCheckpoint, Fleet, Session, SQLiteState
from ppapi_async.storage.paths import checkpoint_of, state_of
from tests import virtual_time
from tests.sites.raw import KEY, RawServer, http

_AT = int(virtual_time.BEGINNING) - 600
_ROWS = [{"id": str(n), "time": _AT + n, "date": ""} for n in (3, 2, 1)]
_PAGE = json.dumps({"error": 0, "error_text": "", "data": {"items": _ROWS}})


def test_what_is_given_a_path_goes_on_where_the_last_one_was(tmp_path: Path) -> None:
    """A stream and a watch: each row once, although the program has been started twice."""

    async def once(url: str) -> list[tuple[str, int]]:
        seen: list[tuple[str, int]] = []
        async with Session(Account(url, KEY), hooks=virtual_time.hooks()) as session:
            stream = session.iter_links(_AT - 60, checkpoint=str(tmp_path / "position.json"))
            seen += [("read", row.id) async for row in stream]
            watch = session.watch_links(since=_AT - 60, state=tmp_path / "watch.db")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(300), watch:
                    async for change in watch:
                        seen.append(("told", change.record.id))
        return seen

    async def main() -> list[tuple[str, int]]:
        async with RawServer() as server:
            server.script["get_links"] = lambda _: http(200, _PAGE)
            return [*await once(server.url), *await once(server.url)]

    seen = virtual_time.run(main())
    assert sorted(seen) == [(how, n) for how in ("read", "told") for n in (1, 2, 3)]
    assert {path.name for path in tmp_path.iterdir()} >= {"position.json", "watch.db"}


def test_a_path_is_of_a_file() -> None:
    """Objects stay what they are; what is no path of a file is refused at once."""
    state, checkpoint = SQLiteState("a.db"), FileCheckpoint("a.json")
    assert state_of(state) is state
    for scheme in ("postgresql", "postgres"):
        database = state_of(f"{scheme}://user:secret@host/db")
        assert repr(database) == "<PostgresState postgresql://host/db closed>"
    assert checkpoint_of(checkpoint) is checkpoint
    assert checkpoint_of(None) is None
    for nothing in ("", ":memory:"):
        with pytest.raises(ValueError, match=r"^path: pass the path of a file"):
            Fleet([Account("https://a.example", KEY)], state=nothing)
